"""The PostgreSQL that the peer needs: with pg_trgm, which the embedded one has not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from projector.embedded_postgres import CONFIGURATION, EmbeddedPostgres
from projector.errors import ProjectorError
from tests.support.postgres import DEBIAN_BINARIES, FAST


@contextmanager
def server() -> Iterator[EmbeddedPostgres]:
    """Runs Debian's PostgreSQL 15 in a folder of its own, collation C."""
    if not DEBIAN_BINARIES.exists():
        raise ProjectorError(f"no PostgreSQL 15 in {DEBIAN_BINARIES}; on Debian: "
                             "apt-get install postgresql-15")  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="pj", ignore_cleanup_errors=True) as folder:
        made = EmbeddedPostgres(
            Path(folder), binaries=DEBIAN_BINARIES, configuration=CONFIGURATION + FAST
        )
        made.start()
        try:
            yield made
        finally:
            made.stop("immediate")
