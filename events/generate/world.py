"""Everything that may happen in a generated firehose, each thing with its weight."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterator
from functools import partial
from itertools import accumulate

from events.event import Event
from events.generate import records as lexicon
from events.generate.accounts import Accounts
from events.generate.edges import Edges
from events.generate.ids import tid
from events.generate.mix import Mix
from events.generate.posts import Posts
from events.generate.rare import Rare
from events.generate.records import Records, strong_ref
from events.generate.stage import Make, Stage

Happening = tuple[Make, float]
"""Something that may happen next, and its share of all events."""

_LISTS = 256
_VIAS = 256
_EARLIER = 256  # records from before the first event, of each collection with a subject
_DAY_US = 86_400_000_000
_UPDATED = 0.0003  # of likes, follows and their like; of posts three times as many
_BURST = 0.0015  # of all follows, how many begin a burst of one account
_BURST_EVENTS = 10, 25.5, 41  # least, mean, most


class World:
    """All that exists at a moment, and what may happen next.

    What it holds is bounded: buffers of fixed size, and what was planned for the next 16,000
    events or so. The cost of an event is constant.
    """

    def __init__(self, stage: Stage, dids: list[str], mix: Mix, invalid: float) -> None:
        self._stage = stage
        self._random = stage.rng.random
        self._bits = stage.rng.getrandbits
        self._records = Records(stage.rng)
        self._accounts = accounts = Accounts(stage, dids)
        self._posts = Posts(stage, accounts, self._records)
        self._lists = [(accounts.actor(), self._old_key()) for _ in range(_LISTS)]
        self._vias = [""] * _VIAS
        self._likes = self._edges(lexicon.LIKE, partial(self._choose_post, 0.005))
        self._reposts = self._edges(lexicon.REPOST, partial(self._choose_post, 0.03))
        self._follows = self._edges(lexicon.FOLLOW, self._choose_account)
        self._blocks = self._edges(lexicon.BLOCK, self._choose_account)
        self._listitems = self._edges(lexicon.LISTITEM, self._choose_member)
        self._rare = Rare(stage, accounts, self._records, self._some_list)
        valid = [(make, share * (1 - invalid)) for make, share in self._happenings(mix)]
        happenings = [each for each in (*valid, (self._invalid, invalid)) if each[1] > 0]
        total = sum(share for _, share in happenings)
        self._makes = [make for make, _ in happenings]
        self._sums = [each / total for each in accumulate(share for _, share in happenings)]
        self._sums[-1] = 1.0

    def events(self, count: int) -> Iterator[Event]:
        """Makes the next `count` events."""
        advance, random = self._stage.advance, self._random
        makes, sums = self._makes, self._sums
        for _ in range(count):
            make = advance() or makes[bisect(sums, random())]
            yield make()

    def homecoming(self, count: int) -> Iterator[Event]:
        """Makes the next `count` events; the first of them end every absence of an account."""
        for _ in range(count):
            self._stage.advance()
            yield self._accounts.back() if self._accounts.down else self._likes.create()

    def close(self) -> None:
        """Lets go of everything at once.

        What may happen, and what was planned, lead back here: 26 MB that would stay until Python
        looks for cycles, which a long run has it do rarely.
        """
        self._stage.planned.clear()
        self.__dict__.clear()

    def _happenings(self, mix: Mix) -> Iterator[Happening]:
        """What may happen by chance.

        What it leads to later comes out of the same share of a collection: its plain creates are
        what is left.
        """
        share = mix.share
        newcomers = min(0.36 * share("profile"), 0.6 * share("identity"), 0.6 * share("account"))
        bursts = share("follow") * _BURST
        planned = 2 * newcomers + bursts * _BURST_EVENTS[1]
        yield from _of_edges(self._likes, share("like"), mix.deleted_like)
        yield from _of_edges(self._reposts, share("repost"), mix.deleted_repost, self._repost)
        yield from _of_edges(self._follows, share("follow"), mix.deleted_follow, planned=planned)
        yield self._burst, bursts
        yield from _of_edges(self._blocks, share("block"), mix.deleted_block)
        yield from _of_edges(self._listitems, share("listitem"), mix.deleted_listitem)
        yield from self._of_posts(share("post"), mix.deleted_post)
        yield self._newcomer, newcomers
        yield self._profile, 0.94 * share("profile") - newcomers
        yield self._lose_profile, 0.03 * share("profile")
        yield from self._of_accounts(share("account") - newcomers)
        yield self._accounts.identity, share("identity") - newcomers
        yield from self._of_others(share("other"))
        yield self._rare.make, share("rare")

    def _of_posts(self, share: float, deleted: float) -> Iterator[Happening]:
        yield self._posts.create, share * (1 - deleted - 3 * _UPDATED)
        yield self._posts.delete, share * deleted
        yield self._posts.rewrite, share * 3 * _UPDATED

    def _of_accounts(self, share: float) -> Iterator[Happening]:
        yield self._accounts.pause, share * 0.38  # and each comes back
        yield self._accounts.active, share * 0.12
        yield self._leave, share * 0.08

    def _of_others(self, share: float) -> Iterator[Happening]:
        yield self._list, share * 0.20
        yield self._posts.gate, share * 0.35
        yield self._status, share * 0.20
        yield self._play, share * 0.25

    def _edges(self, collection: str, choose: Callable[[], tuple[str, str]]) -> Edges:
        """Edges, with some to undo whose creation nobody has seen: in truth most are such."""
        edges = Edges(self._stage, self._accounts, self._records, collection, choose)
        for _ in range(_EARLIER):
            did, subject = choose()
            edges.live.add((did, self._old_key(), 0, subject))
        return edges

    def _old_key(self) -> str:
        ago_us = _DAY_US + int(self._random() * 900 * _DAY_US)
        return tid(self._stage.now_us - ago_us, "22")

    def _choose_post(self, via: float) -> tuple[str, str]:
        subject = self._posts.subject().as_subject
        if self._random() < via:
            subject += self._vias[self._bits(8)]
        return self._accounts.actor(), subject

    def _choose_account(self) -> tuple[str, str]:
        return self._accounts.actor(), f'"subject":"{self._accounts.popular()}"'

    def _some_list(self) -> tuple[str, str]:
        return self._lists[self._bits(8)]

    def _choose_member(self) -> tuple[str, str]:
        did, rkey = self._some_list()
        if did in self._accounts.down:
            did = self._accounts.actor()
        list_ = f"at://{did}/{lexicon.LIST}/{rkey}"
        return did, f'"list":"{list_}","subject":"{self._accounts.popular()}"'

    def _repost(self) -> Event:
        event = self._reposts.create()
        if self._bits(4) == 0:
            ref = strong_ref(event.did, lexicon.REPOST, event.rkey or "", event.cid or "")
            self._vias[self._bits(8)] = f',"via":{ref}'
        return event

    def _burst(self) -> Event:
        did = self._accounts.actor()
        for delay in range(1, _BURST_EVENTS[0] + self._bits(5)):
            self._stage.plan(delay, partial(self._by, did, self._follows))
        return self._follows.create(did)

    def _by(self, did: str, edges: Edges) -> Event:
        return edges.create("" if did in self._accounts.down else did)

    def _newcomer(self) -> Event:
        did = self._accounts.newcomer()
        self._stage.plan(1, partial(self._accounts.active, did))
        self._stage.plan(2, partial(self._put_profile, "create", did))
        for _ in range(2):
            self._stage.plan(3 + self._bits(9), partial(self._by, did, self._follows))
        return self._accounts.identity(did)

    def _profile(self) -> Event:
        return self._put_profile("update", self._accounts.actor())

    def _lose_profile(self) -> Event:
        did = self._accounts.actor()
        self._stage.plan(1 + self._bits(8), partial(self._put_profile, "create", did))
        return self._stage.delete(did, lexicon.PROFILE, "self")

    def _put_profile(self, action: str, did: str) -> Event:
        if did in self._accounts.down:
            return self._likes.create()
        record = self._records.profile(self._stage.now_us)
        return self._stage.put(action, did, lexicon.PROFILE, "self", record)

    def _leave(self) -> Event:
        """Deletes an account that has records, or any; every other comes back and starts anew."""
        edge = self._follows.live.pick() if self._bits(1) else None
        did = edge[0] if edge else self._accounts.actor()
        if self._bits(1):
            delay = 100 + self._bits(14)
            self._stage.plan(delay, partial(self._accounts.active, did))
            self._stage.plan(delay + 1, partial(self._put_profile, "create", did))
            for edges in (self._follows, self._likes, self._follows):
                self._stage.plan(delay + 2 + self._bits(7), partial(self._by, did, edges))
        return self._accounts.delete(did)

    def _list(self) -> Event:
        record = self._records.list_(self._stage.now_us)
        event = self._stage.put("create", self._accounts.actor(), lexicon.LIST, "", record)
        self._lists[self._bits(8)] = event.did, event.rkey or ""
        return event

    def _status(self) -> Event:
        record = self._records.status(self._stage.now_us)
        return self._stage.put("update", self._accounts.actor(), lexicon.STATUS, "self", record)

    def _play(self) -> Event:
        record = self._records.play(self._stage.now_us)
        return self._stage.put("create", self._accounts.actor(), lexicon.UNPROJECTED, "", record)

    def _invalid(self) -> Event:
        collection, record = self._records.invalid(self._stage.now_us)
        return self._stage.put("create", self._accounts.actor(), collection, "", record)


def _of_edges(
    edges: Edges,
    share: float,
    deleted: float,
    create: Make | None = None,
    planned: float = 0,
) -> Iterator[Happening]:
    """What happens to one kind of edges, of whose share others have `planned` a part.

    The factors follow from what each thing leads to: a flash to a delete; a double to 1.4 creates
    and 0.9 deletes; of seven plain deletes one to a create, and that sometimes to a delete.
    """
    gone = share * deleted
    yield create or edges.create, share * (1 - _UPDATED) - planned - 1.517 * gone
    yield edges.flash, 0.15 * gone
    yield edges.double, 0.20 * gone
    yield edges.delete, 0.63 * gone
    yield edges.rewrite, share * _UPDATED
