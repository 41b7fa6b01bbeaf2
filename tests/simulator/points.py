"""Every named crash point: in which process it is met, and what recovery must do.

A test compares this with the calls in the code. Points that are said of `rebuild` are met by
`as-of` and by a roll-back as well.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Point:
    """A crash point. `process` is the one that is killed at it, `hits` how often at the most."""

    process: str
    recovery: str
    hits: int = 1


AGAIN = "As if nothing had happened; the next run does it again."
DONE = "It is done; the next run finds nothing to do."

POINTS: dict[str, Point] = {
    # The live path: append, apply, merge, leases.
    "source.claimed": Point("ingest", "The source's row is there, and is read."),
    "append.moved": Point("ingest", "Nothing of the batch is there; the source gives it again.", 8),
    "append.written": Point("ingest", "The same: the commit was not reached.", 8),
    "append.committed": Point("ingest", "The log has the batch, the cursor is after it.", 8),
    "partition.making": Point("ingest", "No partition; whoever appends next makes it.", 2),
    "partition.made": Point("ingest", "The partition is found, and filled.", 2),
    "apply.moved": Point("daemon", "Checkpoint and tables are as before the window.", 8),
    "apply.written": Point("daemon", "The same: no row, no delta, no letter of it is there.", 8),
    "apply.committed": Point("daemon", "The window is there whole, or, unsynced, not at all.", 8),
    "apply.halving": Point("daemon", "The window fails, and is halved again.", 2),
    "apply.halved": Point("daemon", "Windows begin after the part that was committed.", 3),
    "apply.isolated": Point("daemon", "The letter is there, the event passed."),
    "group.moved": Point("daemon", "All checkpoints and tables are as before the window.", 8),
    "group.written": Point("daemon", "The same: nothing of any of them is there.", 8),
    "group.committed": Point(
        "daemon", "The window is there whole, in all of them, or not at all.", 8
    ),
    "merge.added": Point("daemon", "The deltas wait in the outbox, the counters lack them.", 4),
    "merge.written": Point("daemon", "The same.", 4),
    "merge.committed": Point("daemon", "The deltas are gone, and counted once.", 4),
    "lease.taken": Point("daemon", "The lease is free once the server saw us go.", 6),
    "lease.renewed": Point("daemon", "Free at once, however long it was to run.", 3),
    "lease.released": Point("daemon-end", "It is free; nothing is left to do.", 4),
    # With a Redis stream in between.
    "stream.writing": Point("feed", "The cursor in Redis gives the batch again.", 6),
    "stream.written": Point("feed", "The cursor is after it: it is not written again.", 6),
    "stream.tidying": Point("tail", "The log's cursor counts; the next reader acknowledges.", 6),
    "stream.tidied": Point("tail", "What was trimmed is in the log.", 6),
    # The rolling audit, in the daemon.
    "audit.listing": Point("daemon", "The same events are looked through again."),
    "audit.proven": Point("daemon", "The accounts are proven again."),
    "audit.committing": Point("daemon", "The same."),
    "audit.committed": Point("daemon", "The accounts are done for this round."),
    # Rebuild, as-of, roll-back.
    "rebuild.created": Point("rebuild", "The build is found, and goes on.", 3),
    "rebuild.window": Point("rebuild", "Loading goes on after this window.", 5),
    "rebuild.noted": Point("rebuild", "What is noted twice is noted all the same.", 2),
    "rebuild.loaded": Point("rebuild", "Goes on with the keys.", 2),
    "rebuild.indexed": Point("rebuild", "The other indexes are made.", 2),
    "rebuild.settled": Point("rebuild", "Goes on after this batch of claims."),
    "rebuild.fed": Point("rebuild", "It is fed already, and counted next."),
    "rebuild.counted": Point("rebuild", "Deltas are merged from here on.", 2),
    "rebuild.compared": Point("rebuild", "It catches up and compares again."),
    "rebuild.swapping": Point("rebuild", "Nothing of the swap has happened."),
    "rebuild.swapped": Point("rebuild", "The next rebuild removes the old tables."),
    "rebuild.dropped": Point("rebuild", "Nothing is left of the shadow.", 2),
    "rollback.renamed": Point("rollback", "A rebuild, or the roll-back, goes on from it."),
    "as-of.moving": Point("as-of", "Nothing of it has happened."),
    "as-of.moved": Point("as-of", "The next use drops what is left of the builds."),
    # Archive and restore.
    "index.making": Point("archive", "Nothing is left of it; the next run makes it.", 2),
    "index.made": Point("archive", DONE, 2),
    "archive.writing": Point("archive", "The nameless file is deleted.", 2),
    "archive.written": Point("archive", "The same.", 2),
    "archive.compared": Point("archive", "The same.", 2),
    "archive.named": Point("archive", "The same rows make the same file, in the same place.", 2),
    "archive.known": Point("archive", "Readers take either; the partition goes next.", 2),
    "archive.detached": Point("archive", "The table, no part of the log any more, is dropped.", 2),
    "archive.dropping": Point("archive", "The same.", 2),
    "archive.dropped": Point("archive", DONE, 2),
    "restore.loading": Point("restore", "What was loaded is dropped, and loaded again."),
    "restore.loaded": Point("restore", "The same."),
    "restore.attaching": Point("restore", "The same."),
    "restore.attached": Point("restore", DONE),
    # Forget.
    "forget.begun": Point("forget", "The erasure is found, and goes on."),
    "forget.log": Point("forget", "Markers stay markers; the rest follows."),
    "forget.written": Point("forget-archived", "The nameless file is deleted."),
    "forget.named": Point("forget-archived", "The same file is made, with the same name."),
    "forget.known": Point("forget-archived", "The receipt says which file is to go."),
    "forget.deleted": Point("forget-archived", "Goes on with the next file."),
    "forget.table": Point("forget", "Goes on with the next table.", 3),
    "forget.letters": Point("forget", "Goes on with the end of the erasure."),
    "forget.finished": Point("forget", DONE),
    # Heal, replay, retry.
    "patch-written": Point("heal", AGAIN),
    "patch-committed": Point("heal", DONE),
    "replay-letters-written": Point("replay", AGAIN),
    "replay-letters-committed": Point("replay", DONE),
    "retry.written": Point("retry", "The letter is there, its event is not applied."),
    "retry.committed": Point("retry", "The event is applied, the letter gone."),
}
