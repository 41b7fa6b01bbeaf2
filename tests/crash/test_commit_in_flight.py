"""The link breaks, or the process dies, while Postgres is still busy with the last commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from events.event import Batch
from events.log import Appender
from events.sources.generate import GenerateSource
from projector.database import Database
from projector.ingest import LogSink
from projector.lease import LeaseKeeper
from tests.support.engine import create
from tests.support.harness import until
from tests.support.watch import Watch

WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE application_name = 'projector/append'
    AND wait_event_type = 'Lock' AND datname = current_database()
"""


@asynccontextmanager
async def a_sink(database: Database, source: GenerateSource) -> AsyncIterator[LogSink]:
    keeper = LeaseKeeper(database)
    sink = LogSink(database, source, keeper, recent_events=0, partition_events=100_000)
    try:
        yield sink
    finally:
        await sink.close()
        await keeper.close()


@pytest.mark.parametrize("who", ["same process", "next process"])
async def test_a_commit_that_is_still_under_way_is_waited_for(database: Database, who: str) -> None:
    await create(database)
    source = GenerateSource.parse("events=300,seed=71", 100)
    first, second, third = [batch async for batch in source.batches(None)]
    async with Watch(database.url) as watch:
        old = await database.connect("test old backend")
        async with a_sink(database, source) as sink:
            assert await sink.open() is None
            await sink.put(first)
            # What the backend was told before the link to it broke.
            transaction = old.transaction()
            await transaction.start()
            await append(Appender(old, source.name, partition_events=100_000), second)
            assert sink._appender is not None
            sink._appender.connection.terminate()
            if who == "same process":
                putting = asyncio.create_task(put_all(sink, [second, third]))
                await until(lambda: watch.value(WAITING))
                await transaction.commit()
                await putting
        if who == "next process":
            async with a_sink(database, source) as sink:
                opening = asyncio.create_task(sink.open())
                await until(lambda: watch.value(WAITING))
                await transaction.commit()
                assert await opening == second.cursor
                await sink.put(third)
        await old.close()
        assert await watch.head() == 300
        assert await watch.count("SELECT count(*) FROM projector.event_log") == 300
        assert await watch.value("SELECT cursor FROM projector.source_cursor") == "300"


async def append(appender: Appender, batch: Batch) -> None:
    await appender.open()
    await appender.append(batch)


async def put_all(sink: LogSink, batches: list[Batch]) -> None:
    for batch in batches:
        await sink.put(batch)
