"""What every command shares: which database, which settings, how to print."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Annotated, Any, Final

from cyclopts import Parameter

from events.crashpoints import VARIABLE as CRASH_VARIABLE
from projector.database import Database, masked, one_line
from projector.declare import Companion, Declaration, Kept
from projector.embedded_postgres import EmbeddedPostgres
from projector.errors import HeldByAnother, UsageError
from projector.registry import companions, event_by_event, kept
from projector.settings import CORRECT, Settings, current, parse, secret_variables

log = logging.getLogger(__name__)

DATABASE_VARIABLE: Final = "PROJECTOR_DATABASE_URL"
FOLDER_VARIABLE: Final = "PROJECTOR_DATA_DIR"
FILE_SUFFIX: Final = "_FILE"
SECRET_VARIABLES: Final = secret_variables() | {DATABASE_VARIABLE}
"""Each may be given as a file, too, by the variable of this name and FILE_SUFFIX."""
OTHER_VARIABLES: Final = frozenset({DATABASE_VARIABLE, FOLDER_VARIABLE, CRASH_VARIABLE})
DEFAULT_FOLDER: Final = Path("projector-data")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Common:
    """Options that every command takes."""

    database: Annotated[str | None, Parameter(env_var=DATABASE_VARIABLE)] = None
    "URL of a PostgreSQL server: postgresql://user@host/database; …_URL_FILE: a file that has it."

    data_dir: Annotated[Path | None, Parameter(env_var=FOLDER_VARIABLE)] = None
    "Folder of the embedded servers, used where no database is named [./projector-data]."

    json: Annotated[bool, Parameter(negative="")] = False
    "Print JSON with stable keys."

    debug: Annotated[bool, Parameter(negative="")] = False
    "Show tracebacks and debug messages."

    @property
    def folder(self) -> Path:
        """The folder of the embedded servers."""
        return self.data_dir or DEFAULT_FOLDER


COMMON: Final = Common()
"""The options where none was given."""

_given: dict[str, Any] = {}
_visible: list[str] = []


def take_settings(arguments: Sequence[str]) -> list[str]:
    """Takes the flags of settings (`--window-events-max 500`) out of the command line.

    Returns what is left. Raises `UsageError` for a value that cannot be read.
    """
    known: Mapping[str, Any] = {"--" + f.name.replace("_", "-"): f for f in fields(Settings)}
    left: list[str] = []
    rest = iter(arguments)
    for word in rest:
        flag, equals, text = word.partition("=")
        if flag not in known:
            left.append(word)
            continue
        value = text if equals else next(rest, None)
        if value is None:
            raise UsageError(f"{flag} needs a value: {known[flag].metadata['help']}")
        _given[known[flag].name] = parse(known[flag], value, f"{flag} {value}")
        if known[flag].metadata["secret"] and value:
            _visible.append(flag)
    _visible.extend(masked(word) for word in left if masked(word) != word)
    return left


def take_secret_files(environment: MutableMapping[str, str]) -> None:
    """Puts what the files of secrets hold into the environment, as if it had been there.

    So commands, and the processes they start, know of one way only. Raises `UsageError`.
    """
    for name in sorted(SECRET_VARIABLES):
        path = environment.pop(name + FILE_SUFFIX, "")
        if not path:
            continue
        if environment.get(name):
            raise UsageError(f"both {name} and {name}{FILE_SUFFIX} are given; leave one out")
        try:
            secret = Path(path).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            raise UsageError(f"{name}{FILE_SUFFIX}: {one_line(error)}") from None
        if not secret and name == DATABASE_VARIABLE:
            raise UsageError(f"{name}{FILE_SUFFIX}: {path} is empty")
        # The others are empty by default.
        environment[name] = secret


def say_what_shows() -> None:
    """Warns, for a command that goes on, of secrets that were given where everybody sees them."""
    for word in _visible:
        log.warning(
            "%s: every user of this machine can read the password in the list of processes; "
            "give it by a variable (%s), or by a file (%s)",
            word,
            ", ".join(sorted(SECRET_VARIABLES)),
            DATABASE_VARIABLE + FILE_SUFFIX,
        )


def settings() -> Settings:
    """The settings in force. Raises `UsageError` for an unknown or unreadable variable."""
    return current(_given, OTHER_VARIABLES)


def declared() -> list[Declaration]:
    """The projections that are kept, by the settings in force.

    Raises `UsageError`, also where tables are kept event by event: no other command than those of
    `declared_of_any_kind` can do with them.
    """
    chosen = settings()
    if chosen.compat != CORRECT:
        raise UsageError(
            f"this is not offered with compat={chosen.compat}, whose tables hang on the order of "
            "events one by one: there are init, ingest, run, up, status, archive and dead-letters "
            "list; to build its tables anew, drop their schema, and run: projector init"
        )
    return kept(chosen.projections)


def declared_of_any_kind() -> list[Kept]:
    """What is kept, by the settings in force: projections, or what `compat` names. Raises
    `UsageError`."""
    chosen = settings()
    if chosen.compat == CORRECT:
        return [*kept(chosen.projections)]
    if chosen.projections.strip() != "*":
        raise UsageError(f"compat={chosen.compat} keeps all tables: leave the setting projections")
    return [event_by_event(chosen.compat)]


def accompanied() -> list[Companion]:
    """The tables beside those that are kept, by the settings in force. Raises `UsageError`."""
    return companions(settings().projections)


@asynccontextmanager
async def opened(
    common: Common, chosen: Settings, *, create: bool = False
) -> AsyncIterator[Database]:
    """The database to work with: the one named, or an embedded one, started where it is not.

    An embedded server that this process is the last to use is stopped at the end. Raises
    `UsageError` where neither is there, unless `create`.
    """
    timeout = chosen.command_timeout_seconds
    if common.database is not None:
        yield Database(common.database, command_timeout_seconds=timeout)
        return
    folder = common.folder
    if not create and not (folder / "postgres" / "PG_VERSION").exists():
        raise UsageError(
            f"no database: name one by --database or {DATABASE_VARIABLE}, or the folder of an "
            f"embedded one by --data-dir or {FOLDER_VARIABLE} ({folder} has none: projector init "
            "makes it, projector up makes and runs it)"
        )
    server = EmbeddedPostgres(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users.lock").open("a") as users:
        with locked(folder / "start.lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            url = server.start()
        try:
            yield Database(url, command_timeout_seconds=timeout)
        finally:
            with locked(folder / "start.lock"):
                if _is_last(users):
                    server.stop()


def _is_last(users: IO[str]) -> bool:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Waits for, and holds, a lock that the kernel takes back when this process ends."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def held_alone(path: Path, what: str) -> Iterator[None]:
    """Holds a lock that nobody else may hold. Raises `HeldByAnother`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise HeldByAnother(
                f"{what} runs already on {path.parent}; stop it, or name another --data-dir"
            ) from None
        yield


def _log_level() -> int:
    text = os.environ.get("LOG_LEVEL") or "INFO"
    levels = logging.getLevelNamesMapping()
    if text.upper() not in levels:
        raise UsageError(f"LOG_LEVEL={text!r} is none of {', '.join(levels)}")
    return levels[text.upper()]


def configure_logging(debug: bool) -> None:
    """Log lines go to standard error, one line each; LOG_LEVEL in the environment says which.

    Raises `UsageError`.
    """
    logging.basicConfig(
        level=logging.DEBUG if debug else _log_level(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for name in ("asyncio", "websockets", "urllib3", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.WARNING)
