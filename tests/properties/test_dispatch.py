"""The dispatcher under any history: each request ends once, each text is computed for it once or more, loads return
to zero, replicas get only what they may."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from embedfleet.errors import Overloaded, Saturated
from embedfleet.gateway.dispatch.command import Cancel, Failure, Forget, Join, Probe, Refuse, Relay, Send
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.pace import Cost
from embedfleet.gateway.dispatch.replica import Abilities, State
from embedfleet.gateway.dispatch.request import Batch, Part, Request

NAMES = ["a", "b", "c"]
LIMITS = DispatchLimits(queue_bytes=60_000, bulk_queue_s=2.0, online_queue_s=0.5, bulk_deadline_s=100)
ABILITIES = Abilities(batch_tokens=2000, batch_texts=8, permits=40, body_bytes=9000)


class Divisible(Request):
    def __init__(self, costs, *, online, now):
        super().__init__(
            tokens=sum(costs), texts=len(costs), size_bytes=4 * sum(costs), online=online, now=now, timeout_s=100
        )
        self.costs = costs
        self.answered: list[int] = []  # texts whose answer is there

    def divide(self, *, by_length):
        order = sorted(range(len(self.costs)), key=lambda item: -self.costs[item] if by_length else item)
        return Batch(self.costs, [4 * cost for cost in self.costs], order)


def items(chunk) -> list[int]:
    return list(chunk.items) if isinstance(chunk, Part) else list(range(chunk.texts))


class History(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.dispatcher = Dispatcher(LIMITS)
        self.now = 100.0
        self.open: dict[Divisible, None] = {}  # in order of arrival: draws must not depend on chance
        self.calls: dict[tuple, int] = {}  # chunk and replica → when it was sent, as a count
        self.count = 0
        self.probing: set[str] = set()
        self.members: set[str] = set(NAMES)
        self.obey(self.dispatcher.set_members(NAMES, self.now))
        for name in NAMES:
            self.well_probed(name)

    def well_probed(self, name):
        self.probing.discard(name)
        self.obey(self.dispatcher.probed(name, "", self.now, ABILITIES, Cost(0.003, 1e-4)))

    def obey(self, commands, replied=None):
        for command in commands:
            match command:
                case Send(chunk, replica):
                    self.sent(chunk, replica)
                case Cancel(chunk, replica):
                    del self.calls[chunk, replica]
                case Relay(chunk):
                    assert chunk is replied, "relayed without a reply"
                    self.ended(chunk.request)
                case Join(request):
                    assert sorted(request.answered) == list(range(request.texts)), "joined with texts missing or twice"
                    self.ended(request)
                case Refuse(request, error, _):
                    if isinstance(error, Overloaded | Saturated):
                        assert error.retry_after_s >= 1
                    self.ended(request)
                case Probe(replica):
                    assert replica.id not in self.probing, "two probes at once"
                    self.probing.add(replica.id)
                case Forget(replica):
                    assert replica.id not in self.members
                    assert all(at is not replica for _, at in self.calls), "forgotten with work under way"

    def sent(self, chunk, replica):
        assert chunk.request in self.open, "sent for nobody"
        assert (chunk, replica) not in self.calls, "sent twice at once to one replica"
        assert replica.state is State.ACTIVE
        assert chunk.texts <= replica.permits or chunk.texts == len(replica.chunks) == 1
        others = replica.texts - chunk.texts
        assert not others or replica.texts <= replica.permits
        if isinstance(chunk, Part):
            assert chunk.texts <= replica.abilities.batch_texts
            assert chunk.tokens == sum(chunk.request.costs[item] for item in chunk.items)
        self.count += 1
        self.calls[chunk, replica] = self.count

    def ended(self, request):
        assert request in self.open, "ended twice"
        del self.open[request]
        assert all(chunk.request is not request for chunk, _ in self.calls), "ended with work under way"

    @rule(costs=st.lists(st.integers(1, 900), min_size=1, max_size=30), online=st.booleans())
    def arrive(self, costs, online):
        request = Divisible(costs, online=online, now=self.now)
        self.open[request] = None
        replica = self.dispatcher.assign(request, self.now)
        if replica is not None:
            self.sent(request, replica)
        else:
            self.obey(self.dispatcher.arrived(request, self.now))

    def draw_call(self, data):
        return data.draw(st.sampled_from(sorted(self.calls, key=self.calls.__getitem__)))

    @precondition(lambda self: self.calls)
    @rule(
        data=st.data(),
        status=st.sampled_from([200, 200, 200, 422, 424, 424, 429, 500]),
        tokens=st.none() | st.integers(0, 999),
    )
    def answer(self, data, status, tokens):
        chunk, replica = self.draw_call(data)
        del self.calls[chunk, replica]
        if status == 200:
            chunk.request.answered += items(chunk)
        commands = self.dispatcher.answered(chunk, replica, status, self.now, tokens)
        self.obey([Relay(chunk)] if commands is None else commands, replied=chunk)
        if status == 422 or (status == 200 and chunk is chunk.request):
            assert chunk.request not in self.open, "a final answer is relayed"

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), failure=st.sampled_from(Failure))
    def fail(self, data, failure):
        chunk, replica = self.draw_call(data)
        del self.calls[chunk, replica]
        self.obey(self.dispatcher.failed(chunk, replica, failure, self.now))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def leave(self, data):
        request = data.draw(st.sampled_from(list(self.open)))
        del self.open[request]
        commands = self.dispatcher.left(request, self.now)
        self.obey(commands)
        assert all(chunk.request is not request for chunk, _ in self.calls), "left with work under way"

    @rule(names=st.sets(st.sampled_from(NAMES), min_size=1))
    def change_members(self, names):
        self.members = set(names)
        self.obey(self.dispatcher.set_members(sorted(names), self.now))

    @precondition(lambda self: self.dispatcher.replicas)
    @rule(data=st.data(), back=st.sampled_from([True, True, False]))
    def drain(self, data, back):
        name = data.draw(st.sampled_from(sorted(self.dispatcher.replicas)))
        if back:
            self.obey(self.dispatcher.undrain(name, self.now))
        else:
            self.obey(self.dispatcher.drain(name))
            assert all(replica.id != name for replica in self.dispatcher.serving)

    @precondition(lambda self: self.probing)
    @rule()
    def all_infer(self):
        for name in sorted(self.probing):
            self.well_probed(name)

    @precondition(lambda self: self.probing)
    @rule(data=st.data(), reason=st.sampled_from(["", "", "no answer"]))
    def probe(self, data, reason):
        name = data.draw(st.sampled_from(sorted(self.probing)))
        self.probing.discard(name)
        self.obey(self.dispatcher.probed(name, reason, self.now, ABILITIES, Cost(0.003, 1e-4)))

    @rule(seconds=st.sampled_from([0.001, 0.05, 0.3, 2.0, 25.0]))
    def pass_time(self, seconds):
        etas = {
            replica: replica.eta(self.now)
            for replica in self.dispatcher.replicas.values()
            if replica.chunks and replica.free_at < self.now - 0.02
        }
        self.now += seconds
        for replica, before in etas.items():
            assert replica.eta(self.now) >= before, "who is late looks more and more busy"
        self.obey(self.dispatcher.tick(self.now))

    @invariant()
    def load_is_what_is_under_way(self):
        for replica in self.dispatcher.replicas.values():
            there = [chunk for chunk, at in self.calls if at is replica]
            assert set(replica.chunks) == set(there)
            assert replica.tokens == sum(chunk.tokens for chunk in there)
            assert replica.texts == sum(chunk.texts for chunk in there)
            assert replica.online == sum(chunk.online for chunk in there)
            assert replica.bulk == len(there) - replica.online

    @invariant()
    def a_text_is_at_two_replicas_at_most(self):
        for chunk, _ in self.calls:
            assert sum(other is chunk for other, _ in self.calls) <= 2

    @invariant()
    def every_open_request_is_known_and_no_other(self):
        assert self.dispatcher.under_way == len(self.open)
        if not self.open:
            assert self.dispatcher.queued_tokens == self.dispatcher.queued_bytes == self.dispatcher.queued == 0

    @invariant()
    def an_idle_replica_is_not_left_idle_by_who_waits(self):
        waiting = [*self.dispatcher._online, *self.dispatcher._bulk.returned]
        failed = frozenset().union(*(chunk.tried for chunk in waiting))  # they come last, if others still may do it
        ready = [r for r in self.dispatcher.serving if not r.chunks and r.full_until <= self.now]
        idle = [r for r in ready if r.id not in failed]
        if self.dispatcher.queued and len(idle) > 1:
            raise AssertionError(f"{idle} idle while {self.dispatcher} waits")

    @invariant()
    def no_more_than_half_are_suspected(self):
        states = [replica.state for replica in self.dispatcher.replicas.values()]
        suspects, serving = states.count(State.SUSPECT), states.count(State.ACTIVE)
        assert not suspects or suspects <= suspects + serving

    def teardown(self):
        """Once replicas work and clients wait, everything ends."""
        self.members = {"fresh"}
        self.obey(self.dispatcher.set_members(["fresh"], self.now))
        for _ in range(3000):
            if not self.open:
                break
            self.now += 0.05
            self.obey(self.dispatcher.tick(self.now))
            for name in sorted(self.probing):
                self.well_probed(name)
            for chunk, replica in list(self.calls):
                if (chunk, replica) in self.calls:
                    del self.calls[chunk, replica]
                    chunk.request.answered += items(chunk)
                    commands = self.dispatcher.answered(chunk, replica, 200, self.now)
                    self.obey([Relay(chunk)] if commands is None else commands, replied=chunk)
        assert not self.open
        assert self.dispatcher.queued_tokens == self.dispatcher.queued_bytes == 0


History.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestHistory = History.TestCase
