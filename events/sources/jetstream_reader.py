"""The task that reads Jetstream hosts in turn, for as long as it runs, into an inbox."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from events.event import Decoded, Report, Skipped, Undecodable, from_time_us, nothing
from events.sources.inbox import Inbox, Received
from events.sources.jetstream_frames import FrameDecoder, host_error, one_line
from events.sources.jetstream_position import Position
from events.sources.jetstream_turns import End, Turns
from events.sources.jetstream_url import Host

CLOSE_SECONDS_MAX: Final = 0.5
"""A closing handshake cannot end while we hold back a host that has much to send."""

FRAMES_BUFFERED_MAX: Final = (1, 0)
"""The library stops reading above one whole frame, and reads on when all have been taken: each may
be as large as the hard limit."""

FUTURE: Final = "FutureCursor"
IN_ITS_FUTURE: Final = "takes the cursor for the future"


@dataclass(frozen=True, slots=True)
class Pace:
    """How long to wait for what, in seconds, and the greatest message accepted, in bytes."""

    silent_seconds: float
    connect_seconds_max: float
    message_bytes_hard_max: int


class Reader:
    """Connects to the host whose turn it is, receives, decodes; and again, until cancelled."""

    def __init__(
        self,
        turns: Turns,
        position: Position,
        decoder: FrameDecoder,
        inbox: Inbox,
        *,
        pace: Pace,
        report: Report,
        on_lost: Callable[[], None] = nothing,
    ) -> None:
        self._turns = turns
        self._position = position
        self._decoder = decoder
        self._inbox = inbox
        self._pace = pace
        self._report = report
        self._on_lost = on_lost

    async def run(self) -> None:
        """Reads for ever; ends only by cancellation, and then leaves no connection open."""
        turns = self._turns
        while True:
            host = turns.host
            end = await self._connection(host)
            if end.kind != "clock":
                self._on_lost()
            if end.kind == "too-large":
                await self._bury(end)
            turns.ended(end)
            seconds = turns.backoff_seconds()
            moved = "" if turns.host is host else f" to {turns.host.label}"
            self._report(
                f"jetstream: {host.label} {end.why}; reconnecting{moved} in {seconds:.2g} s"
            )
            await asyncio.sleep(seconds)

    async def _connection(self, host: Host) -> End:
        """One connection from start to end."""
        requested_us = self._turns.requested_us()
        link = await self._open(host, requested_us)
        if isinstance(link, End):
            return link
        try:
            async with link:
                self._report(f"jetstream: connected to {host.label}, {_from(requested_us)}")
                try:
                    return await self._receive(link, host, requested_us)
                except ConnectionClosed as closed:
                    return self._closed(closed)
        finally:
            # Closing gives way to a cancellation (before Python 3.11.3 always, so that the socket
            # would stay open); this does not.
            link.transport.abort()

    async def _open(self, host: Host, requested_us: int | None) -> ClientConnection | End:
        try:
            return await connect(
                host.subscribe_url(requested_us),
                compression=None,
                max_size=self._pace.message_bytes_hard_max,
                max_queue=FRAMES_BUFFERED_MAX,
                # While we hold a host back its pongs are not read either, and a keepalive would
                # drop the connection. A dead host is noticed by its silence.
                ping_interval=None,
                open_timeout=self._pace.connect_seconds_max,
                close_timeout=CLOSE_SECONDS_MAX,
            )
        except InvalidStatus as refusal:
            if FUTURE.encode() in (refusal.response.body or b""):
                return End("behind", IN_ITS_FUTURE)
            return End("refused", f"refuses: HTTP {refusal.response.status_code}")
        except (OSError, WebSocketException, ValueError) as error:
            return End("refused", f"cannot be reached: {_cause(error)}")

    async def _receive(self, link: ClientConnection, host: Host, requested_us: int | None) -> End:
        """Receives until the host is silent; raises ConnectionClosed when the connection ends."""
        now = asyncio.get_running_loop().time
        silent_seconds, inbox = self._pace.silent_seconds, self._inbox
        opened = marked = now()
        greeted = False
        try:
            async with asyncio.timeout(silent_seconds) as patience:
                while True:
                    raw = await link.recv(decode=False)
                    decoded, time_us = self._decoder.decode(raw)
                    if not greeted:
                        if (end := self._greet(decoded, time_us, requested_us)) is not None:
                            return end
                        greeted = time_us is not None
                    self._keep(decoded, len(raw), time_us, host)
                    if inbox.full:
                        # The silence is ours now: no fault of the host.
                        patience.reschedule(None)
                        await inbox.room()
                        marked = 0.0
                    # To move the deadline for each message would cost more than to receive it.
                    if now() - marked > silent_seconds / 20:
                        marked = now()
                        patience.reschedule(marked + silent_seconds)
        except TimeoutError:
            return End("silent", f"said nothing for {silent_seconds:g} s")
        finally:
            if now() - opened > silent_seconds:
                self._turns.lasted()

    def _greet(self, decoded: Decoded, time_us: int | None, requested_us: int | None) -> End | None:
        """Judges whether the host began where we asked; to be asked until a time has come."""
        if time_us is None:
            told = host_error(decoded)
            return End("behind", IN_ITS_FUTURE) if told is not None and FUTURE in told else None
        if self._turns.asking_clock:
            return End("clock", "has told its time", time_us)
        if self._position.is_behind(time_us, requested_us):
            early = ((requested_us or time_us) - time_us) / 1_000_000
            return End("behind", f"began {early:.1f} s before what it was asked for", time_us)
        self._turns.accepted()
        return None

    def _keep(self, decoded: Decoded, message_bytes: int, time_us: int | None, host: Host) -> None:
        position = self._position
        if time_us is not None:
            before_us = position.last_us
            note = position.observe(time_us)
            if note is not None:
                self._report(f"jetstream: {host.label}: {note}")
            if position.last_us != before_us:
                self._turns.progressed()
        elif (told := host_error(decoded)) is not None:
            self._report(f"jetstream: {host.label} says {told}")
            decoded = Skipped("host-error")
        self._inbox.put(Received(decoded, message_bytes, position.cursor_us))

    def _closed(self, closed: ConnectionClosed) -> End:
        if closed.sent is not None and closed.sent.code == 1009 and not closed.rcvd_then_sent:
            return End(
                "too-large",
                f"sent a message of more than {self._pace.message_bytes_hard_max} bytes",
            )
        return End("dropped", f"dropped the connection: {_cause(closed)}")

    async def _bury(self, end: End) -> None:
        """Puts the first failure at a place on record; a message that cannot be read has no raw."""
        self._turns.progressed()
        if self._position.stuck():
            at = self._position.last_us
            error = f"the host {end.why}, next after {at or 'the start'}"
            dead = Undecodable(b"", "too-large", error, "" if at is None else str(at))
            await self._inbox.room()
            self._inbox.put(Received(dead, 0, self._position.cursor_us))


def _from(requested_us: int | None) -> str:
    return "live" if requested_us is None else f"from {from_time_us(requested_us).isoformat()}"


def _cause(error: Exception) -> str:
    return one_line(str(error)) or type(error).__name__
