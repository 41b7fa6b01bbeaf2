"""The accounts of a generated firehose: who acts, who is popular, who leaves and comes back."""

from __future__ import annotations

from functools import partial

from events.event import Event
from events.generate.ids import did_of
from events.generate.stage import Stage
from events.generate.text import usual_time

_DOWN_MAX = 500
_SEQ_FIRST = 31_527_000_000
_STATUSES = ("deactivated", "deactivated", "takendown", "suspended")


class Accounts:
    """Picks accounts, and makes the events about them.

    `wiped` says at which stage index an account was last deleted with all its records; `down`
    holds those that are away at the moment, in the order in which they went. Neither acts.
    """

    def __init__(self, stage: Stage, dids: list[str]) -> None:
        self._stage = stage
        self._random = stage.rng.random
        self._dids = dids
        self._count = len(dids)
        self._below = len(dids) + 0.999
        self._down_max = min(_DOWN_MAX, len(dids) // 2)
        self.down: dict[str, str] = {}
        self.wiped: dict[str, int] = {}

    def actor(self) -> str:
        """An account that is active: the first of n does 1/√n of everything."""
        while True:
            luck = self._random()
            did = self._dids[int(self._count * luck * luck)]
            if did not in self.down:
                return did

    def popular(self) -> str:
        """An account by Zipf's law: the k-th of n has a share of about 1/(k·ln n)."""
        return self._dids[int(self._below ** self._random()) - 1]

    def may_act(self, did: str, born: int) -> bool:
        """Whether an account is there, and its record made at stage index `born` with it."""
        return did not in self.down and self.wiped.get(did, -1) < born

    def newcomer(self) -> str:
        """The DID of a new account, which exists nowhere yet."""
        return did_of(self._stage.rng.getrandbits(120).to_bytes(15, "little"))

    def identity(self, did: str = "") -> Event:
        """The identity event of an account, every other time with its handle."""
        did = did or self.actor()
        handle = f'"handle":"{did[8:20]}.bsky.social",' if self._stage.index & 1 else ""
        record = f'{{"did":"{did}",{handle}{self._seq_and_time("")}}}'
        return self._stage.tell(did, "identity", "refresh", record)

    def active(self, did: str = "") -> Event:
        """An account event that says an account is there: back again, or as before."""
        did = did or self.actor()
        self.down.pop(did, None)
        record = f'{{"active":true,"did":"{did}",{self._seq_and_time("")}}}'
        return self._stage.tell(did, "account", "active", record)

    def pause(self) -> Event:
        """Takes an account away for a while; its records stay."""
        if len(self.down) >= self._down_max:
            return self.back()
        did = self.actor()
        luck = self._stage.rng.getrandbits(14)
        self._stage.plan(100 + luck, partial(self.active, did))
        return self._leave(did, _STATUSES[luck & 3])

    def delete(self, did: str) -> Event:
        """Deletes an account with all its records."""
        if len(self.down) >= self._down_max:
            return self.back()
        self.wiped[did] = self._stage.index
        return self._leave(did, "deleted")

    def back(self) -> Event:
        """Has the account that is away the longest come back."""
        return self.active(next(iter(self.down), ""))

    def _leave(self, did: str, status: str) -> Event:
        self.down[did] = status
        record = f'{{"active":false,"did":"{did}",{self._seq_and_time(status)}}}'
        return self._stage.tell(did, "account", status, record)

    def _seq_and_time(self, status: str) -> str:
        said = f'"status":"{status}",' if status else ""
        seq, time = _SEQ_FIRST + self._stage.cursor, usual_time(self._stage.now_us)
        return f'"seq":{seq},{said}"time":"{time}"'
