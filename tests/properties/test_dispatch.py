"""Invariants of the dispatcher under any history of events.

Each is checked by the methods that have its number:

1. Every request is answered exactly once: `check_01_ends_once`, `inv_01_a_computed_request_is_answered`, `teardown`.
2. An answer has every text's vector, in order: `check_02_no_text_is_missing_or_there_twice`; the bytes of real replies
   are in tests/e2e/gateway/test_splitting.py. A text is not blamed for another text's failure:
   `check_02_a_blamed_text_was_found`, `check_02_not_cut_before_a_second_is_asked`.
3. Only a replica that has inferred gets work: `check_03_only_replicas_that_inferred_get_work`; that a replica with
   another model or revision gets none is tested in tests/e2e/gateway/test_calibration.py.
4. Work that is done twice is bounded: `inv_04_little_is_sent_again`, `inv_04_a_text_is_at_two_replicas_at_most`; a copy
   that is cancelled is never answered, because its connection is closed: tests/e2e/gateway/test_silence.py.
5. Nothing is sent again after its client left or after a final answer: `check_05_a_client_waits_for_the_chunk`,
   `check_answered`, `check_05_refused_once_every_replica_answered_429`.
6. No replica is idle while work waits: `inv_06_no_replica_is_idle_while_work_waits`.
7. Load returns to zero: `inv_07_load_is_the_work_in_progress`, `inv_07_nothing_is_lost`, `teardown`.
8. Online work goes before bulk work, and bulk work is not queued at a replica where online work waits for bulk work:
   `check_08_online_goes_first`. Bulk work is not starved: see 6, and a chunk that waits behind online work is sent
   every two seconds: `note_bulk`.
9. No replica gets more than it accepts: `check_09_within_the_replicas_limits`.
10. A hang is noticed and its work sent elsewhere, good probes count, and a late replica never looks free:
    `check_10_a_copy_is_sent_if_a_replica_is_free`, and in `History`: `hang`, `well_probed`, `pass_time`, `tick`.
11. A drained replica gets nothing new, and is removed only when it is empty:
    `check_03_only_replicas_that_inferred_get_work`, `check_11_forgotten_empty`, and `History.drain`; that a process
    ends in time is tested in tests/e2e.
12. A refused request was never computed, and has a Retry-After; waiting bytes are bounded:
    `check_12_refused_unasked`, `inv_12_bytes_are_bounded`.
13. Commands follow from the events alone: `Twins`.
14. No answer joins results of two models: `check`.
"""

from collections import Counter

from hypothesis import settings
from hypothesis.stateful import invariant

from embedfleet.errors import Overloaded, Saturated
from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.commands import Forget, Join, Probe, Refuse, Relay, Send
from embedfleet.gateway.dispatch.request import Chunk, RequestPart
from embedfleet.types import ReplicaState
from tests.properties.history import History
from tests.properties.twins import items

ENOUGH = 40_000
"""Tokens that both budgets allow at the start."""


def counted(replica):
    """Return the chunks of a replica without those that hang while it answers others."""
    return [chunk for chunk in replica.chunks if chunk not in replica.lost]


