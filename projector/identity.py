"""Identity: what the network says an account is called, asked of those who know.

A handle counts when both sides say so: the account's DID document names it, and it names the DID,
by a TXT record of `_atproto.<handle>` or at `https://<handle>/.well-known/atproto-did`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

import msgspec
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_attempt,
    wait_random_exponential,
)

from events.syntax import is_did, is_handle
from projector.web import Answer, Refused, Unreachable, Web

ATTEMPTS: Final = 3
WAIT_SECONDS_MAX: Final = 2.0
TXT: Final = 16
PDS: Final = "AtprotoPersonalDataServer"
PDS_CHARS_MAX: Final = 2048
RESERVED: Final = frozenset(
    {"alt", "arpa", "example", "internal", "invalid", "local", "localhost", "onion", "test"}
)
"""Top-level domains in which no account can have a handle."""


class Document(msgspec.Struct, gc=False):
    """The parts of a DID document that tell of a handle, and of where the repo is; the latter as it
    came, since nobody need heed its form for the former."""

    id: str
    alsoKnownAs: list[str] = []
    service: msgspec.Raw = msgspec.Raw(b"[]")


class Service(msgspec.Struct, gc=False):
    """A service of an account."""

    type: str = ""
    serviceEndpoint: object = None


@dataclass(frozen=True, slots=True)
class Identity:
    """What is known of an account: the handle that it and the handle's own host agree on, in lower
    case, and the address of the host that has its repo; None what is not known."""

    handle: str | None
    pds: str | None


class Record(msgspec.Struct, gc=False):
    """A record of a DNS answer."""

    type: int
    data: str


class Records(msgspec.Struct, gc=False):
    """A DNS answer, in the JSON form of DNS over HTTPS."""

    Status: int
    Answer: list[Record] = []


def host_of_repo(document: Document) -> str | None:
    """The address of the PDS that a DID document names; None where it names none."""
    try:
        services = msgspec.json.decode(document.service, type=list[Service])
    except msgspec.MsgspecError:
        return None
    for service in services:
        at = service.serviceEndpoint
        if service.type == PDS and isinstance(at, str) and len(at) <= PDS_CHARS_MAX:
            return at
    return None


@dataclass(frozen=True, slots=True)
class Resolver:
    """Finds the handles of accounts.

    `directory` is the URL of the did:plc directory and `dns` that of a DNS-over-HTTPS service which
    answers in JSON; empty: TXT records are not asked for.
    """

    web: Web
    directory: str
    dns: str

    async def identity_of(self, did: str) -> Identity:
        """What is known of an account.

        Raises `Unreachable` where those who must know gave no answer: then nothing is known.
        """
        document = await self._document(did)
        if document is None:
            return Identity(None, None)
        return Identity(await self._handle_in(document, did), host_of_repo(document))

    async def _handle_in(self, document: Document, did: str) -> str | None:
        named = [name.removeprefix("at://").lower() for name in document.alsoKnownAs
                 if name.startswith("at://")]  # fmt: skip
        if not named or not self._may_be(named[0]):
            return None
        return named[0] if await self._did_of(named[0]) == did else None

    def _may_be(self, handle: str) -> bool:
        top = handle.rpartition(".")[2]
        return is_handle(handle) and (self.web.private or top not in RESERVED)

    async def _document(self, did: str) -> Document | None:
        url, trusted = self._where(did)
        if url is None:
            return None
        try:
            answer = await self._get(url, trusted=trusted)
        except Refused:
            return None
        if answer.status in (404, 410):
            return None  # There is no such account, or no more.
        if answer.status != 200:
            raise Unreachable(f"{url} answers {answer.status}")
        try:
            document = msgspec.json.decode(answer.body, type=Document)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        return document if document.id == did else None

    def _where(self, did: str) -> tuple[str | None, bool]:
        """The URL of an account's document, and whether an operator named its host."""
        if did.startswith("did:plc:"):
            return f"{self.directory.rstrip('/')}/{quote(did, safe=':')}", True
        host = did.removeprefix("did:web:")
        if not is_did(did) or host == did or ":" in host:
            return None, False
        host = host.replace("%3A", ":")
        scheme = "http" if self.web.private and ":" in host else "https"
        return f"{scheme}://{host}/.well-known/did.json", False

    async def _did_of(self, handle: str) -> str | None:
        if self.dns:
            told = await self._txt(handle)
            if told is not None:
                return told
        scheme = "http" if self.web.private else "https"
        try:
            answer = await self._get(f"{scheme}://{handle}/.well-known/atproto-did")
        except (Unreachable, Refused):
            return None  # A handle whose host is gone is nobody's.
        text = answer.body.decode(errors="replace").strip()
        return text if answer.status == 200 and is_did(text) else None

    async def _txt(self, handle: str) -> str | None:
        url = f"{self.dns}?name={quote(f'_atproto.{handle}')}&type=TXT"
        answer = await self._get(url, accept="application/dns-json", trusted=True)
        if answer.status != 200:
            raise Unreachable(f"{self.dns} answers {answer.status}")
        try:
            records = msgspec.json.decode(answer.body, type=Records)
        except msgspec.MsgspecError as error:
            raise Unreachable(f"{self.dns}: {error}") from error
        texts = [record.data.replace('" "', "").strip('"') for record in records.Answer
                 if record.type == TXT]  # fmt: skip
        dids = {text.removeprefix("did=") for text in texts if text.startswith("did=")}
        return dids.pop() if len(dids) == 1 else None

    async def _get(self, url: str, *, accept: str = "*/*", trusted: bool = False) -> Answer:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Unreachable),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.1, max=WAIT_SECONDS_MAX),
            reraise=True,
        ):
            with attempt:
                return await self.web.get(url, accept=accept, trusted=trusted)
        raise AssertionError("unreachable")
