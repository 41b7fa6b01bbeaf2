"""Where archive files lie: a folder, or whatever a URL reaches by pyarrow's filesystems.

pyarrow is asked for where it is needed, since nothing else of the program needs it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from events.log import LogCorrupt

HASHED_BYTES: Final = 4 * 1024 * 1024


class ArchiveUnavailable(Exception):
    """The archive cannot be read or written: pyarrow is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "the archive needs pyarrow, which is not installed; "
            "pip install 'atproto-projector[archive]'"
        )


class ArchiveDamaged(LogCorrupt):
    """An archive file is not what was written, or is missing (`is_missing`)."""

    def __init__(self, message: str, *, is_missing: bool = False) -> None:
        super().__init__(message)
        self.is_missing = is_missing


def require_arrow() -> None:
    """Raises `ArchiveUnavailable` where pyarrow is missing."""
    arrow()


def arrow() -> Any:
    """The module pyarrow. Raises `ArchiveUnavailable`."""
    try:
        import pyarrow as pa
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        raise ArchiveUnavailable from None
    return pa


def place_of(location: str) -> tuple[Any, str]:
    """The pyarrow filesystem and the path in it of a folder or file; a URL, or a local path."""
    arrow()
    from pyarrow.fs import FileSystem, LocalFileSystem

    if "://" in location:
        filesystem, path = FileSystem.from_uri(location)
        return filesystem, str(path)
    return LocalFileSystem(), str(Path(location).expanduser().absolute())


def joined(location: str, name: str) -> str:
    """The location of a file in a folder; a URL keeps its options, a local path is made whole."""
    if "://" in location:
        folder, mark, options = location.partition("?")
        return f"{folder.rstrip('/')}/{name}{mark}{options}"
    return str(Path(location).expanduser().absolute() / name)


def folder_of(location: str) -> str:
    """The location of the folder that a file lies in."""
    path, mark, options = location.partition("?" if "://" in location else "\0")
    return f"{path.rpartition('/')[0]}{mark}{options}"


def has_password(location: str) -> bool:
    """Whether a URL tells a secret."""
    return "://" in location and urlsplit(location).password is not None


def sync(filesystem: Any, path: str) -> None:
    """Has a local disk keep a file and the folder's entry of it; object stores need no asking."""
    if filesystem.type_name != "local":
        return
    for each in (Path(path), Path(path).parent):
        number = os.open(each, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


def move(source: str, target: str) -> None:
    """Gives a file another name, durably; replaces what has it."""
    filesystem, path = place_of(source)
    _, to = place_of(target)
    filesystem.move(path, to)
    sync(filesystem, to)


def delete(location: str) -> None:
    """Deletes a file that may be gone already."""
    filesystem, path = place_of(location)
    try:
        filesystem.delete_file(path)
    except FileNotFoundError:
        return


def delete_prefixed(folder: str, prefix: str) -> None:
    """Deletes the files of a folder whose names begin so; the folder may be missing."""
    from pyarrow.fs import FileSelector

    filesystem, path = place_of(folder)
    for found in filesystem.get_file_info(FileSelector(path, allow_not_found=True)):
        if found.base_name.startswith(prefix):
            filesystem.delete_file(found.path)


def measured(location: str) -> tuple[int, str]:
    """The bytes of a file, counted, and their SHA-256. Raises `ArchiveDamaged` where it is gone."""
    filesystem, path = place_of(location)
    digest, size = hashlib.sha256(), 0
    try:
        with filesystem.open_input_stream(path) as stream:
            while chunk := stream.read(HASHED_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except FileNotFoundError as error:
        raise ArchiveDamaged(f"archive file {location} is missing", is_missing=True) from error
    return size, digest.hexdigest()