class Invariants(History):
    """Invariants of each command, and those that hold at any time."""

    def __init__(self):
        super().__init__()
        self.too_much: dict[Chunk, set[str]] = {}  # replicas that answered 429 while they had nothing else
        self.copies: Counter[Chunk] = Counter()  # copies that were sent of chunks at silent replicas

    def check(self, command, replied=None, status=200):
        match command:
            case Send(chunk, replica):
                self.check_03_only_replicas_that_inferred_get_work(replica)
                self.check_05_a_client_waits_for_the_chunk(chunk, replica)
                self.check_09_within_the_replicas_limits(chunk, replica)
            case Relay(chunk):
                assert chunk is replied, "relayed without a reply"
                self.check_01_ends_once(chunk.request)
                self.check_02_a_blamed_text_was_found(chunk, status)
            case Join(request):
                self.check_01_ends_once(request)
                assert len(self.answered_by[request]) == 1, "14: answers of two models are joined"
                self.check_02_no_text_is_missing_or_there_twice(request)
            case Refuse(request, error, reason):
                self.check_01_ends_once(request)
                self.check_12_refused_unasked(request, error, reason)
            case Probe(replica):
                assert replica.id not in self.probing, "two probes at once"
            case Forget(replica):
                self.check_11_forgotten_empty(replica)

    def check_all(self, commands):
        self.check_08_online_goes_first(commands)

    def check_answered(self, chunk, replica, status, was):
        if status == 422 or (status == 200 and chunk is chunk.request):
            assert chunk.request not in self.open, "5: a final answer was not relayed"
        if status == 429 and not was.is_copied:
            self.check_05_refused_once_every_replica_answered_429(chunk, replica, was)
        if status == 424 and not was.is_copied and not was.is_blamed:
            self.check_02_not_cut_before_a_second_is_asked(chunk)

    def check_hang(self, silent):
        self.check_10_a_copy_is_sent_if_a_replica_is_free(silent)

    # checks of a command

    def check_01_ends_once(self, request):
        assert request in self.open, "ended twice"
        under_way = [chunk for chunk, _ in self.calls if chunk.request is request]
        assert all(chunk.is_accused for chunk in under_way), "ended with work in progress that is not on trial"

    def check_02_no_text_is_missing_or_there_twice(self, request):
        assert sorted(request.handle.answered) == list(range(request.texts))

    def check_02_a_blamed_text_was_found(self, chunk, status):
        if status == 424 and chunk.texts > 1 and not chunk.request.handle.is_whole and chunk.sends < self.limits.sends:
            assert self.dispatcher.repeated_tokens > ENOUGH, "texts are blamed for another text's failure"

    def check_02_not_cut_before_a_second_is_asked(self, chunk):
        if chunk.request in self.open and any(one.id not in chunk.tried for one in self.dispatcher.serving):
            state = chunk.request.split_state
            assert chunk in state.parts if isinstance(chunk, RequestPart) else state is None

    def check_03_only_replicas_that_inferred_get_work(self, replica):
        assert replica.state is ReplicaState.ACTIVE
        assert replica.id in self.members - self.barred
        assert self.to_infer[replica.id] == 0

    def check_05_refused_once_every_replica_answered_429(self, chunk, replica, was):
        said = self.too_much.setdefault(chunk, set())
        said |= {replica.id} if was.is_alone else set()
        is_over = chunk.request not in self.open
        active = {name for name, one in self.dispatcher.replicas.items() if one.state is ReplicaState.ACTIVE}
        assert is_over == (was.is_alone and bool(active) and active <= said)

    def check_05_a_client_waits_for_the_chunk(self, chunk, replica):
        assert chunk.request in self.open, "sent without a client that waits"
        assert chunk.request.deadline >= self.ticked_at, "sent too late"
        assert (chunk, replica) not in self.calls, "sent twice at once to one replica"
        if any(other is chunk for other, _ in self.calls):
            self.copies[chunk] += 1
        assert chunk.sends - self.copies[chunk] <= self.limits.sends + chunk.is_on_trial

    def check_08_online_goes_first(self, commands):
        for command in commands:
            if (
                not isinstance(command, Send)
                or command.chunk.is_online
                or command.chunk.replica_id != command.replica.id
            ):
                continue
            if command.chunk.is_on_trial or command.chunk in self.starved:
                continue
            assert not self.waiting_tokens(online=True) - self.accused_tokens(online=True)
            held = counted(command.replica)
            before = held[: held.index(command.chunk)]
            assert len({chunk.is_online for chunk in before}) < 2, (
                "bulk work is queued where online work waits for bulk work"
            )

    def check_09_within_the_replicas_limits(self, chunk, replica):
        is_alone = len(counted(replica)) == 1
        is_within = replica.tokens <= replica.window or any(one in self.starved for one in replica.chunks)
        assert is_alone or (replica.texts <= replica.permits and is_within)
        if isinstance(chunk, RequestPart):
            assert chunk.tokens == sum(chunk.request.handle.costs[item] for item in chunk.items)
        if chunk.request.handle.is_informed and not chunk.request.handle.is_whole:
            assert chunk.texts <= replica.abilities.batch_texts
            assert chunk.texts == 1 or 4 * chunk.tokens <= replica.abilities.body_bytes

    def check_10_a_copy_is_sent_if_a_replica_is_free(self, silent):
        tried = {name for chunk in silent.chunks for name in chunk.tried}
        is_free = any(not other.chunks and other.id not in tried for other in self.ready())
        is_judged = all(chunk.is_accused for chunk in silent.chunks)
        if self.limits.hedge and is_free and not is_judged and self.dispatcher.repeated_tokens < ENOUGH:
            assert any(chunk.copy_id for chunk in silent.chunks)

    def check_11_forgotten_empty(self, replica):
        assert replica.id not in self.members
        assert all(at is not replica for _, at in self.calls)

    def check_12_refused_unasked(self, request, error, reason):
        assert (reason == "deadline") <= (request.deadline < self.now)
        assert (reason == "no-replica") <= (not self.dispatcher.serving)
        if isinstance(error, Overloaded | Saturated):
            assert all(chunk.request is not request for chunk in self.seen)
            assert type(error.retry_after_s) is int
            assert error.retry_after_s >= 1

    # invariants at any time

    def waiting_tokens(self, online=None):
        """Return the tokens of open requests that are neither answered nor at a replica."""
        total = 0
        under_way = {chunk for chunk, _ in self.calls}
        for request in self.open:
            if online in (None, request.is_online):
                total += request.tokens - sum(request.handle.costs[item] for item in request.handle.answered)
                total -= sum(chunk.tokens for chunk in under_way if chunk.request is request)
        return total

    def accused_tokens(self, online=None):
        """Return the tokens of chunks that wait for a trial, and so for a replica of their own."""
        return sum(chunk.tokens for chunk in self.dispatcher.accused if online in (None, chunk.is_online))

    @invariant()
    def inv_01_a_computed_request_is_answered(self):
        for request in self.open:
            assert len(request.handle.answered) < request.texts

    @invariant()
    def inv_04_little_is_sent_again(self):
        if self.seen:
            bursts = 2 * 4 * Capabilities().batch_tokens
            assert self.dispatcher.repeated_tokens <= 0.15 * self.first_tokens + bursts
            assert self.dispatcher._requests.sent_tokens == self.first_tokens, (
                "4: repeated tokens must not count as sent"
            )

    @invariant()
    def inv_04_a_text_is_at_two_replicas_at_most(self):
        for request in self.open:
            places = [item for chunk, _ in self.calls if chunk.request is request for item in items(chunk)]
            assert all(places.count(item) <= 2 for item in set(places))
        for chunk in {chunk for chunk, _ in self.calls}:
            held = {at.id for other, at in self.calls if other is chunk}
            assert held == {chunk.replica_id, chunk.copy_id} - {""}

    @invariant()
    def inv_06_no_replica_is_idle_while_work_waits(self):
        waiting = self.waiting_tokens() - self.accused_tokens()
        if not self.open or not waiting:
            return
        tried = {name for chunk in self.seen if chunk.request in self.open for name in chunk.tried}
        idle = [replica for replica in self.ready() if not replica.chunks and replica.id not in tried]
        serving = self.dispatcher.serving
        is_little = waiting < 0.2 * (len(serving) - 1) * sum(one.tokens_per_s for one in serving)
        is_spared = self.limits.reserve and self.now - self.online_at < 1.0 and is_little
        is_spared = is_spared and self.waiting_tokens(online=True) == self.accused_tokens(online=True)
        assert len(idle) - any(one.is_isolated for one in idle) <= is_spared

    @invariant()
    def inv_07_load_is_the_work_in_progress(self):
        if not self.members:
            return
        for replica in self.dispatcher.replicas.values():
            there = [chunk for chunk, at in self.calls if at is replica]
            assert set(replica.chunks) == set(there)
            assert replica.lost <= set(there)
            there = [chunk for chunk in there if chunk not in replica.lost]
            assert replica.tokens == sum(chunk.tokens for chunk in there)
            assert replica.texts == sum(chunk.texts for chunk in there)
            assert replica.online_chunks == sum(chunk.is_online for chunk in there)
            assert replica.bulk_chunks == len(there) - replica.online_chunks

    @invariant()
    def inv_07_nothing_is_lost(self):
        """The waiting chunks are exactly those that are neither answered nor at a replica."""
        if self.members:
            assert self.dispatcher.under_way == len(self.open)
            assert self.dispatcher.queued_tokens == self.waiting_tokens()
            assert bool(self.dispatcher.queued) == bool(self.waiting_tokens())
            assert self.open or self.dispatcher.queued_bytes == 0
        for state in [request.split_state for request in self.open if request.split_state is not None]:
            assert sum(part.texts for part in state.parts) + len(state.order) - state.taken == state.unanswered

    @invariant()
    def inv_12_bytes_are_bounded(self):
        if self.members:
            held = [request.queued_bytes for request in self.open]
            assert self.dispatcher.queued_bytes == sum(held)
            assert sum(held) <= self.limits.queue_bytes or sum(map(bool, held)) == 1

    def teardown(self):
        """Check that every patient request ends once a replica works."""
        if not self.members:
            return
        self.barred |= self.members
        self.change_members({"fresh"})
        patient = {request: request.deadline > self.now + 60 for request in self.open}
        for _ in range(400):
            if not self.open:
                break
            self.now += 0.1
            self.tick()
            for name in sorted(self.probing):
                self.well_probed(name)
            for chunk, replica in list(self.calls):
                if (chunk, replica) in self.calls:
                    self.answer(chunk, replica, 200)
        assert not any(patient[request] for request in self.open), "1: a request never ends"
        if not self.open:
            assert self.dispatcher.queued_tokens == self.dispatcher.queued_bytes == self.dispatcher.queued == 0


Invariants.TestCase.settings = settings(max_examples=350, stateful_step_count=50, deadline=None)
TestHistory = Invariants.TestCase
