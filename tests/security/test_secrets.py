"""Passwords are in no log, error, trace, list of processes or page; and come by files."""

from __future__ import annotations

from pathlib import Path

import pytest

from events.errors import SourceError
from events.streams.link import parse_place
from projector.database import masked
from projector.environment import take_secret_files
from projector.errors import UsageError
from projector.settings import Settings, shown
from projector.sources import addressed
from tests.support.cli import Place, Running
from tests.support.collector import Collector
from tests.support.redis_server import RedisServer, redis_binaries, require_redis
from tests.support.served import LISTEN, served_by
from tests.support.tls import Authority, TlsPostgres
from tests.support.watch import Watch

OF_POSTGRES, OF_REDIS, OF_PAGE = "hunter2/of?postgres", "hunter3 of@redis", "hunter4-of-the-page"
SECRETS = ("hunter2", "hunter3", "hunter4")
STREAM = "live"


def command_line(daemon: Running) -> str:
    """What everybody sees of a process."""
    return Path(f"/proc/{daemon.pid}/cmdline").read_text().replace("\0", " ")


async def test_passwords_of_files_are_told_nowhere(
    encrypted: TlsPostgres, authority: Authority, tmp_path: Path
) -> None:
    require_redis()
    await encrypted.make("secretive", OF_POSTGRES)
    database = tmp_path / "database_url"
    database.write_text(
        f"postgresql://secretive:hunter2%2Fof%3Fpostgres@localhost:{encrypted.port}/secretive"
        f"?sslmode=verify-full&sslrootcert={authority.certificate}\n"
    )
    (tmp_path / "redis").write_text(OF_REDIS)
    (tmp_path / "page").write_text(OF_PAGE)
    told: list[str] = []
    binary = next(iter(redis_binaries().values()))
    async with (
        RedisServer(binary, tmp_path / "data") as redis,
        Watch(encrypted.url("secretive")) as watch,
    ):
        await redis.run("CONFIG", "SET", "requirepass", OF_REDIS)
        stream = f"{redis.url}?stream={STREAM}"
        with Collector() as collector:
            place = Place(
                tmp_path,
                PROJECTOR_DATABASE_URL_FILE=str(database),
                PROJECTOR_REDIS_PASSWORD_FILE=str(tmp_path / "redis"),
                PROJECTOR_STATUS_TOKEN_FILE=str(tmp_path / "page"),
                OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
            )
            for words in (
                ["init"],
                ["ingest", "generate:events=300,seed=4,invalid=0.05", "--to", stream, "--debug"],
                ["settings"],
                ["status", "--json"],
            ):
                ended = await place.ok(*words)
                told += [ended.text, ended.err]
            async with (
                place.start("ingest", stream, "--debug", env=LISTEN) as ingest,
                place.start("run", "--debug", env=LISTEN) as run,
            ):
                await watch.until(watch.tables_at, 300)
                for daemon in (ingest, run):
                    served = await served_by(daemon)
                    token = {"authorization": f"Bearer {OF_PAGE}"}
                    for path in ("/", "/state", "/metrics", "/health"):
                        answer = await served.get(path, token)
                        told.append(answer.body)
                    told.append(command_line(daemon))
                # Both servers go: what is said of that is said with their addresses.
                await redis.stop()
                await ingest.until_said("waiting")
                await watch.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE usename = 'secretive'"
                )
                await run.until_said("trying again")
                for daemon in (ingest, run):
                    daemon.terminate()
                    await daemon.code()
                    told.append(daemon.said)
        assert len(collector.spans) > 0
        told.append(repr(collector.spans))
        database.write_text(database.read_text().replace("%3F", "%21"))
        wrong = await place.run("status", "--debug")
        assert wrong.code == 3
        told += [wrong.text, wrong.err]
    assert any("Traceback" in text for text in told)
    found = [text[max(0, i - 80) : i + 80] for text in told for secret in SECRETS
             if (i := text.find(secret)) >= 0]  # fmt: skip
    assert found == []


