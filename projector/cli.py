"""The command line: puts the commands together, and turns errors into one line and an exit code."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import asyncpg
import uvloop
from cyclopts import App, CycloptsError, UnknownCommandError
from rich.console import Console

from events.archive_place import ArchiveDamaged, ArchiveUnavailable
from events.errors import SourceError
from events.log import LogCorrupt
from projector import __version__
from projector.database import is_transient, one_line
from projector.environment import (
    configure_logging,
    settings,
    take_secret_files,
    take_settings,
)
from projector.errors import CannotConnect, Corruption, ProjectorError, SchemaMismatch, UsageError
from projector.memory import collect_rarely

log = logging.getLogger(__name__)

INTERRUPTED = 130

app = App(
    name="projector",
    help=(
        "An event-sourced projector for the AT Protocol firehose. Every setting is also a flag of "
        "every command and a PROJECTOR_ variable: `projector settings` lists them."
    ),
    version=__version__,
    version_flags=["--version"],
    default_parameter=None,
)
COMMANDS: Final = (
    ("up", "up:up"),
    ("demo", "demo:demo"),
    ("init", "basic:init"),
    ("ingest", "flow:ingest"),
    ("run", "flow:run"),
    ("resolve", "resolve:resolve"),
    ("status", "basic:status"),
    ("top", "top:top"),
    ("verify", "verify:verify"),
    ("doctor", "doctor:doctor"),
    ("probe", "probe:probe"),
    ("explain", "explain:explain"),
    ("history", "explain:history"),
    ("bisect", "explain:bisect"),
    ("trace", "trace:trace"),
    ("generate", "flow:generate"),
    ("rebuild", "rebuild:rebuild"),
    ("rollback", "rebuild:rollback"),
    ("as-of", "rebuild:as_of"),
    ("heal", "heal:heal"),
    ("replay", "replay:replay"),
    ("archive", "archive:archive"),
    ("forget", "forget:forget"),
    ("certify", "certify:certify"),
    ("settings", "basic:show_settings"),
)
LETTERS: Final = (
    ("list", "letters:list_letters"),
    ("show", "letters:show"),
    ("retry", "letters:retry"),
    ("drop", "letters:drop_letters"),
)
"""Each is imported when it is asked for: all of them would make every start take longer."""
dead_letters = App(name="dead-letters", help="What could not be decoded or applied, kept whole.")
for group, commands in ((app, COMMANDS), (dead_letters, LETTERS)):
    for name, where in commands:
        group.command(f"projector.commands.{where}", name=name)
app.command(dead_letters)


def load_commands() -> None:
    """Imports all commands: a list of them says what each is for, in the words of its function."""
    for group, commands in ((app, COMMANDS), (dead_letters, LETTERS)):
        for name, _ in commands:
            group[name]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one command and exits with its code: 0, or that of the error (CONVENTIONS)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        configure_logging(debug)
        take_secret_files(os.environ)
        given = take_settings(given)
        settings()
        if not {*given[:1]} & {name for name, _ in COMMANDS}:
            load_commands()
        command, bound, _ = app.parse_args(given, exit_on_error=False, print_error=False)
        result = command(*bound.args, **bound.kwargs)
        if asyncio.iscoroutine(result):
            collect_rarely()
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(result)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(INTERRUPTED)
    except Exception as error:
        if debug:
            log.exception("failed")
        known = known_error(error)
        if known is None:
            raise
        Console(stderr=True, highlight=False).print(
            f"projector: {known}", markup=False, soft_wrap=True
        )
        sys.exit(known.exit_code)
    sys.exit(0)


def known_error(error: Exception) -> ProjectorError | None:
    """The error as one of ours, with its exit code; None for one that is a bug."""
    if isinstance(error, ProjectorError):
        return error
    if isinstance(error, CycloptsError):
        return UsageError(f"{_misunderstood(error)} (projector --help)")
    if isinstance(error, SourceError):
        return CannotConnect(one_line(error))
    if isinstance(error, ArchiveUnavailable):
        return UsageError(one_line(error))
    if isinstance(error, ArchiveDamaged):
        return Corruption(f"{one_line(error)}; projector verify --log says how to mend it")
    if isinstance(error, LogCorrupt):
        return Corruption(f"{one_line(error)}; restore the database from a backup")
    if isinstance(error, (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError)):
        return SchemaMismatch(f"{one_line(error)}; run: projector init")
    if isinstance(error, TimeoutError):
        return CannotConnect(
            "the server gave no answer in time; type the command again, or raise "
            "--command-timeout-seconds (add --debug for where)"
        )
    if isinstance(error, asyncpg.InternalClientError):
        return CannotConnect("the server went away; type the command again (add --debug for where)")
    if is_transient(error) or isinstance(error, asyncpg.PostgresError):
        return CannotConnect(f"{one_line(error)} (add --debug for where)")
    return None


def _misunderstood(error: CycloptsError) -> str:
    word = next(iter(getattr(error, "unused_tokens", None) or ()), "")
    if isinstance(error, UnknownCommandError) and word.startswith("-"):
        return f"options come after the command: projector COMMAND {word} …"
    return one_line(error)


if __name__ == "__main__":
    main()
