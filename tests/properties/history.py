"""A state machine of the events that clients and replicas cause. The invariants are in `test_dispatch`."""

from typing import NamedTuple

from hypothesis import event
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from embedfleet.gateway.dispatch.commands import Cancel, Failure, Join, Probe, Refuse, Relay, Send
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.replica import Replica
from embedfleet.gateway.dispatch.request import Chunk, Request
from embedfleet.types import ReplicaState
from tests.properties.pool_events import ABILITIES, NAMES, PoolEvents
from tests.properties.twins import Twins, divisible, items

HOW_COPIES_END = st.tuples(st.booleans(), st.sampled_from([200, 200, 422, 424, 429, 500, Failure.RESET]))
REQUESTS = st.fixed_dictionaries(
    {
        "costs": st.lists(st.integers(1, 900), min_size=1, max_size=30) | st.lists(st.just(1), min_size=1, max_size=30),
        "online": st.booleans(),
        "is_whole": st.sampled_from([False, False, False, True]),
        "poison": st.sampled_from([None, None, 0, 3, 20]),
        "timeout_s": st.sampled_from([1000.0, 1000.0, 5.0]),
    }
)


class Was(NamedTuple):
    """State of a chunk and its replica before the replica's answer was reported."""

    is_copied: bool
    is_blamed: bool
    is_alone: bool