async def test_a_password_in_a_flag_is_warned_of_and_shown_by_nobody_else(
    encrypted: TlsPostgres, tmp_path: Path
) -> None:
    url = f"postgresql://nobody:hunter2@localhost:{encrypted.port}/nobody"
    place = Place(tmp_path)
    for words in (
        ["run", "--database", url],
        ["ingest", "generate:events=1", "--database", url],
        ["run", "--database", url.replace(":hunter2", ""), "--status-token", "hunter2"],
    ):
        ended = await place.run(*words)
        assert ended.code == 3
        assert "can read the password in the list of processes" in ended.err
        assert "PROJECTOR_DATABASE_URL_FILE" in ended.err
        assert "hunter2" not in ended.err + ended.text
    ended = await place.run("ingest", "redis://:hunter2@127.0.0.1:1", "--database", url)
    assert "hunter2" not in ended.err


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:hunter2@h/db",
        "postgresql://u:hun/ter2@h/db",
        "postgresql://u:hunter2?x@h/db",
        "postgresql://h/db?user=u&password=hunter2",
        "redis://:hunter2@h:1/0?stream=live",
        "redis://u:hun#ter2@h:1/0?stream=live",
        "unix://:hunter2@/run/redis.sock?stream=live",
        "wss://u:hunter2@h/subscribe",
    ],
)
def test_an_address_is_shown_without_its_password(url: str) -> None:
    told = masked(url)
    assert [part for part in ("hun", "ter2") if part in told] == []
    assert "***" in told


def test_an_address_without_one_is_shown_as_it_is() -> None:
    for url in (
        "postgresql://u@h/db?sslmode=verify-full",
        "jetstream",
        "file:/a@b/c.jsonl",
        "file:///a@b/c.jsonl",
        "redis://h:1/0?stream=a",
    ):
        assert masked(url) == url


async def test_an_address_that_cannot_be_read_tells_nothing_of_its_password(
    tmp_path: Path,
) -> None:
    place = Place(tmp_path, PROJECTOR_DATABASE_URL="postgresql://u:hun/ter2@h/db")
    ended = await place.run("status")
    assert (ended.code, "%2F" in ended.complaint) == (3, True)
    for told in (ended.err, (await place.run("status", "--debug")).err):
        assert "hun" not in told
        assert "ter2" not in told
    with pytest.raises(SourceError) as caught:
        parse_place("redis://:hun/ter2@h/0?stream=live")
    assert "hun" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("redis://h:1/0?stream=a", "redis://:p%40%2F@h:1/0?stream=a"),
        ("rediss://me@h:1/0?stream=a", "rediss://me:p%40%2F@h:1/0?stream=a"),
        ("redis://me:own@h:1/0?stream=a", "redis://me:own@h:1/0?stream=a"),
        ("unix:///run/r.sock?stream=a", "unix://:p%40%2F@/run/r.sock?stream=a"),
        ("jetstream", "jetstream"),
    ],
)
def test_the_password_of_redis_goes_where_there_is_none(text: str, whole: str) -> None:
    assert addressed(text, Settings(redis_password="p@/")) == whole
    assert addressed(text, Settings()) == text


def test_a_file_of_a_secret_is_read_or_said(tmp_path: Path) -> None:
    file = tmp_path / "url"
    name = "PROJECTOR_DATABASE_URL"
    file.write_text("postgresql://h/db\n")
    environment = {f"{name}_FILE": str(file), "PROJECTOR_SCHEMA": "x"}
    take_secret_files(environment)
    assert environment == {name: "postgresql://h/db", "PROJECTOR_SCHEMA": "x"}
    file.write_text("\n")
    none = {"PROJECTOR_REDIS_PASSWORD_FILE": str(file)}
    take_secret_files(none)
    assert none == {"PROJECTOR_REDIS_PASSWORD": ""}
    for wrong, why in (
        ({f"{name}_FILE": str(file), name: "x"}, "both"),
        ({f"{name}_FILE": str(file)}, "is empty"),
        ({f"{name}_FILE": str(tmp_path / "none")}, "No such file"),
        ({"PROJECTOR_STATUS_TOKEN_FILE": str(tmp_path)}, "PROJECTOR_STATUS_TOKEN_FILE"),
    ):
        with pytest.raises(UsageError, match=why):
            take_secret_files(wrong)


def test_settings_show_no_secret() -> None:
    given = Settings(redis_password="hunter3", status_token="hunter4")
    assert "hunter" not in repr(given) + str(shown(given))
