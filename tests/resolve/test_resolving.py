"""Facts come into the log when accounts are due, and tables follow from the log alone."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from events.event import RESOLVED, Event
from projections.actor import actors
from projector.database import Database
from projector.resolving import DAY_US, HOUR_US, ResolverSource
from tests.resolve.directory import Directory, directory
from tests.support import engine
from tests.support.cli import Place
from tests.support.harness import until
from tests.support.watch import Watch

A, B = f"did:plc:{'a' * 24}", f"did:plc:{'b' * 24}"
NOON_US = 1_740_830_400_000_000
DECLARATIONS = [actors]


@pytest.fixture
async def network() -> AsyncIterator[Directory]:
    async with directory() as made:
        made.name(A, "a.test")
        made.name(B, "b.test")
        yield made


def commit(did: str, time_us: int) -> Event:
    key = f"key{time_us}"
    return Event(0, did, "commit", "delete", "app.example.x", key, None, None, None, time_us)


def identity(did: str, time_us: int) -> Event:
    inner = json.dumps({"did": did}).encode()
    return Event(0, did, "identity", "refresh", None, None, None, None, inner, time_us)


class Network:
    """A log, its table of actors, and a resolver that looks when told to."""

    def __init__(self, database: Database, network: Directory) -> None:
        self.database = database
        self.now = NOON_US
        self.cursor: str | None = None
        self.source = ResolverSource(
            database, network.resolver(), "bsky", concurrency=4, poll_seconds=0.01,
            clock=lambda: self.now,
        )  # fmt: skip

    async def tell(self, *events: Event) -> list[tuple[str, str | None]]:
        """Appends events; returns what is found of their accounts, and has it applied."""
        await engine.append(self.database, events)
        async with aclosing(self.source.batches(self.cursor)) as batches:
            batch = await anext(batches)
        self.cursor = batch.cursor
        if batch.events:
            await engine.append(self.database, batch.events)
        await engine.project(self.database, declarations=DECLARATIONS)
        assert {(e.kind, e.action) for e in batch.events} <= {("identity", RESOLVED)}
        return [(e.did, json.loads(e.record or b"")["handle"]) for e in batch.events]

    async def handles(self) -> dict[str, str | None]:
        rows = (await engine.tables_of(self.database, ["actor"]))["actor"]
        return {row["did"]: row["handle"] for row in rows}


async def test_accounts_are_due_as_the_reference_has_it(
    database: Database, network: Directory
) -> None:
    """Dataplane.md 4.2, scenarios 62 and 63: strictly later than a day, or than an hour."""
    await engine.create(database, DECLARATIONS)
    world = Network(database, network)
    del network.txt["b.test"]
    assert await world.tell(commit(A, NOON_US), commit(B, NOON_US)) == [(A, "a.test"), (B, None)]
    assert await world.handles() == {A: "a.test", B: None}
    world.now = NOON_US + HOUR_US
    assert await world.tell(commit(A, world.now), commit(B, world.now)) == []
    world.now += 1_000
    network.name(B, "b.test")
    assert await world.tell(commit(A, world.now), commit(B, world.now)) == [(B, "b.test")]
    network.name(A, "b.test")
    world.now = NOON_US + DAY_US
    assert await world.tell(commit(A, world.now)) == []
    world.now += 1_000
    assert await world.tell(commit(A, world.now)) == [(A, "b.test")]
    assert await world.handles() == {A: "b.test", B: None}
    assert await world.tell(identity(A, world.now)) == [(A, "b.test")]
    assert await world.tell(commit(A, NOON_US)) == []


async def test_an_account_that_could_not_be_asked_for_is_due_again(
    database: Database, network: Directory
) -> None:
    await engine.create(database, DECLARATIONS)
    world = Network(database, network)
    network.broken = {f"/{A}"}
    assert await world.tell(commit(A, NOON_US), identity(B, NOON_US)) == [(B, "b.test")]
    network.broken = set()
    assert await world.tell(commit(A, NOON_US + 1)) == []
    world.now += HOUR_US + 1
    assert await world.tell(commit(A, world.now)) == [(A, "a.test")]


async def test_the_command_follows_the_log_and_its_facts_are_applied(
    database: Database, network: Directory, tmp_path: Path
) -> None:
    await engine.create(database, DECLARATIONS)
    await engine.append(database, [identity(A, NOON_US), identity(B, NOON_US)])
    place = Place(
        tmp_path, "--database", database.url, PROJECTOR_PROJECTIONS="actor",
        PROJECTOR_RESOLVE_DIRECTORY=network.url, PROJECTOR_POLL_SECONDS="0.05",
        PROJECTOR_RESOLVE_DNS=f"{network.url}/dns-query", PROJECTOR_RESOLVE_PRIVATE="true",
    )  # fmt: skip
    async with Watch(database.url) as watch:

        async def found() -> bool:
            return await watch.head() == 4

        async with place.start("resolve") as running:
            await until(found, seconds=60)
            running.terminate()
            assert await running.code() == 0
            assert "2 accounts resolved" in running.said
    await engine.project(database, declarations=DECLARATIONS)
    rows = (await engine.tables_of(database, ["actor"]))["actor"]
    assert {row["did"]: row["handle"] for row in rows} == {A: "a.test", B: "b.test"}
