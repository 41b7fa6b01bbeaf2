"""Bugs of appending to the log and reading it."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

REWIND = "tests/simulator/test_rewind.py::"
LOG = "tests/log/test_log.py::"
SINK = "tests/log/test_sink.py::"

MUTANTS: Final = (
    Mutant(
        "log-cursor-apart",
        "the source's cursor is saved before the events, in a transaction of its own",
        "events/log.py",
        old="""async with self.connection.transaction():
                    await self._move_cursor(batch, len(events), duplicates, events_per_second)
""",
        new="""await self._move_cursor(batch, len(events), duplicates, events_per_second)
                async with self.connection.transaction():
""",
        tests=(f"{LOG}test_events_cursor_and_dead_letters_commit_together",),
    ),
    Mutant(
        "log-rowcount-swallowed",
        "that the cursor did not move is not looked at: two appenders of one source both append",
        "events/log.py",
        old='        if moved != "UPDATE 1":\n            raise SourceMoved(self.source)\n',
        new='        if moved == "":\n            raise SourceMoved(self.source)\n',
        tests=(f"{LOG}test_a_second_appender_of_the_source_is_refused",),
    ),
    Mutant(
        "log-cursor-unconditional",
        "the cursor moves whatever the counter was: who was taken over appends on",
        "events/log.py",
        old="WHERE source = $1 AND appends = $2\n",
        new="WHERE source = $1 AND appends >= $2\n",
        tests=(f"{LOG}test_a_second_appender_of_the_source_is_refused",),
    ),
    Mutant(
        "log-first-offset-off",
        "the first offset of a batch is one too low",
        "events/log.py",
        old="        first = last - len(events) + 1\n",
        new="        first = last - len(events)\n",
        tests=(f"{LOG}test_every_field_comes_back_as_it_was",),
    ),
    Mutant(
        "log-partition-end-off",
        "the last event before a partition's end, or of a batch, is not written",
        "events/log.py",
        old="            end = min(last + 1, partition.end_offset)\n",
        new="            end = min(last, partition.end_offset)\n",
        tests=(f"{LOG}test_a_batch_may_span_partitions_that_are_not_there_yet",),
    ),
    Mutant(
        "log-partition-short-off",
        "a batch that ends with the first offset after the partitions loses that event",
        "events/log.py",
        old="        if last >= self.partitions[-1].end_offset:\n",
        new="        if last > self.partitions[-1].end_offset:\n",
        tests=("tests/mutants/test_missing_log.py::test_a_batch_that_ends_right_after_the_last",),
    ),
    Mutant(
        "log-remembered-before-commit",
        "events count as recent before they are committed: a second attempt leaves them out",
        "events/recent.py",
        old="            seen.add(key)\n",
        new="            self._young.add(key)\n",
        tests=(f"{LOG}test_a_batch_that_was_not_committed_is_not_remembered",),
    ),
    Mutant(
        "log-recent-by-key-alone",
        "recent events are told apart by revision and path: another record passes for a repeat",
        "events/recent.py",
        old="(event.did, event.rev, collection, rkey, event.action, cid)",
        new="(event.did, event.rev, collection, rkey, event.action)",
        tests=(f"{LOG}test_recent_events_keep_a_rewind_out",),
    ),
    Mutant(
        "log-account-events-by-key",
        "two events about one account pass for one, whatever they say",
        "events/recent.py",
        old="event.collection, event.rkey, event.record,\n            event.time_us)",
        new="event.collection, event.rkey)",
        tests=(f"{LOG}test_events_without_a_rev_are_one_only_if_all_is_the_same",),
    ),
    Mutant(
        "log-recent-not-filled",
        "after a restart the window of recent events is empty: a rewind is appended again",
        "events/recent.py",
        old="TAIL, head - self.window_events)",
        new="TAIL, head)",
        tests=(f"{LOG}test_recent_events_keep_a_rewind_out",),
    ),
    Mutant(
        "log-recent-all-dropped",
        "when the window is full all of it is dropped, not the older half",
        "events/recent.py",
        old="self._young, self._old = set(), self._young",
        new="self._young, self._old = set(), set()",
        tests=(f"{LOG}test_recent_events_are_forgotten_in_the_end",),
    ),
    Mutant(
        "log-recent-keeps-removed-out",
        "a rewind to before an account's removal is filtered like any: half of its history comes",
        "events/recent.py",
        old="            if event.did not in removed:\n",
        new="            if True:\n",
        tests=(f"{REWIND}test_a_rewind_beyond_what_is_remembered",),
    ),
    Mutant(
        "log-recent-removed-dropped",
        "that an account was removed is forgotten when the window is half full",
        "events/recent.py",
        old="self._removed_young, self._removed_old = set(), self._removed_young",
        new="self._removed_young, self._removed_old = set(), set()",
        tests=(
            f"{REWIND}test_of_an_account_that_was_removed_all_comes_again_while_that_is_remembered",
        ),
    ),
    Mutant(
        "log-letters-dropped",
        "messages that cannot be decoded are counted, and not kept",
        "events/event.py",
        old="            self.dead.append(decoded)\n",
        new="            self.skipped[decoded.reason] += 1\n",
        tests=("tests/fuzz/test_wires.py::test_each_line_comes_to_something",),
    ),
    Mutant(
        "log-read-edge-off",
        "a range of the log is read without its last event",
        "events/history.py",
        old="log_offset >= $1 AND log_offset <= $2 AND ($3::text[] IS NULL",
        new="log_offset >= $1 AND log_offset < $2 AND ($3::text[] IS NULL",
        tests=("tests/archive/test_round_trip.py::test_only_what_is_wanted_is_read",),
    ),
    Mutant(
        "log-read-across-the-end",
        "a range is read from one partition or file one event beyond where that ends",
        "events/history.py",
        old="            last = min(through, end - 1)\n",
        new="            last = min(through, end)\n",
        tests=("tests/archive/test_round_trip.py::test_only_what_is_wanted_is_read",),
    ),
    Mutant(
        "log-first-event-kept",
        "the event that only proves that its partition is there is handed out as wanted",
        "events/history.py",
        old="if found and found[0].log_offset == after + 1 and not question.keeps(found[0]):",
        new="if not found:",
        tests=("tests/archive/test_round_trip.py::test_only_what_is_wanted_is_read",),
    ),
    Mutant(
        "log-read-beyond-the-head",
        "a block is read beyond the head as far as it was asked for, and passes for read",
        "projector/reader.py",
        old="        end = min(self.head, start + self.block_events, wanted)\n",
        new="        end = min(start + self.block_events, wanted)\n",
        tests=("tests/mutants/test_missing_log.py::test_a_reader_reads_no_further_than_the_head",),
    ),
    Mutant(
        "log-block-from-its-middle",
        "a projector that is behind is served a block that was read from its middle only",
        "projector/reader.py",
        old="        if block is None or block.after > after:\n",
        new="        if block is None:\n",
        tests=("tests/mutants/test_missing_log.py::test_a_reader_serves_who_is_behind",),
    ),
    Mutant(
        "log-window-edge-off",
        "the last event of a window is left out of it, and of the next as well",
        "projector/reader.py",
        old="    return events[start : bisect_right(events, through, key=_offset)]\n",
        new="    return events[start : bisect_right(events, through - 1, key=_offset)]\n",
        tests=(
            "tests/invariants/test_invariants_2_to_6.py::"
            "test_invariant_3_a_rebuild_from_offset_1_gives_the_same_bytes",
        ),
    ),
    Mutant(
        "ingest-commit-not-recognised",
        "a batch whose commit was answered by nobody is not recognised when it is tried again",
        "projector/ingest.py",
        old="        if (appender.appends, appender.cursor) == landed:\n",
        new="        if expected is None and (appender.appends, appender.cursor) == landed:\n",
        tests=(f"{SINK}test_each_batch_once_wherever_the_connection_breaks",),
    ),
    Mutant(
        "ingest-another-batch-taken-for-ours",
        "by the counter alone the batch of who took over passes for our own: ours is lost",
        "projector/ingest.py",
        old="        if (appender.appends, appender.cursor) == landed:\n",
        new="        if appender.appends == landed[0]:\n",
        tests=(f"{SINK}test_who_was_taken_over_does_not_take_the_others_batch_for_its_own",),
    ),
    Mutant(
        "ingest-told-before-the-commit",
        "the source is told to trim before the log has the batch",
        "projector/ingest.py",
        old="""                        appended = await sink.put(batch)
                        await source.committed(batch.cursor)
""",
        new="""                        await source.committed(batch.cursor)
                        appended = await sink.put(batch)
""",
        tests=("tests/mutants/test_missing_log.py::test_a_source_is_told_of_what_is_in_the_log",),
    ),
    Mutant(
        "ingest-source-not-claimed",
        "a second ingest of a source is let in when it has waited long enough",
        "projector/ingest.py",
        old="        if not await self.keeper.take_within(",
        new="        if None is await self.keeper.take_within(",
        tests=(f"{SINK}test_a_source_is_held_by_one_at_a_time",),
    ),
)
