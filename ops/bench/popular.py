"""Accounts with a given number of followers, and follows of them that are yet to come."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from events.event import Event
from events.generate.ids import did_of, tid
from ops.bench.flow import prove
from ops.bench.place import Place
from ops.bench.plant import SECONDS_MAX, counts_statement, settle
from projector.database import Database
from projector.declare import Aggregate, Declaration, Projection
from projector.home import quoted

COLLECTION: Final = "app.bsky.graph.follow"
CID: Final = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"
MOMENT: Final = "2026-07-02T00:00:00.000Z"
DAY_US: Final = 1_782_950_400_000_000
GAIN: Final = 0.2
"""How much an account should gain at most, as a share of its followers."""

PLANT: Final = """
INSERT INTO {schema}.follow (uri, cid, creator, "subjectDid", "createdAt", "indexedAt")
SELECT format('at://%s/app.bsky.graph.follow/3k%s', did, translate(lpad(to_hex(i), 11, '0'),
        '0123456789abcdef', '234567abcdefghij')), $2, did, $1,
    '2026-07-01T00:00:00.000Z', '2026-07-01T00:00:00.000Z'
FROM generate_series(1, $3::integer) AS i, LATERAL (SELECT 'did:plc:'
    || translate(substr(md5($1 || i::text), 1, 24), '0189', 'ghij') AS did) AS d ORDER BY 1
"""

FollowRow = tuple[str, str, str, str, str]
"""uri, cid, follower, followed, and the time of making."""


class Popular:
    """Plants accounts, and makes follows of them by accounts that follow nobody else."""

    def __init__(self, place: Place, seed: int) -> None:
        self.schema = place.settings.schema
        self.rng = random.Random(seed)
        self.seed = seed
        follows = next(d for d in place.declarations if d.name == "follow")
        counts = next(d for d in place.declarations if d.name == "profile_agg")
        assert isinstance(follows, Projection) and isinstance(counts, Aggregate)
        self.counts = counts
        self.declarations: list[Declaration] = [follows, counts]
        self._gained: dict[int, dict[str, int]] = {}
        self._planted = 0
        self._made = 0

    async def plant(self, database: Database, turns: Mapping[int, Sequence[int]]) -> None:
        """Plants, for each number of followers, accounts enough for turns of so many follows."""
        patient = replace(database, command_timeout_seconds=SECONDS_MAX)
        connection = await patient.connect("plant", synchronous_commit="off")
        try:
            for followers, follows in turns.items():
                accounts = min(len(follows), 1 + int(sum(follows) / (GAIN * followers)))
                self._gained[followers] = {self._did(followers, n): 0 for n in range(accounts)}
                for did in self._gained[followers]:
                    await connection.execute(self.sql(PLANT), did, CID, followers)
                self._planted += followers * accounts
            await connection.execute(counts_statement(self.counts, self.schema))
            await settle(connection)
        finally:
            await connection.close()

    def account(self, followers: int, follows: int) -> str:
        """An account with so many followers, which is about to gain `follows` more."""
        gained = self._gained[followers]
        account = min(gained, key=gained.__getitem__)
        gained[account] += follows
        return account

    def sql(self, template: str) -> str:
        """The statement with the schema in its place."""
        return template.replace("{schema}", quoted(self.schema))

    def row(self, account: str) -> FollowRow:
        """A new follow of an account, as a row."""
        did, rkey = self._follower(), self._rkey()
        return f"at://{did}/{COLLECTION}/{rkey}", CID, did, account, MOMENT

    def event(self, account: str, offset: int) -> Event:
        """A new follow of an account, as an event at an offset of the log."""
        did, rkey = self._follower(), self._rkey()
        record = f'{{"$type":"{COLLECTION}","subject":"{account}","createdAt":"{MOMENT}"}}'
        at = DAY_US + self._made
        return Event(
            offset, did, "commit", "create", COLLECTION, rkey, rkey, CID, record.encode(), at
        )

    async def prove(self, place: Place, database: Database) -> None:
        """Fails unless all follows that were made are there, and every counter is exact."""
        await prove(place, database, 0)
        connection = await database.connect("bench")
        try:
            found = await connection.fetchval(self.sql("SELECT count(*) FROM {schema}.follow"))
        finally:
            await connection.close()
        if found != self._planted + self._made:
            raise AssertionError(f"{found} follows, not {self._planted} and {self._made}")

    def _did(self, followers: int, number: int) -> str:
        name = f"{self.seed} {followers} {number}".encode()
        return did_of(hashlib.blake2b(name, digest_size=15).digest())

    def _follower(self) -> str:
        return did_of(self.rng.randbytes(15))

    def _rkey(self) -> str:
        self._made += 1
        return tid(DAY_US + self._made, "22")