class History(PoolEvents):
    """Events that clients and replicas cause, in any order.

    Attributes:
        open: Open requests in order of arrival, so that draws are reproducible.
        calls: Number of each call, counted in the order of sending, by chunk and replica.
        seen: Tokens of each chunk that was ever sent.
        first_tokens: Tokens of the texts that were sent, each counted once.
    """

    def __init__(self):
        super().__init__()
        self.now = self.ticked_at = 100.0
        self.online_at = 0.0
        self.bulk_at = 0.0  # last time at which bulk work was sent
        self.starved: set[Chunk] = set()  # sent after a long time without bulk work
        self.open: dict[Request, None] = {}
        self.calls: dict[tuple[Chunk, Replica], int] = {}
        self.seen: dict[Chunk, int] = {}
        self.first_tokens = 0
        self.count = 0
        self.model = 0
        self.answered_by: dict[Chunk, set[int]] = {}  # models that answered parts of a request
        self.probing: set[str] = set()
        self.members: set[str] = set()
        self.barred: set[str] = set()  # drained, or removed from the members
        self.to_infer: dict[str, int] = {}  # number of times that a replica has to infer before it may get work

    @initialize(many=st.integers(1, 4), sort=st.booleans(), hedge=st.sampled_from([True, True, False]), one=st.data())
    def start(self, many, sort, hedge, one):
        self.limits = DispatchLimits(
            queue_bytes=60_000, bulk_queue_s=20.0, online_queue_s=5.0, sort_by_length=sort, hedge=hedge,
            reserve=one.draw(st.booleans()), prefer_online=one.draw(st.sampled_from([True, True, True, False])),
        )  # fmt: skip
        self.twins = Twins(self.limits)
        self.change_members(set(NAMES[:many]))
        self.all_infer()

    @property
    def dispatcher(self):
        return self.twins.first

    def tell(self, what, *given, replied=None, status=200):
        """Report an event to both dispatchers, and execute their commands."""
        commands = self.twins.tell(what, *given)
        if commands is None:
            commands = [] if replied is None else [Relay(replied)]
        for command in commands:
            if isinstance(command, Send) and not command.chunk.is_online:
                self.note_bulk(command.chunk)
        for command in commands:
            self.check(command, replied, status)
            self.obey(command)
        self.check_all(commands)

    def note_bulk(self, chunk):
        """Record a bulk chunk that is sent, and whether it may go before online work because bulk has waited long."""
        if self.now - self.bulk_at >= 2.0:
            self.starved.add(chunk)
        else:
            self.starved.discard(chunk)
        self.bulk_at = self.now

    def obey(self, command):
        match command:
            case Send(chunk, replica):
                self.count += 1
                self.calls[chunk, replica] = self.count
                self.seen.setdefault(chunk, chunk.tokens)
                new = set(items(chunk)) - chunk.request.handle.sent
                self.first_tokens += sum(chunk.request.handle.costs[item] for item in new)
                chunk.request.handle.sent |= new
            case Cancel(chunk, replica):
                del self.calls[chunk, replica]
            case Relay(chunk):
                del self.open[chunk.request]
            case Join(request) | Refuse(request):
                del self.open[request]
            case Probe(replica):
                self.probing.add(replica.id)

    # hooks for the checks of a subclass

    def check(self, command, replied=None, status=200):
        """Check a command before it is executed.

        Args:
            command: Command of the dispatcher.
            replied: Chunk that was answered, if an answer was the event.
            status: Status of the answer.
        """

    def check_all(self, commands):
        """Check all commands that follow from an event, after they are executed."""

    def check_answered(self, chunk, replica, status, was):
        """Check an answer after its commands are executed; ``was`` is the state before."""

    def check_hang(self, silent):
        """Check a replica that has just become suspect."""

    # clients

    @rule(many=st.lists(REQUESTS, min_size=1, max_size=4), heals=st.booleans())
    def arrive(self, many, heals):
        if heals and not self.dispatcher.serving:
            self.all_infer()
        for given in many:
            self.count += 1
            request = divisible(**given, now=self.now, number=self.count)
            request.handle.is_informed = any(one.abilities == ABILITIES for one in self.dispatcher.replicas.values())
            self.open[request] = None
            if request.is_online:
                self.online_at = self.now
            replica = self.twins.tell(Dispatcher.assign, request, self.now)
            if replica is not None:
                self.check(Send(request, replica))
                self.obey(Send(request, replica))
            else:
                self.tell(Dispatcher.arrived, request, self.now)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def leave(self, data):
        request = data.draw(st.sampled_from(list(self.open)))
        del self.open[request]
        self.tell(Dispatcher.left, request, self.now)
        under_way = [chunk for chunk, _ in self.calls if chunk.request is request]
        assert all(chunk.is_accused for chunk in under_way), (
            "5: a request was left with work in progress that is not on trial"
        )
        assert self.twins.tell(Dispatcher.left, request, self.now) == [], "commands for a request that is over"

    # replicas

    def answer(self, chunk, replica, status, tokens=None):
        """Report a replica's answer; no replica can compute poison."""
        del self.calls[chunk, replica]
        request = chunk.request
        if status == 200 and request.handle.poison in items(chunk):
            status = 424
        if status == 200:
            request.handle.answered += items(chunk)
            self.answered_by.setdefault(request, set()).add(self.model)
        event(f"{status} to {type(chunk).__name__}, sent {chunk.sends} times")
        given = (chunk, replica, status, self.now, tokens)
        is_waited_for = request in self.open  # otherwise its client left while the chunk was on trial
        was = Was(bool(chunk.copy_id), chunk.is_blamed, len(replica.chunks) == 1)
        states, failures = self.states(), replica.failures
        self.tell(Dispatcher.answered, *given, replied=chunk, status=status)
        if status in {424, 500} and (failures + 1) % self.limits.failures == 0:  # the limit of failures in a row
            assert replica.state is not ReplicaState.ACTIVE
        if status != 200:
            assert not self.outdone(states), "a replica was ejected although no other did better"
        else:
            assert self.outdone(states) <= chunk.unanswered_by
        self.note_states(states)
        if is_waited_for:
            self.check_answered(chunk, replica, status, was)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), many=st.integers(1, 6), tokens=st.none() | st.integers(0, 999))
    def answer_well(self, data, many, tokens):
        for _ in range(min(many, len(self.calls))):
            if self.calls:
                self.answer(*self.draw_call(data), 200, tokens)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), how=st.sampled_from([422, 424, 424, 429, 429, 500, *Failure]))
    def go_wrong(self, data, how):
        chunk, replica = self.draw_call(data)
        if isinstance(how, Failure):
            self.fail(chunk, replica, how)
        else:
            self.answer(chunk, replica, how)

    def end_copied(self, data, first, how):
        """Let one of the two replicas that have a chunk reply first."""
        copied = sorted(
            (chunk for chunk, at in self.calls if chunk.copy_id == at.id),
            key=lambda chunk: self.calls[chunk, self.dispatcher.replicas[chunk.copy_id]],
        )
        if not copied:
            return
        chunk = data.draw(st.sampled_from(copied))
        replica = self.dispatcher.replicas[chunk.replica_id if first else chunk.copy_id]
        event(f"{how} by the {'first' if first else 'second'} of two")
        if how is Failure.RESET:
            self.fail(chunk, replica, how)
        else:
            self.answer(chunk, replica, how)

    def fail(self, chunk, replica, failure):
        del self.calls[chunk, replica]
        before, failures, states = replica.state, replica.failures, self.states()
        self.tell(Dispatcher.failed, chunk, replica, failure, self.now)
        if failure is Failure.STARVED:
            assert (replica.state, replica.failures) in {(before, failures), (ReplicaState.DRAINED, failures)}, (
                "a replica was blamed for a shortage of our own"
            )
        elif failure in {Failure.MALFORMED, Failure.BROKEN}:
            assert replica.state is not ReplicaState.ACTIVE, "a replica may get work before it has inferred again"
            assert not self.outdone(states), "a replica was ejected although no other did better"
        else:
            self.shaken(replica)
        self.note_states(states)

    def states(self):
        return {name: replica.state for name, replica in self.dispatcher.replicas.items()}

    def outdone(self, before):
        """Return the names of the replicas that were ejected since the given states."""
        now = self.states()
        return {
            name for name in now if now[name] is ReplicaState.EJECTED and before.get(name) is not ReplicaState.EJECTED
        }

    def note_states(self, before):
        """Record that ejected replicas have to infer twice, and doubted ones once."""
        for name, state in self.states().items():
            if state is not before.get(name) and state in {ReplicaState.EJECTED, ReplicaState.DOUBTED}:
                self.to_infer[name] = 2 if state is ReplicaState.EJECTED else 1

    @precondition(lambda self: any(replica.chunks for replica in self.dispatcher.serving))
    @rule(data=st.data(), then=st.lists(HOW_COPIES_END, max_size=3))
    def hang(self, data, then):
        """Let one replica be silent until this must be noticed, while the others answer probes."""
        silent = data.draw(st.sampled_from([replica for replica in self.dispatcher.serving if replica.chunks]))
        states = [replica.state for replica in self.dispatcher.replicas.values()]
        suspects, serving = states.count(ReplicaState.SUSPECT), states.count(ReplicaState.ACTIVE)
        held = set(silent.chunks)
        self.now += 60.0
        for replica in list(self.dispatcher.replicas.values()):
            if replica is not silent and replica.state is ReplicaState.ACTIVE:
                self.well_probed(replica.id)
        self.tick_twice()
        if suspects + 1 <= (suspects + serving) / 2 and held.intersection(silent.chunks):
            assert silent.state is ReplicaState.SUSPECT, "10: a hang was not noticed"
            self.check_hang(silent)
        event(f"hang: {silent.state}, {sum(chunk.copy_id == at.id for chunk, at in self.calls)} copies")
        for first, how in then:
            self.end_copied(data, first, how)

    @precondition(lambda self: any(replica.chunks for replica in self.dispatcher.replicas.values()))
    @rule(data=st.data(), how=st.sampled_from(["drain", "distrust"]))
    def hang_outside(self, data, how):
        """Let a replica hang that is drained or ejected before its hang is noticed."""
        known = [replica for replica in self.dispatcher.replicas.values() if replica.chunks]
        silent = data.draw(st.sampled_from([replica for replica in known if replica.id in self.members] or known))
        if silent.id in self.members:
            getattr(self, how)(silent.id)
        self.now += 60.0
        for replica in self.dispatcher.serving:
            self.well_probed(replica.id)
        self.tick_twice()
        if silent.chunks:
            self.check_hang(silent)
        event(f"hang of a replica in state {silent.state}")

    def ready(self):
        """Return the replicas that may get work now."""
        return [replica for replica in self.dispatcher.serving if replica.full_until <= self.now]

    def draw_call(self, data):
        return data.draw(st.sampled_from(sorted(self.calls, key=self.calls.__getitem__)))

    # time

    @rule(seconds=st.sampled_from([0.001, 0.05, 0.3, 2.0, 25.0]))
    def pass_time(self, seconds):
        late = {
            replica: replica.eta(self.now)
            for replica in self.dispatcher.replicas.values()
            if replica.tokens and replica.free_at < self.now - 0.02
        }
        self.now += seconds
        for replica, before in late.items():
            assert replica.eta(self.now) > before > 0, "10: a late replica must look busier as time passes"
        self.tick()

    def tick_twice(self):
        """Tick twice: a replica that was kept free for a trial serves others a tick after the trial."""
        self.tick()
        self.now += 0.1
        self.tick()

    def tick(self):
        """Tick; only then are requests given up whose deadline has passed."""
        known = self.dispatcher.replicas.values()
        before = {replica for replica in known if replica.state is ReplicaState.SUSPECT}
        if self.now - self.ticked_at >= 0.05:
            self.ticked_at = self.now
        self.tell(Dispatcher.tick, self.now)
        suspects = {replica for replica in known if replica.state is ReplicaState.SUSPECT}
        if suspects - before:
            active = sum(replica.state is ReplicaState.ACTIVE for replica in known)
            assert len(suspects) <= active, "10: more than half of the replicas are suspect"
