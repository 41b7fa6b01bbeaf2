"""What the tests of security have in common."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.tls import Authority, TlsPostgres, tls_postgres


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs what the servers show."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Another, of whom they know nothing."""
    return Authority(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="session")
def encrypted(authority: Authority) -> Iterator[TlsPostgres]:
    """A PostgreSQL that lets nobody in without TLS and a password."""
    with tls_postgres(authority) as server:
        yield server
