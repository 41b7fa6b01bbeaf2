"""A certificate authority of a test's own, and a PostgreSQL that lets nobody in without TLS."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from projector.embedded_postgres import CONFIGURATION, EmbeddedPostgres
from tests.support.postgres import DEBIAN_BINARIES, FAST
from tests.support.redis_server import free_port

HBA = """
local all all trust
hostssl all all 127.0.0.1/32 scram-sha-256
"""
"""Over TCP with TLS and a password only."""


def required(there: bool, what: str) -> None:
    """Skips the test where something is missing here, but fails it when CI=true."""
    if there:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must not skip it")
    pytest.skip(f"needs {what}")


class Authority:
    """Makes certificates that it has signed, by openssl."""

    def __init__(self, folder: Path) -> None:
        required(shutil.which("openssl") is not None, "openssl")
        self.folder = folder
        self.certificate, self._key = folder / "ca.pem", folder / "ca.key"
        self._make(self.certificate, self._key, "keyUsage=critical,keyCertSign")

    def signed(self, name: str) -> tuple[Path, Path]:
        """A certificate for a host name, and its key."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        signer = ("-CA", str(self.certificate), "-CAkey", str(self._key))
        self._make(certificate, key, f"subjectAltName=DNS:{name}", *signer)
        return certificate, key

    def context(self, name: str) -> ssl.SSLContext:
        """What a server of that name needs."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self.signed(name))
        return context

    def _make(self, certificate: Path, key: Path, extension: str, *words: str) -> None:
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "3650", "-subj", f"/CN={certificate.stem}", "-addext", extension,
             "-keyout", str(key), "-out", str(certificate), *words],
            check=True,
            capture_output=True,
        )  # fmt: skip


class TlsPostgres:
    """Debian's PostgreSQL 15 with TLS on a loopback port; as `localhost` it has a certificate."""

    def __init__(self, server: EmbeddedPostgres, port: int) -> None:
        self.server = server
        self.port = port

    def url(self, database: str = "postgres") -> str:
        """By its socket, where everybody is let in."""
        return self.server.url(database) + f"&port={self.port}"

    async def make(self, name: str, password: str) -> None:
        """Makes a role with a password, and a database that is its own."""
        admin = await asyncpg.connect(self.url())
        try:
            text = password.replace("'", "''")
            await admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{text}'")
            await admin.execute(f"CREATE DATABASE {name} OWNER {name}")
        finally:
            await admin.close()


@contextmanager
def tls_postgres(authority: Authority) -> Iterator[TlsPostgres]:
    """Runs the server."""
    required(DEBIAN_BINARIES.exists(), "Debian's postgresql-15")
    port = free_port()
    own = f"port = {port}\nlisten_addresses = '127.0.0.1'\nmax_connections = 60\n"
    with tempfile.TemporaryDirectory(prefix="pj", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(
            Path(folder), binaries=DEBIAN_BINARIES, configuration=CONFIGURATION + FAST + own
        )
        server.start()
        try:
            _encrypt(server, authority)
            server.start()
            yield TlsPostgres(server, port)
        finally:
            server.stop("immediate")


def _encrypt(server: EmbeddedPostgres, authority: Authority) -> None:
    """Puts certificate and key into the data folder, which is the server's own by now."""
    server.stop("immediate")
    owner = server.data.stat()
    certificate, key = authority.signed("localhost")
    for source, name in ((certificate, "server.crt"), (key, "server.key")):
        target = server.data / name
        shutil.copyfile(source, target)
        os.chown(target, owner.st_uid, owner.st_gid)
        target.chmod(0o600)
    (server.data / "pg_hba.conf").write_text(HBA)
    with (server.data / "postgresql.conf").open("a") as file:
        file.write("ssl = on\n")
