"""A small network of accounts that makes every kind of history, and every awkward order, by seed.

What it does is in `Network.acts`: each is one thing that an account may do, or the beginning of
one that goes on later (its `agenda`). Of each repo revs rise strictly, as the protocol wants it.
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.simulator.facts import CHAT, DIGITS, FOLLOW, LIKE, POST, Fact, tid
from tests.simulator.records import Records

BEGIN_US = 1_740_787_200_000_000
"""1 March 2025: well before the clock of whoever runs this."""
DUPLICATES_MAX = 5
STEPS_US = (0, 1, 900, 1_000, 40_000, 700_000)
"""How much time may go by between two facts."""


@dataclass
class Account:
    """An account: its live keys and their records, those that it had, and what it means to do."""

    did: str
    number: int
    is_steady: bool
    live: dict[tuple[str, str], str] = field(default_factory=dict)
    gone: list[tuple[str, str]] = field(default_factory=list)
    said: list[Fact] = field(default_factory=list)
    agenda: deque[Callable[[], None]] = field(default_factory=deque)
    is_deleted: bool = False


class Network:
    """Makes `facts`, at least `events` of them, from a seed; the same ones each time.

    The first account is steady: never removed. The second one is the one with very many rows:
    every fourth event is one more like or follow of it, until it is deleted, at two thirds. With a
    `burst` it makes so many of them at once, halfway, and `events` counts them as well. The times
    of its facts, and only these, hang on `begin_us` and `steps_us`.
    """

    def __init__(
        self,
        seed: int,
        events: int,
        accounts: int = 12,
        burst: int = 0,
        *,
        begin_us: int | None = None,
        steps_us: Sequence[int] = STEPS_US,
    ) -> None:
        self.rng = random.Random(f"network {seed}")
        self.facts: list[Fact] = []
        self.time_us = begin_us or BEGIN_US + seed % 1000 * 3_600_000_000
        self.steps_us = steps_us
        self.accounts = [
            Account(f"did:plc:{self._letters(24)}", n, is_steady=n == 0) for n in range(accounts)
        ]
        self.big: Account | None = self.accounts[1]
        self.big.is_steady = True
        self.records = Records(self.rng, [account.did for account in self.accounts])
        self.burst = burst
        musts = [*self.musts, *self.musts]
        while len(self.facts) < events:
            if musts and len(self.facts) > events * (2 * len(self.musts) - len(musts) + 1) // 40:
                musts.pop()(self, self.accounts[2 + len(musts) % 3])
            self._step(events)
        for account in self.accounts:
            while account.agenda:
                account.agenda.popleft()()

    def _step(self, events: int) -> None:
        big = self.big
        if big is not None and len(self.facts) >= events * 2 // 3:
            big.is_steady, self.big = False, None
            self.delete_account(big)
        elif big is not None and self.burst and len(self.facts) >= (events - self.burst) // 2:
            for _ in range(self.burst):
                self.create(big, self.rng.choice((LIKE, FOLLOW)), spread=True)
            self.burst = 0
        elif big is not None and self.rng.random() < 0.25:
            self.create(big, self.rng.choice((LIKE, FOLLOW)), spread=True)
        else:
            account = self.rng.choice(self.accounts)
            if account.agenda and self.rng.random() < 0.6:
                account.agenda.popleft()()
            elif not account.is_deleted:
                self._act(account)
            elif sum(other.is_deleted for other in self.accounts) > len(self.accounts) // 2:
                self.come_back(account, [])  # Else nobody would be left of a long history.

    def _act(self, account: Account) -> None:
        acts, weights = zip(*self.acts, strict=True)
        self.rng.choices(acts, weights)[0](self, account)

    def _letters(self, count: int) -> str:
        return "".join(self.rng.choices(DIGITS, k=count))

    # What accounts say, in the form of facts.

    def _now(self) -> int:
        self.time_us += self.rng.choice(self.steps_us)
        return self.time_us

    def _say(self, account: Account, what: str, **more: Any) -> Fact:
        number = len(self.facts) + 1
        # Strictly rising with the facts' number, whatever the clock does.
        rev = tid(BEGIN_US + number * 1_000, account.number) if "collection" in more else ""
        fact = Fact(number, account.did, what, self._now(), **{"rev": rev, **more})
        self.facts.append(fact)
        account.said.append(fact)
        return fact

    def put(self, account: Account, what: str, collection: str, rkey: str, **more: Any) -> None:
        """A create or an update: of the record given as `record`, or of a new one."""
        record = more.get("record") or self.record(account, collection, rkey)
        fate = more.get("fate", "kept")
        text = record if isinstance(record, str) else self._json(record)
        cid = more.get("cid") or self.records.cid()
        self._say(account, what, collection=collection, rkey=rkey, cid=cid, text=text, fate=fate)
        if fate == "kept":
            account.live[collection, rkey] = text

    def delete(self, account: Account, collection: str, rkey: str) -> None:
        """A delete, whether there is such a record or not."""
        self._say(account, "delete", collection=collection, rkey=rkey)
        if account.live.pop((collection, rkey), None) is not None:
            account.gone.append((collection, rkey))

    def status(self, account: Account, what: str) -> None:
        """Something about the whole account."""
        number = len(self.facts) + 1
        inner: dict[str, object] = {"did": account.did, "seq": number}
        rev = ""
        if what == "identity":
            inner["handle"] = f"{account.number}.example.org"
        elif what == "reset":
            rev = tid(BEGIN_US + number * 1_000, account.number)
            inner["rev"] = rev
            if self.rng.random() < 0.5:
                inner["commit"] = self.records.cid()
        else:
            inner["active"] = what == "active"
            if what != "active":
                inner["status"] = what
        self._say(account, what, text=self._json(inner), rev=rev)
        if what in ("deleted", "reset"):
            account.gone += account.live
            account.live.clear()

    # Records.

    def _json(self, record: dict[str, Any]) -> str:
        spaced = self.rng.random() < 0.2
        separators = (", ", ": ") if spaced else (",", ":")
        text = json.dumps(record, ensure_ascii=False, separators=separators)
        # Escaped where that is the only way to write it.
        if self.rng.random() < 0.3 or "\ud800" in text:
            text = json.dumps(record, separators=separators)
        return text

    def record(
        self,
        account: Account,
        collection: str,
        rkey: str,
        target: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        """A valid record."""
        return self.records.record(collection, account.did, rkey, self.time_us, target)

    def key_in(self, account: Account, collection: str) -> str:
        """A key for a record, perhaps one that others point at."""
        return self.records.key(account.number, collection, self.new_key(account))

    def place(self, account: Account) -> tuple[str, str]:
        """A collection, and a key in it."""
        collection = self.records.collection()
        return collection, self.key_in(account, collection)

    def new_key(self, account: Account) -> str:
        return tid(BEGIN_US + (len(self.facts) + 1) * 1_000 + 7, account.number)

    def any_live(self, account: Account) -> tuple[str, str] | None:
        return self.rng.choice(list(account.live)) if account.live else None

    # What accounts do.

    def create(self, account: Account, collection: str = "", *, spread: bool = False) -> None:
        """A new record; `spread`: of something that nobody else points at."""
        collection = collection or self.records.collection()
        rkey, target = self.key_in(account, collection), None
        if spread:
            did = f"did:plc:{self._letters(24)}"
            uri = f"at://{did}/{POST}/{self.new_key(account)}"
            target = {"uri": uri, "cid": self.records.cid()}
        record = self.record(account, collection, rkey, target)
        self.put(account, "create", collection, rkey, record=record)

    def update(self, account: Account) -> None:
        """An update of what there is."""
        if key := self.any_live(account):
            self.put(account, "update", *key)

    def remove(self, account: Account) -> None:
        """A delete of what there is."""
        if key := self.any_live(account):
            self.delete(account, *key)

    def again(self, account: Account) -> None:
        """A create of a key that there was."""
        if account.gone:
            collection, rkey = account.gone.pop(self.rng.randrange(len(account.gone)))
            if (collection, rkey) not in account.live:
                self.put(account, "create", collection, rkey)

    def churn(self, account: Account) -> None:
        """Create, delete, re-create, all at once, and perhaps deleted after all."""
        collection, rkey = self.place(account)
        self.put(account, "create", collection, rkey)
        self.delete(account, collection, rkey)
        self.put(account, "create", collection, rkey)
        if self.rng.random() < 0.5:
            self.delete(account, collection, rkey)

    def delete_first(self, account: Account) -> None:
        """A delete of what was never seen; its create comes later."""
        collection, rkey = self.place(account)
        self.delete(account, collection, rkey)
        account.agenda.append(lambda: self.put(account, "create", collection, rkey))

    def update_unseen(self, account: Account) -> None:
        """An update of what was never seen."""
        self.put(account, "update", *self.place(account))

    def duplicates(self, account: Account) -> None:
        """Several records with the same claim, which then go in any order."""
        collection, first = self.records.claiming(), None
        keys: list[str] = []
        for n in range(self.rng.randint(2, DUPLICATES_MAX)):
            rkey = f"{self.new_key(account)}-{n}"
            record = self.records.record(collection, account.did, rkey, self.time_us)
            # The others claim what the first one does.
            record |= {name: first[name] for name in ("subject", "list") if first and name in first}
            first = record
            keys.append(rkey)
            self.put(account, "create", collection, keys[-1], record=record)
        self.rng.shuffle(keys)
        for rkey in keys[: self.rng.randint(1, len(keys))]:
            account.agenda.append(lambda rkey=rkey: self.delete(account, collection, rkey))

    def create_twice(self, account: Account) -> None:
        """A create of a live key: of the same content, which changes nothing, or of other."""
        if key := self.any_live(account):
            said = next(f for f in reversed(account.said) if (f.collection, f.rkey) == key and f.cid
                        and f.fate == "kept")  # fmt: skip
            same = {"record": said.text, "cid": said.cid} if self.rng.random() < 0.5 else {}
            self.put(account, "create", *key, **same)

    def invalid(self, account: Account) -> None:
        """A record that its lexicon refuses, new or in place of a good one."""
        key = self.any_live(account) if self.rng.random() < 0.5 else None
        collection, rkey = key or self.place(account)
        if collection == CHAT:
            return
        bad = self.records.bad(collection)
        self.put(
            account, "update" if key else "create", collection, rkey, record=bad, fate="invalid"
        )

    def refused(self, account: Account) -> None:
        """A valid record that no index holds. Of a steady account, at a key that nobody touches:
        what else befalls it in its window would decide whether it is ever tried."""
        steady = self.accounts[0]
        uri = f"at://{account.did}/{POST}/{self.new_key(account)}#/{self._letters(6000)}"
        rkey = self.new_key(steady) + "-x"
        record = self.record(steady, LIKE, rkey, {"uri": uri, "cid": self.records.cid()})
        self.put(steady, "create", LIKE, rkey, record=record, fate="refused")

    def delete_account(self, account: Account) -> None:
        """The account goes; later it is back, does as before or otherwise, or stays away."""
        if account.is_steady:
            return
        before = [f for f in account.said if f.is_commit and f.fate == "kept"][-30:]
        self.status(account, "deleted")
        account.is_deleted = True
        account.agenda.clear()
        if self.rng.random() < 0.8:
            account.agenda.append(lambda: self.come_back(account, before))

    def come_back(self, account: Account, before: list[Fact]) -> None:
        """Reactivation; then the same history once more, or something new."""
        account.is_deleted = False
        self.status(account, "active")
        same = self.rng.random() < 0.5
        for fact in before if same else ():
            account.agenda.append(lambda fact=fact: self.repeat(account, fact))
        if not same:
            self.create(account)

    def repeat(self, account: Account, fact: Fact) -> None:
        """The same operation with the same content, as a new fact."""
        if fact.what == "delete":
            self.delete(account, fact.collection, fact.rkey)
        else:
            self.put(account, fact.what, fact.collection, fact.rkey, record=fact.text, cid=fact.cid)

    def reset(self, account: Account) -> None:
        """The repo begins anew: its records come again, but for some."""
        if account.is_steady:
            return
        live = [f for f in account.said if account.live.get((f.collection, f.rkey)) == f.text]
        self.status(account, "reset")
        account.agenda.clear()
        for fact in live[-20:]:
            if self.rng.random() < 0.7:
                account.agenda.append(lambda fact=fact: self.repeat(account, fact))

    def notice(self, account: Account) -> None:
        """Something about the account that changes no row."""
        what = self.rng.choice(("identity", "takendown", "deactivated", "active", "unknown"))
        if what != "unknown":
            self.status(account, what)
            return
        n, time_us = len(self.facts) + 1, self._now()
        text = f'{{"did":"{account.did}","time_us":{time_us},"kind":"weather","sun":{n}}}'
        self._plain(account, what, time_us, text)

    def garbage(self, account: Account) -> None:
        """A message that is no event."""
        n, time_us = len(self.facts) + 1, self._now()
        text = (
            f'{{"did":"no did {n}","time_us":{time_us},"kind":"commit","commit":{{"rev":"{n}",'
            f'"operation":"create","collection":"{LIKE}","rkey":"a","record":{{}},"cid":"c"}}}}'
        )
        self._plain(account, "garbage", time_us, text)

    def _plain(self, account: Account, what: str, time_us: int, text: str) -> None:
        fact = Fact(len(self.facts) + 1, account.did, what, time_us, text=text)
        self.facts.append(fact)

    acts: tuple[tuple[Callable[[Network, Account], None], int], ...] = (
        (create, 30), (update, 10), (remove, 14), (again, 6), (churn, 6), (delete_first, 4),
        (update_unseen, 3), (duplicates, 8), (create_twice, 4), (invalid, 5), (refused, 1),
        (delete_account, 3), (reset, 3), (notice, 6), (garbage, 2),
    )  # fmt: skip
    musts = (refused, duplicates, invalid, garbage, delete_first, churn, reset, delete_account)
    """What no history may lack."""
