"""Archive files: ranges of the log as Parquet, written and read."""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from events.archive_place import ArchiveDamaged, arrow, measured, place_of, sync
from events.event import Event

EVENTS_MAX: Final = 50_000
"""Most events in a row group: what a reader decodes and holds at once.

Twice as many save 3 bytes an event, since a row group names each account once; a rebuild, which
has a reader for each projection, would hold twice as much."""

RECORD_BYTES_MAX: Final = 32 * 1024 * 1024
"""Most bytes of records in a row group, however few events they are of."""

PAGE_BYTES: Final = 2 * RECORD_BYTES_MAX
"""A column of a row group is one page: pages are compressed apart, and long ones to less."""

GROUPS_HELD: Final = 2
FILES_HELD: Final = 4

OFFSETS: Final = ("log_offset",)
TEXTS: Final = ("did", "kind", "action", "collection", "rkey", "rev", "cid", "source_cursor")
TIMES: Final = ("occurred_at", "appended_at")
COLUMNS: Final = (*OFFSETS, *TEXTS, "record", *TIMES)
"""The columns of a file, in the order of those of event_log."""

EVENT_COLUMNS: Final = [name for name in COLUMNS if name not in ("source_cursor", "appended_at")]
"""What an `Event` is made of, in the order of its fields."""

REPEATED: Final = ["did", "kind", "action", "collection"]
ENCODINGS: Final = {
    "log_offset": "DELTA_BINARY_PACKED",
    "occurred_at": "DELTA_BINARY_PACKED",
    "appended_at": "DELTA_BINARY_PACKED",
    "rkey": "DELTA_BYTE_ARRAY",
    "rev": "DELTA_BYTE_ARRAY",
    "source_cursor": "DELTA_BYTE_ARRAY",
}
# Measured: what higher levels win is in the records. All else is mostly hashes and random keys, on
# which the lowest level wins, since it looks for no repeats; but for keys and revisions, of which
# the times rise.
LEVELS: Final = dict.fromkeys(COLUMNS, 1) | {"record": 12, "rkey": 3, "rev": 3}


@dataclass(frozen=True, slots=True)
class Archived:
    """An archive file: the offsets `first_offset` up to, not with, `end_offset`."""

    first_offset: int
    end_offset: int
    location: str
    bytes: int
    sha256: str


Rows = Sequence[Sequence[Any]]
"""Rows of event_log with all its columns, times in microseconds since 1970."""


def is_same(table: Any, rows: Rows) -> bool:
    """Whether a file's table has exactly these rows."""
    return bool(table_of(rows).equals(table))


def table_of(rows: Rows) -> Any:
    """Rows as an Arrow table."""
    pa = arrow()
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(COLUMNS)
    moment = pa.timestamp("us", "UTC")
    arrays = [
        pa.array(values, pa.int64()).view(moment) if name in TIMES else pa.array(values, kind)
        for name, kind, values in zip(COLUMNS, _types(pa), columns, strict=True)
    ]
    return pa.table(arrays, names=list(COLUMNS))


def _types(pa: Any) -> list[Any]:
    return [pa.int64(), *[pa.string()] * len(TEXTS), pa.binary(),
            *[pa.timestamp("us", "UTC")] * len(TIMES)]  # fmt: skip


class ArchiveWriter:
    """Writes one file, a row group at a time; what is not finished is no file."""

    def __init__(self, location: str) -> None:
        pa = arrow()
        self.filesystem, self.path = place_of(location)
        self.filesystem.create_dir(self.path.rpartition("/")[0], recursive=True)
        self._sink = self.filesystem.open_output_stream(self.path)
        schema = pa.schema(list(zip(COLUMNS, _types(pa), strict=True)))
        self._writer = pa.parquet.ParquetWriter(
            self._sink,
            schema,
            compression="zstd",
            compression_level=LEVELS,
            use_dictionary=REPEATED,
            column_encoding=ENCODINGS,
            data_page_size=PAGE_BYTES,
            dictionary_pagesize_limit=PAGE_BYTES,
            write_page_checksum=True,
            write_statistics=list(OFFSETS + TIMES),
        )

    def add(self, rows: Rows) -> None:
        """Writes rows as a row group."""
        self._writer.write_table(table_of(rows), row_group_size=len(rows))

    def finish(self) -> None:
        """Ends the file; when it returns, the file is durable."""
        self._writer.close()
        self._sink.close()
        sync(self.filesystem, self.path)

    def abandon(self) -> None:
        """Lets go of the file as it is; after `finish` there is nothing to let go of."""
        self._writer.close()
        self._sink.close()


def check_bytes(file: Archived) -> None:
    """Makes sure that a file is what was written. Raises `ArchiveDamaged`."""
    size, sha256 = measured(file.location)
    if (size, sha256) != (file.bytes, file.sha256):
        raise ArchiveDamaged(
            f"archive file {file.location} is damaged: {size} bytes with SHA-256 {sha256}, not "
            f"{file.bytes} with {file.sha256}"
        )


_checked: set[Archived] = set()


def forget_checked() -> None:
    """Has this process check every file again that it opens anew."""
    _checked.clear()


