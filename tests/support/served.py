"""A daemon that serves its page, asked over HTTP as Prometheus and a browser ask."""

from __future__ import annotations

import asyncio
import http.client
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain
from prometheus_client.samples import Sample

from projector.commands.flow import into_log
from projector.database import Database
from projector.settings import Settings
from tests.support.cli import Running
from tests.support.harness import until

LISTEN = {"PROJECTOR_STATUS_LISTEN": "127.0.0.1:0", "PROJECTOR_STATUS_SECONDS": "0.2"}
"""Any port that is free; the daemon says which."""

SERVED = re.compile(r"(?:status page|metrics): (http://[^\s/]+)")
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    code: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class Served:
    """What one process serves."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Asks once; follows nothing."""
        return await asyncio.to_thread(self._get, path, dict(headers or {}))

    def _get(self, path: str, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)
        try:
            connection.request("GET", path, headers=headers)
            reply = connection.getresponse()
            given = {name.lower(): value for name, value in reply.getheaders()}
            return Answer(reply.status, given, reply.read().decode())
        finally:
            connection.close()

    async def metrics(self) -> Metrics:
        """A scrape."""
        answer = await self.get("/metrics", {"accept": OPEN_METRICS})
        assert answer.code == 200
        families = open_metrics(answer.body)
        return Metrics([sample for family in families for sample in family.samples])

    async def plain_metrics(self) -> Metrics:
        """A scrape in the older format."""
        answer = await self.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        return Metrics([sample for family in plain(answer.body) for sample in family.samples])

    async def until(self, name: str, least: float, **labels: str) -> Metrics:
        """Scrapes until a value has grown to `least`; returns that scrape."""
        scrapes: list[Metrics] = []

        async def reached() -> bool:
            scrapes[:] = [await self.metrics()]
            return scrapes[0].get(name, **labels) >= least

        await until(reached)
        return scrapes[0]


class Metrics:
    """The samples of one scrape."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples

    def all(self, name: str) -> dict[tuple[str, ...], float]:
        """The values of a metric by those of its labels, in the order of the labels' names."""
        return {
            tuple(v for _, v in sorted(s.labels.items())): s.value
            for s in self.samples
            if s.name == name
        }

    def get(self, name: str, **labels: str) -> float:
        """The sum of those values that have these labels; 0 where there is none."""
        return sum(
            s.value for s in self.samples if s.name == name and labels.items() <= s.labels.items()
        )

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}


async def ingested(database: Database, source: str) -> None:
    """Does what `projector ingest` does, in this process: starting one takes longer."""
    await into_log(database, source, Settings(), asyncio.Event())


async def served_by(running: Running) -> Served:
    """What a daemon serves, as soon as it says where."""

    async def said() -> re.Match[str] | None:
        assert running.is_running, running.said
        return SERVED.search(running.said)

    return Served((await until(said, seconds=60))[1])
