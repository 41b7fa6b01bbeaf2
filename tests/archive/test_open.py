"""The files open as they are in what people use."""

from __future__ import annotations

from typing import Any

import duckdb
import pandas
import polars
import pyarrow.parquet

from events.archive import COLUMNS
from tests.archive.conftest import Log, generated

NOT_TEXT = {"log_offset": "int64", "record": "binary", "occurred_at": "timestamp[us, tz=UTC]",
            "appended_at": "timestamp[us, tz=UTC]"}  # fmt: skip


async def expected(log: Log) -> list[tuple[Any, ...]]:
    """The rows of the log as another client has them: with datetimes."""
    other = await log.database.connect("test other")
    query = f"SELECT {', '.join(COLUMNS)} FROM projector.event_log ORDER BY 1 LIMIT 400"
    rows = [tuple(row) for row in await other.fetch(query)]
    await other.close()
    return rows


async def test_other_programs_read_the_files(log: Log) -> None:
    await log.append(await generated(450))
    rows = await expected(log)
    await log.archive()
    files = f"{log.folder}/events-*.parquet"

    found = duckdb.sql(f"SELECT * FROM '{files}' ORDER BY log_offset")
    assert found.columns == list(COLUMNS)
    kinds = {name: str(kind) for name, kind in zip(found.columns, found.types, strict=True)}
    assert kinds["occurred_at"] == kinds["appended_at"] == "TIMESTAMP WITH TIME ZONE"
    micros = "epoch_us(occurred_at), epoch_us(appended_at)"
    texts = ", ".join(COLUMNS[:-2])
    in_micros = [(*row[:-2], *(int(t.timestamp() * 1_000_000 + 0.5) for t in row[-2:]))
                 for row in rows]  # fmt: skip
    query = f"SELECT {texts}, {micros} FROM '{files}' ORDER BY log_offset"
    assert duckdb.sql(query).fetchall() == in_micros

    assert polars.read_parquet(files).sort("log_offset").rows() == rows

    paths = [log.folder / name for name in log.files()]
    schema = pyarrow.parquet.read_schema(paths[0])
    assert {f.name: str(f.type) for f in schema} == {
        name: NOT_TEXT.get(name, "string") for name in COLUMNS
    }


async def test_pandas_reads_the_files(log: Log) -> None:
    await log.append(await generated(450))
    rows = await expected(log)
    await log.archive()
    paths = [log.folder / name for name in log.files()]
    frame = pandas.concat([pandas.read_parquet(path) for path in paths], ignore_index=True)
    assert list(frame["log_offset"]) == [row[0] for row in rows]
    assert list(frame["record"]) == [row[9] for row in rows]
    assert [t.to_pydatetime() for t in frame["occurred_at"]] == [row[10] for row in rows]
