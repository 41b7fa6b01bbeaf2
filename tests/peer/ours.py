"""Fills a database by this project's program, run as an operator runs it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from projector.errors import ProjectorError
from tests.support.cli import Place

COMMAND_SECONDS_MAX = 300


async def fill_by_projector(url: str, events: Sequence[bytes], *init: str) -> None:
    """Makes the tables (`init` are options of `projector init`), and projects Jetstream lines."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.jsonl"
        await asyncio.to_thread(file.write_bytes, b"".join(line + b"\n" for line in events))
        place = Place(Path(folder), "--database", url)
        for words in (("init", *init), ("ingest", f"file:{file}"), ("run", "--until-caught-up")):
            ended = await place.run(*words, seconds=COMMAND_SECONDS_MAX)
            if ended.code != 0:
                raise ProjectorError(f"projector {words[0]} ended with {ended.code}: {ended.err}")