class ArchiveFile:
    """An open archive file.

    Its bytes are checked when the process opens it for the first time, and with `check`. Raises
    `ArchiveDamaged`.
    """

    def __init__(self, file: Archived, *, check: bool = False) -> None:
        pa = arrow()
        if check or file not in _checked:
            check_bytes(file)
            _checked.add(file)
        self.file = file
        filesystem, path = place_of(file.location)
        self._parquet = self._sure(
            lambda: pa.parquet.ParquetFile(
                filesystem.open_input_file(path), page_checksum_verification=True
            )
        )
        metadata = self._parquet.metadata
        # Offsets are dense: where a row group begins follows from what came before it.
        self.starts = [file.first_offset]
        for i in range(metadata.num_row_groups):
            self.starts.append(self.starts[-1] + metadata.row_group(i).num_rows)
        if self.starts.pop() != file.end_offset:
            raise ArchiveDamaged(f"archive file {file.location} has not the rows that it should")

    def groups(self, after: int, through: int) -> range:
        """The row groups that hold offsets above `after` up to `through`."""
        first = bisect_right(self.starts, max(after + 1, self.file.first_offset)) - 1
        return range(first, bisect_right(self.starts, through))

    def end(self, group: int) -> int:
        """The offset at which a row group ends, which is not in it."""
        return self.starts[group + 1] if group + 1 < len(self.starts) else self.file.end_offset

    def table(self, group: int, columns: Sequence[str] = COLUMNS) -> Any:
        """Columns of a row group, every page's checksum proven. Raises `ArchiveDamaged`."""
        return self._sure(lambda: self._parquet.read_row_group(group, columns=list(columns)))

    def _sure(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (OSError, ValueError) as error:
            # A page's wrong checksum and a network's trouble are the same error to pyarrow.
            check_bytes(self.file)
            raise error from None

    def close(self) -> None:
        """Closes it."""
        self._parquet.close(force=True)


class ArchiveReader:
    """Reads archive files; holds a few of them open, and the last row groups decoded.

    For any thread, one at a time: a thread whose caller was cancelled still reads to its end.
    """

    def __init__(self) -> None:
        self._files: OrderedDict[Archived, ArchiveFile] = OrderedDict()
        self._groups: OrderedDict[tuple[Archived, int], Any] = OrderedDict()
        self._lock = threading.Lock()

    def read(
        self, file: Archived, after: int, through: int, collections: Sequence[str] | None
    ) -> list[Event]:
        """As `WholeLog.read`, of what the file holds of the range."""
        with self._lock:
            return self._read(file, after, through, collections)

    def _read(
        self, file: Archived, after: int, through: int, collections: Sequence[str] | None
    ) -> list[Event]:
        opened = self._opened(file)
        events: list[Event] = []
        for group in opened.groups(after, through):
            start = opened.starts[group]
            first = max(after + 1 - start, 0)
            part = self._group(opened, group).slice(first, through + 1 - start - first)
            events += events_of(_of_collections(part, collections))
        return events

    def of_accounts(
        self,
        file: Archived,
        dids: Sequence[str],
        after: int,
        through: int,
        collections: Sequence[str] | None,
    ) -> list[Event]:
        """As `WholeLog.of_accounts`; of row groups without them only the `did` is read."""
        with self._lock:
            return self._of_accounts(file, dids, after, through, collections)

    def _of_accounts(
        self,
        file: Archived,
        dids: Sequence[str],
        after: int,
        through: int,
        collections: Sequence[str] | None,
    ) -> list[Event]:
        pa = arrow()
        opened = self._opened(file)
        wanted = pa.array(dids, pa.string())
        events: list[Event] = []
        for group in opened.groups(after, through):
            mask = pa.compute.is_in(opened.table(group, ["did"])["did"], wanted)
            if not pa.compute.any(mask).as_py():
                continue
            found = opened.table(group, EVENT_COLUMNS).filter(mask)
            offsets = found["log_offset"]
            inside = pa.compute.and_(
                pa.compute.greater(offsets, after), pa.compute.less_equal(offsets, through)
            )
            events += events_of(_of_collections(found.filter(inside), collections))
        return events

    def _opened(self, file: Archived) -> ArchiveFile:
        if file not in self._files:
            self._files[file] = ArchiveFile(file)
        self._files.move_to_end(file)
        while len(self._files) > FILES_HELD:
            self._files.popitem(last=False)[1].close()
        return self._files[file]

    def _group(self, opened: ArchiveFile, group: int) -> Any:
        key = (opened.file, group)
        if key not in self._groups:
            self._groups[key] = opened.table(group, EVENT_COLUMNS)
        self._groups.move_to_end(key)
        while len(self._groups) > GROUPS_HELD:
            self._groups.popitem(last=False)
        return self._groups[key]

    def close(self) -> None:
        """Lets go of all files."""
        with self._lock:
            self._groups.clear()
            while self._files:
                self._files.popitem()[1].close()


def _of_collections(table: Any, collections: Sequence[str] | None) -> Any:
    if collections is None:
        return table
    pa = arrow()
    compute = pa.compute
    wanted = compute.is_in(table["collection"], pa.array(collections, pa.string()))
    return table.filter(compute.or_(wanted, compute.not_equal(table["kind"], "commit")))


def events_of(table: Any) -> list[Event]:
    """The events that rows with `EVENT_COLUMNS` are."""
    return [Event(*row) for row in zip(*values_of(table, EVENT_COLUMNS), strict=True)]


def values_of(table: Any, names: Sequence[str]) -> list[list[Any]]:
    """Columns of an Arrow table as Python's values; times as microseconds since 1970."""
    pa = arrow()
    columns = [table[name].cast(pa.int64()) if name in TIMES else table[name] for name in names]
    # A column at once, in C: value by value takes ten times as long.
    return [column.to_numpy(zero_copy_only=False).tolist() for column in columns]
