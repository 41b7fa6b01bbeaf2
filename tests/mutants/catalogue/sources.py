"""Bugs of reading sources and decoding what they send."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

WIRE = "tests/unit/test_jetstream_wire.py::"

MUTANTS: Final = (
    Mutant(
        "file-cursor-at-the-beginning",
        "a batch's cursor is where it begins: after a restart it is read again",
        "events/sources/file.py",
        old="Batch(str(position + found.end()), message_bytes=len(some))",
        new="Batch(str(position + found.start()), message_bytes=len(some))",
        tests=("tests/unit/test_file_source.py::test_resuming_at_every_batch_gives_the_same",),
    ),
    Mutant(
        "file-last-line-lost",
        "the last line of a file without a newline at its end is not read",
        "events/sources/file.py",
        old="        yield from self._decode(rest, position)\n",
        new="        yield from self._decode(b'', position)\n",
        tests=("tests/unit/test_file_source.py::test_a_last_line_without_newline_counts",),
    ),
    Mutant(
        "jetstream-no-rewind",
        "a reconnect asks for what follows the last message: what came out of order is lost",
        "events/sources/jetstream_position.py",
        old="        next_us = self.last_us - self._rewind_us\n",
        new="        next_us = self.last_us + 1\n",
        tests=("tests/sources/test_jetstream.py::test_resumes_some_seconds_before_the_cursor",),
    ),
    Mutant(
        "jetstream-cursor-jumps-over",
        "while a host is read again from far back, the saved cursor is the greatest time ever seen",
        "events/sources/jetstream_position.py",
        old="        return reading_us\n",
        new="        return greatest_us\n",
        tests=(
            "tests/sources/test_jetstream_clocks.py::"
            "test_what_is_read_a_second_time_is_read_to_its_end_whoever_is_restarted",
        ),
    ),
    Mutant(
        "jetstream-goes-by-what-it-believes",
        "a reconnect goes by the last time that was believed, though older ones were handed on",
        "events/sources/jetstream_position.py",
        old="            next_us = min(next_us, self._kept_us)\n",
        new="            next_us = min(next_us, max(self._kept_us, next_us))\n",
        tests=(
            "tests/sources/test_jetstream_clocks.py::"
            "test_what_is_read_again_is_read_to_its_end_whose_times_are_not_believed",
        ),
    ),
    Mutant(
        "jetstream-size-of-a-frame-unchecked",
        "a frame that states its size is unpacked whatever that is: 2 KB become 64 MiB",
        "events/sources/jetstream_frames.py",
        old="            if stated_bytes > bytes_max:\n",
        new="            if stated_bytes < 0:\n",
        tests=("tests/fuzz/test_frames.py::test_a_frame_unpacks_to_no_more_than_the_limit",),
    ),
    Mutant(
        "wire-account-of-another",
        "an account event is believed about another account than the message is of",
        "events/jetstream_wire.py",
        old="        if told.did is not None and told.did != did:\n",
        new="        if told.did is None:\n",
        tests=(f"{WIRE}test_every_hostile_input_comes_to_what_it_must",),
    ),
    Mutant(
        "wire-takedown-is-a-deletion",
        "an account that was taken down, and may come back, loses all its rows",
        "events/event.py",
        old='self.kind == "account" and self.action == "deleted"',
        new='self.kind == "account" and self.action in {"deleted", "takendown"}',
        tests=("tests/mutants/test_missing_log.py::test_only_a_deletion_removes_an_account",),
    ),
    Mutant(
        "wire-nesting-limit-off",
        "what is nested as deep as is allowed is refused",
        "events/json_text.py",
        old="        if levels > levels_max:\n",
        new="        if levels >= levels_max:\n",
        tests=("tests/mutants/test_missing_wires.py::test_as_deep_as_is_allowed",),
    ),
    Mutant(
        "wire-time-without-a-limit",
        "a time that Postgres cannot hold is let through: it fails the batch it is in",
        "events/wire.py",
        old="""        if not 0 <= time_us <= TIME_US_MAX:
            return self.dead(raw, cursor, "bad-time", "the time is out of range")
        rkey, rev, cid""",
        new="""        if time_us < 0:
            return self.dead(raw, cursor, "bad-time", "the time is out of range")
        rkey, rev, cid""",
        tests=("tests/mutants/test_missing_wires.py::test_the_last_time_that_postgres_holds",),
    ),
    Mutant(
        "redis-write-without-its-mark",
        "a write whose reply was lost is done a second time",
        "events/streams/sink.py",
        old="if redis.call('GET', KEYS[3]) == ARGV[3] then return {'written', 0} end\n",
        new="",
        tests=("tests/sources/test_redis_sink.py::test_a_lost_reply_does_not_write_twice",),
    ),
    Mutant(
        "redis-full-drops-the-oldest",
        "a full stream drops its oldest entries instead of making the writer wait",
        "events/streams/sink.py",
        old="  return {'full', length}\n",
        new="  redis.call('XTRIM', KEYS[1], 'MAXLEN', tonumber(ARGV[4]) - events)\n",
        tests=(
            "tests/sources/test_redis_sink.py::"
            "test_a_full_stream_stops_the_writer_and_drops_nothing",
        ),
    ),
    Mutant(
        "redis-trim-past-another-group",
        "the stream is trimmed up to the group that is furthest, not to the one that is last",
        "events/streams/group.py",
        old="      if before(at, keep) then keep, holder",
        new="      if before(keep, at) then keep, holder",
        tests=("tests/sources/test_redis.py::test_keeps_what_another_group_has_not_dealt_with",),
    ),
    Mutant(
        "redis-trim-before-the-commit",
        "all that was read is trimmed, not what the log has",
        "events/sources/redis.py",
        old="await self._group.tidy(cursor, ids,",
        new="await self._group.tidy(str(self._reader.position), ids,",
        tests=("tests/sources/test_redis.py::test_trims_to_the_committed_entry_and_no_further",),
    ),
    Mutant(
        "redis-trim-only-with-a-batch",
        "what was not trimmed with its batch waits for the next, which a full stream keeps away",
        "events/sources/redis.py",
        old='        self._untidied = cursor or ""\n',
        new='        self._untidied = ""\n',
        tests=(
            "tests/sources/test_redis_full.py::"
            "test_a_reader_that_was_killed_before_it_trimmed_trims_when_it_comes_again",
        ),
    ),
    Mutant(
        "redis-loss-in-silence",
        "entries that others trimmed before they were read are passed over in silence",
        "events/streams/reader.py",
        old="        if gap:\n            self._say_gap(gap)\n",
        new="        if gap and gap.count is None:\n            self._say_gap(gap)\n",
        tests=(
            "tests/sources/test_redis_trouble.py::test_what_others_trim_before_we_read_it_is_said",
        ),
    ),
)
