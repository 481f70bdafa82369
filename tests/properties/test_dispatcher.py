"""The dispatcher under any history: every request ends once, loads return to zero, replicas get only what they may."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from embedfleet.errors import Overloaded
from embedfleet.gateway.dispatcher import (
    DispatchLimits,
    Failure,
    Forget,
    Probe,
    Refuse,
    Relay,
    Send,
)
from embedfleet.gateway.replica import State
from tests.services.numbered import NumberedDispatcher

NAMES = ["a", "b", "c"]
LIMITS = DispatchLimits(requests_per_replica=3, queue_requests=4, queue_bytes=1500, queue_timeout_s=20)


class History(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.dispatcher = NumberedDispatcher(LIMITS)
        self.now = 100.0
        self.next_id = 0
        self.open: dict[int, str | None] = {}  # request → the replica it is at, None while it waits
        self.sends: dict[int, int] = {}
        self.probing: set[str] = set()
        self.members: set[str] = set()

    def obey(self, commands, replied: int | None = None):
        for command in commands:
            match command:
                case Send(request, name):
                    assert self.open[request] is None, "sent twice at once"
                    replica = self.dispatcher.replicas[name]
                    assert replica.state is State.ACTIVE
                    assert replica.requests <= LIMITS.requests_per_replica
                    self.open[request] = name
                    self.sends[request] += 1
                case Relay(request):
                    assert request == replied, "relayed without a reply"
                    del self.open[request]
                case Refuse(request, error, _):
                    assert self.open.pop(request) is None, "refused while it is under way"
                    if isinstance(error, Overloaded):
                        assert 1 <= error.retry_after_s <= 60
                case Probe(name):
                    assert name not in self.probing, "two probes at once"
                    self.probing.add(name)
                case Forget(name):
                    assert name not in self.members
                    assert name not in self.open.values(), "forgotten with work under way"

    def under_way(self):
        return [request for request, name in self.open.items() if name is not None]

    @rule(size=st.integers(0, 1000))
    def arrive(self, size):
        request, self.next_id = self.next_id, self.next_id + 1
        self.open[request], self.sends[request] = None, 0
        self.obey(self.dispatcher.arrived(request, size, self.now))

    @precondition(lambda self: self.under_way())
    @rule(
        data=st.data(),
        status=st.sampled_from([200, 200, 400, 422, 424, 429, 500, 503]),
        tokens=st.none() | st.integers(0, 999),
    )
    def answer(self, data, status, tokens):
        request = data.draw(st.sampled_from(self.under_way()))
        self.open[request] = None
        self.obey(self.dispatcher.answered(request, status, self.now, tokens), replied=request)
        if status == 429 and request in self.open:
            self.sends[request] -= 1
        if status in {200, 400, 422}:
            assert request not in self.open, "a final answer is relayed"

    @precondition(lambda self: self.under_way())
    @rule(data=st.data(), failure=st.sampled_from(Failure))
    def fail(self, data, failure):
        request = data.draw(st.sampled_from(self.under_way()))
        if failure is Failure.REFUSED:
            self.sends[request] -= 1
        self.open[request] = None
        self.obey(self.dispatcher.failed(request, failure, self.now))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def leave(self, data):
        request = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[request]
        self.obey(self.dispatcher.left(request, self.now))

    @rule(names=st.sets(st.sampled_from(NAMES)))
    def change_members(self, names):
        self.members = set(names)
        self.obey(self.dispatcher.set_members(sorted(names), self.now))

    @precondition(lambda self: self.probing)
    @rule(data=st.data(), reason=st.sampled_from(["", "", "no answer"]))
    def probe(self, data, reason):
        name = data.draw(st.sampled_from(sorted(self.probing)))
        self.probing.discard(name)
        self.obey(self.dispatcher.probed(name, reason, self.now))

    @rule(seconds=st.sampled_from([0.05, 0.3, 2.0, 25.0]))
    def pass_time(self, seconds):
        self.now += seconds
        self.obey(self.dispatcher.tick(self.now))

    @invariant()
    def load_is_what_is_under_way(self):
        for name, replica in self.dispatcher.replicas.items():
            assert replica.requests == sum(at == name for at in self.open.values())
            assert (replica.tokens == 0) if replica.requests == 0 else (replica.tokens > 0)

    @invariant()
    def every_open_request_is_known_and_no_other(self):
        assert self.dispatcher.under_way == len(self.open)
        assert self.dispatcher.queued == sum(at is None for at in self.open.values())

    @invariant()
    def no_request_is_sent_more_often_than_allowed_after_failures(self):
        assert all(count <= LIMITS.sends for count in self.sends.values())

    @invariant()
    def nobody_waits_while_a_replica_may_take_him(self):
        if self.dispatcher.queued:
            assert self.dispatcher._choose(self.dispatcher._queue[0], self.now) is None

    def teardown(self):
        """Once replicas work and clients wait, everything ends."""
        self.members = {"fresh"}
        self.obey(self.dispatcher.set_members(["fresh"], self.now))
        self.now += 1
        self.obey(self.dispatcher.tick(self.now))
        self.obey(self.dispatcher.probed("fresh", "", self.now))
        for _ in range(1000):
            if not self.open:
                break
            for request in self.under_way():
                self.open[request] = None
                self.obey(self.dispatcher.answered(request, 200, self.now), replied=request)
        assert not self.open
        assert self.dispatcher.queued_tokens == 0
        assert self.dispatcher.under_way == 0


History.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestHistory = History.TestCase
