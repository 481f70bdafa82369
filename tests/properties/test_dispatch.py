"""The dispatcher under any history.

Its invariants, each checked by what bears its number:

1. Every request is answered exactly once: `check_01_ends_once`, `inv_01_what_is_computed_is_answered`, `teardown`.
2. An answer has every text's vector, in order: `check_02_no_text_is_missing_or_there_twice` sees which texts were
   answered; the bytes of real replies are in tests/e2e/gateway/test_splitting.py.
3. Only who has proved itself is asked: `check_03_asked_only_who_inferred`; that replicas of another model or
   revision do not is in tests/e2e/gateway/test_calibration.py.
4. Work that is done twice is bounded: `inv_04_little_is_sent_again`, `inv_04_a_text_is_at_two_replicas_at_most`; a
   copy that is cancelled is never answered, for its connection is closed.
5. Nothing is asked again for nobody: `check_05_somebody_waits_for_it`, and `answer` after a 4xx.
6. Who works is not left idle by who waits: `inv_06_no_replica_is_idle_while_work_waits`.
7. Load returns to zero: `inv_07_load_is_what_is_under_way`, `inv_07_nothing_is_lost`, `teardown`.
8. Online goes before bulk, and bulk is not put behind bulk that online work waits for: `check_08_online_goes_first`;
   bulk is not starved: 6.
9. No replica gets more than it takes: `check_09_within_what_it_takes`.
10. Suspicion ends, and falls on half of the replicas at most; who is late never looks free: `well_probed`,
    `hang`, `tick`.
11. A drained replica gets nothing new and is lost only empty: `check_03_asked_only_who_inferred`, `drain`, `forgotten`.
12. What is refused was never computed, and is told when to come again; waiting bytes are bounded:
    `check_12_refused_unasked`, `inv_12_bytes_are_bounded`.
13. What is done follows from what happened: `Twins`.
"""

from dataclasses import fields

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from embedfleet.errors import Overloaded, Saturated
from embedfleet.gateway.dispatch.command import Cancel, Failure, Forget, Join, Probe, Refuse, Relay, Send
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.pace import Cost
from embedfleet.gateway.dispatch.replica import Abilities, Replica, State
from embedfleet.gateway.dispatch.request import Batch, Chunk, Part, Request

NAMES = ["a", "b", "c", "d"]
ABILITIES = Abilities(batch_tokens=2000, batch_texts=8, permits=40, body_bytes=9000)
COST = Cost(0.003, 1e-4)
ENOUGH = 40_000
"""Tokens that both budgets give without having earned any."""


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


class Divisible(Request):
    """A request of texts that cost so many tokens.

    Args:
        costs: of each text.
        is_whole: it cannot be cut.
        poison: the text that no replica can compute, if there is one.
    """

    def __init__(self, costs, *, online, now, number=0, is_whole=False, poison=None, timeout_s=100.0):
        super().__init__(
            tokens=sum(costs), texts=len(costs), size_bytes=4 * sum(costs), online=online, now=now, timeout_s=timeout_s
        )
        self.costs = costs
        self.number = number
        self.is_whole = is_whole
        self.poison = poison
        self.timeout_s = timeout_s
        self.is_informed = True  # when it came, somebody knew what a replica takes
        self.answered: list[int] = []  # texts whose answer is there

    @property
    def key(self):
        return self.number

    def divide(self, *, by_length):
        if self.is_whole:
            return None
        order = sorted(range(len(self.costs)), key=lambda item: -self.costs[item] if by_length else item)
        return Batch(self.costs, [4 * cost for cost in self.costs], order)

    def twin(self):
        """The same, asked of another dispatcher."""
        given = {"online": self.online, "number": self.number, "is_whole": self.is_whole, "timeout_s": self.timeout_s}
        return Divisible(self.costs, now=self.arrived, **given)


def items(chunk) -> list[int]:
    return list(chunk.items) if isinstance(chunk, Part) else list(range(chunk.texts))


class Twins:
    """A dispatcher, and another that is told the same and must want the same: no chance, no clock, no addresses.

    Attributes:
        first: the one that is looked at.
    """

    def __init__(self, limits):
        self.first, self._second = Dispatcher(limits), Dispatcher(limits)
        self._chunks: dict[Chunk, Chunk] = {}  # the first's → the second's

    def tell(self, what, *given):
        """An event, as a method of `Dispatcher`; what the first one answers."""
        theirs = [self._theirs(thing) for thing in given]
        said, same = what(self.first, *given), what(self._second, *theirs)
        if isinstance(said, list):
            assert [self._described(one) for one in said] == [self._described(one) for one in same], "13: chance"
            for one, other in zip(said, same, strict=True):
                if isinstance(one, Send):
                    self._chunks[one.chunk] = other.chunk
        else:
            assert self._named(said) == self._named(same), "13: chance"
        assert self.first.due == self._second.due, "13: chance"
        return said

    def _theirs(self, thing):
        if isinstance(thing, Divisible):
            return self._chunks.setdefault(thing, thing.twin())
        if isinstance(thing, Replica):
            return self._second.replicas[thing.id]
        return self._chunks[thing] if isinstance(thing, Chunk) else thing

    def _described(self, command):
        return [type(command), *[self._named(getattr(command, field.name)) for field in fields(command)]]

    @staticmethod
    def _named(thing):
        if isinstance(thing, Chunk):
            return thing.request.number, items(thing)
        return thing.id if isinstance(thing, Replica) else str(thing)


class History(RuleBasedStateMachine):
    """What clients and replicas may do, in any order.

    Attributes:
        open: requests that are not over, in order of arrival: what is drawn must not depend on chance.
        calls: chunk and replica → when it was sent, as a count.
        seen: chunks that were ever sent, and their tokens.
    """

    def __init__(self):
        super().__init__()
        self.now = self.ticked_at = 100.0
        self.online_at = 0.0
        self.open: dict[Divisible, None] = {}
        self.calls: dict[tuple[Chunk, Replica], int] = {}
        self.seen: dict[Chunk, int] = {}
        self.count = 0
        self.probing: set[str] = set()
        self.members: set[str] = set()
        self.barred: set[str] = set()  # drained or told to go
        self.to_infer: dict[str, int] = {}  # how often a replica must, until it may be asked

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
        """Tell both dispatchers, and do what they want."""
        commands = self.twins.tell(what, *given)
        if commands is None:
            commands = [] if replied is None else [Relay(replied)]
        for command in commands:
            match command:
                case Send(chunk, replica):
                    self.sent(chunk, replica)
                case Cancel(chunk, replica):
                    del self.calls[chunk, replica]
                case Relay(chunk):
                    assert chunk is replied, "relayed without a reply"
                    self.check_02_a_blamed_text_was_found(chunk, status)
                    self.check_01_ends_once(chunk.request)
                case Join(request):
                    self.check_02_no_text_is_missing_or_there_twice(request)
                    self.check_01_ends_once(request)
                case Refuse(request, error, reason):
                    self.check_12_refused_unasked(request, error)
                    assert (reason == "deadline") <= (request.deadline < self.now)
                    assert (reason == "no-replica") <= (not self.dispatcher.serving)
                    self.check_01_ends_once(request)
                case Probe(replica):
                    assert replica.id not in self.probing, "two probes at once"
                    self.probing.add(replica.id)
                case Forget(replica):
                    self.forgotten(replica)
        self.check_08_online_goes_first(commands)

    def sent(self, chunk, replica):
        self.check_05_somebody_waits_for_it(chunk)
        self.check_03_asked_only_who_inferred(replica)
        self.check_09_within_what_it_takes(chunk, replica)
        assert (chunk, replica) not in self.calls, "sent twice at once to one replica"
        self.count += 1
        self.calls[chunk, replica] = self.count
        self.seen.setdefault(chunk, chunk.tokens)

    def forgotten(self, replica):
        assert replica.id not in self.members
        assert all(at is not replica for _, at in self.calls), "11: forgotten with work under way"

    def waiting_tokens(self, online=None):
        """Of open requests: not answered, and at no replica."""
        total = 0
        under_way = {chunk for chunk, _ in self.calls}
        for request in self.open:
            if online in (None, request.online):
                total += request.tokens - sum(request.costs[item] for item in request.answered)
                total -= sum(chunk.tokens for chunk in under_way if chunk.request is request)
        return total

    # what must hold of a command

    def check_01_ends_once(self, request):
        assert request in self.open, "ended twice"
        del self.open[request]
        assert all(chunk.request is not request for chunk, _ in self.calls), "ended with work under way"

    def check_02_no_text_is_missing_or_there_twice(self, request):
        assert sorted(request.answered) == list(range(request.texts))

    def check_02_a_blamed_text_was_found(self, chunk, status):
        if status == 424 and chunk.texts > 1 and not chunk.request.is_whole and chunk.sends < self.limits.sends:
            assert self.dispatcher.repeated_tokens > ENOUGH, "others' texts are blamed"

    def check_03_asked_only_who_inferred(self, replica):
        assert replica.state is State.ACTIVE
        assert replica.id in self.members - self.barred
        assert self.to_infer[replica.id] == 0

    def check_05_somebody_waits_for_it(self, chunk):
        assert chunk.request in self.open, "sent for nobody"
        assert chunk.request.deadline >= self.ticked_at, "sent too late"
        is_copy = any(other is chunk for other, _ in self.calls)
        assert is_copy or chunk.sends <= self.limits.sends

    def check_08_online_goes_first(self, commands):
        for command in commands:
            if not isinstance(command, Send) or command.chunk.online or command.chunk.replica is not command.replica:
                continue
            assert not self.waiting_tokens(online=True)
            held = list(command.replica.chunks)
            before = held[: held.index(command.chunk)]
            assert len({chunk.online for chunk in before}) < 2, "put behind bulk that online work waits for"

    def check_09_within_what_it_takes(self, chunk, replica):
        is_alone = len(replica.chunks) == 1
        assert is_alone or (replica.texts <= replica.permits and replica.tokens <= replica.window)
        if isinstance(chunk, Part):
            assert chunk.texts <= replica.abilities.batch_texts or not chunk.request.is_informed
            assert chunk.tokens == sum(chunk.request.costs[item] for item in chunk.items)
            assert chunk.texts == 1 or 4 * chunk.tokens <= replica.abilities.body_bytes or not chunk.request.is_informed

    def check_12_refused_unasked(self, request, error):
        if isinstance(error, Overloaded | Saturated):
            assert all(chunk.request is not request for chunk in self.seen)
            assert type(error.retry_after_s) is int
            assert error.retry_after_s >= 1

    # clients

    @rule(many=st.lists(REQUESTS, min_size=1, max_size=4), heals=st.booleans())
    def arrive(self, many, heals):
        if heals and not self.dispatcher.serving:
            self.all_infer()
        for given in many:
            self.count += 1
            request = Divisible(**given, now=self.now, number=self.count)
            request.is_informed = any(one.abilities == ABILITIES for one in self.dispatcher.replicas.values())
            self.open[request] = None
            if request.online:
                self.online_at = self.now
            replica = self.twins.tell(Dispatcher.assign, request, self.now)
            if replica is not None:
                self.sent(request, replica)
            else:
                self.tell(Dispatcher.arrived, request, self.now)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def leave(self, data):
        request = data.draw(st.sampled_from(list(self.open)))
        del self.open[request]
        self.tell(Dispatcher.left, request, self.now)
        assert all(chunk.request is not request for chunk, _ in self.calls), "5: left with work under way"
        assert self.twins.tell(Dispatcher.left, request, self.now) == [], "of a request that is over, nothing"

    # replicas

    def answer(self, chunk, replica, status, tokens=None):
        """As the replica says it; but none can compute poison."""
        del self.calls[chunk, replica]
        request = chunk.request
        if status == 200 and request.poison in items(chunk):
            status = 424
        if status == 200:
            request.answered += items(chunk)
        event(f"{status} to {'copied' if chunk.copy or chunk.sends > 1 else 'first'} {type(chunk).__name__}")
        given = (chunk, replica, status, self.now, tokens)
        self.tell(Dispatcher.answered, *given, replied=chunk, status=status)
        if status in {424, 500} and not replica.failures:  # one too many in a row
            self.shaken(replica)
        if status == 422 or (status == 200 and chunk is request):
            assert request not in self.open, "5: a final answer is relayed"

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
        """Either of the two replicas that have a chunk says something first."""
        copied = sorted(
            (chunk for chunk, at in self.calls if chunk.copy is at), key=lambda chunk: self.calls[chunk, chunk.copy]
        )
        if not copied:
            return
        chunk = data.draw(st.sampled_from(copied))
        replica = chunk.replica if first else chunk.copy
        event(f"{how} by the {'first' if first else 'second'} of two")
        if how is Failure.RESET:
            self.fail(chunk, replica, how)
        else:
            self.answer(chunk, replica, how)

    def fail(self, chunk, replica, failure):
        del self.calls[chunk, replica]
        self.tell(Dispatcher.failed, chunk, replica, failure, self.now)
        self.shaken(replica)

    @precondition(lambda self: any(replica.chunks for replica in self.dispatcher.serving))
    @rule(data=st.data(), then=st.lists(HOW_COPIES_END, max_size=3))
    def hang(self, data, then):
        """One replica is silent for as long as it takes to notice; of the others there are signs of life."""
        silent = data.draw(st.sampled_from([replica for replica in self.dispatcher.serving if replica.chunks]))
        states = [replica.state for replica in self.dispatcher.replicas.values()]
        suspects, serving = states.count(State.SUSPECT), states.count(State.ACTIVE)
        held = set(silent.chunks)
        self.now += 60.0
        for replica in self.dispatcher.serving:
            if replica is not silent:
                self.well_probed(replica.id)
        self.tick()
        if suspects + 1 <= (suspects + serving) / 2 and held.intersection(silent.chunks):
            assert silent.state is State.SUSPECT, "10: a hang is not noticed"
            self.check_10_a_copy_is_sent_if_somebody_is_free(silent)
        event(f"hang: {silent.state}, {sum(chunk.copy is at for chunk, at in self.calls)} copies")
        for first, how in then:
            self.end_copied(data, first, how)

    def check_10_a_copy_is_sent_if_somebody_is_free(self, silent):
        tried = {name for chunk in silent.chunks for name in chunk.tried}
        is_free = any(not other.chunks and other.id not in tried for other in self.ready())
        if self.limits.hedge and is_free and self.dispatcher.repeated_tokens < ENOUGH:
            assert any(chunk.copy is not None for chunk in silent.chunks)

    def ready(self):
        """Those that may get work now."""
        return [replica for replica in self.dispatcher.serving if replica.full_until <= self.now]

    def draw_call(self, data):
        return data.draw(st.sampled_from(sorted(self.calls, key=self.calls.__getitem__)))

    # the pool

    @rule(data=st.data(), what=st.sampled_from(["members", "drain", "undrain", "distrust", "probe", "probe"]))
    def change_pool(self, data, what):
        if what == "members":
            self.change_members(data.draw(st.sets(st.sampled_from(NAMES), min_size=1)))
        elif what == "probe" and self.probing:
            name = data.draw(st.sampled_from(sorted(self.probing)))
            self.badly_probed(name) if data.draw(st.booleans()) else self.well_probed(name)
        elif what != "probe":
            getattr(self, what)(data.draw(st.sampled_from(sorted(self.members))))

    def change_members(self, names):
        for name in names:
            if name not in self.members:
                self.to_infer[name] = 1
                self.barred.discard(name)
        self.members = set(names)
        self.tell(Dispatcher.set_members, sorted(names), self.now)

    def drain(self, name):
        self.barred.add(name)
        self.tell(Dispatcher.drain, name)
        assert all(replica.id != name for replica in self.dispatcher.serving), "11: acknowledged"

    def undrain(self, name):
        if name in self.barred:
            self.to_infer[name] = 1
            self.barred.discard(name)
        self.tell(Dispatcher.undrain, name, self.now)

    def distrust(self, name):
        self.tell(Dispatcher.distrust, name, "moved")
        self.shaken(self.dispatcher.replicas[name])

    def well_probed(self, name):
        self.probing.discard(name)
        self.to_infer[name] = max(0, self.to_infer[name] - 1)
        self.tell(Dispatcher.probed, name, "", self.now, ABILITIES, COST)
        replica = self.dispatcher.replicas.get(name)
        if replica is not None and name in self.members - self.barred:
            assert (replica.state is State.ACTIVE) == (self.to_infer[name] == 0), "10: a good probe is believed"

    @rule()
    def all_infer(self):
        for _ in range(2):
            self.now += 5.0
            self.tick()
            for name in sorted(self.probing):
                self.well_probed(name)

    def badly_probed(self, name):
        replica = self.dispatcher.replicas[name]
        self.probing.discard(name)
        self.tell(Dispatcher.probed, name, "no answer", self.now)
        self.shaken(replica)

    def shaken(self, replica):
        """What is thrown out has to infer twice; what is out already, from the start."""
        assert replica.state is not State.ACTIVE
        if replica.state is State.EJECTED:
            self.to_infer[replica.id] = 2

    # time

    @rule(seconds=st.sampled_from([0.001, 0.05, 0.3, 2.0, 25.0]))
    def pass_time(self, seconds):
        late = {
            replica: replica.eta(self.now)
            for replica in self.dispatcher.replicas.values()
            if replica.chunks and replica.free_at < self.now - 0.02
        }
        self.now += seconds
        for replica, before in late.items():
            assert replica.eta(self.now) > before > 0, "10: who is late looks more and more busy"
        self.tick()

    def tick(self):
        """As the dispatcher wants it; what is too late is given up then, and only then."""
        known = self.dispatcher.replicas.values()
        before = {replica for replica in known if replica.state is State.SUSPECT}
        if self.now - self.ticked_at >= 0.05:
            self.ticked_at = self.now
        self.tell(Dispatcher.tick, self.now)
        suspects = {replica for replica in known if replica.state is State.SUSPECT}
        if suspects - before:
            assert len(suspects) <= len(self.dispatcher.serving), "10: more than half are suspected"

    # what must hold at any time

    @invariant()
    def inv_01_what_is_computed_is_answered(self):
        for request in self.open:
            assert len(request.answered) < request.texts

    @invariant()
    def inv_04_little_is_sent_again(self):
        if self.seen:
            bursts = 2 * 4 * Abilities().batch_tokens
            assert self.dispatcher.repeated_tokens <= 0.15 * sum(self.seen.values()) + bursts

    @invariant()
    def inv_04_a_text_is_at_two_replicas_at_most(self):
        for request in self.open:
            places = [item for chunk, _ in self.calls if chunk.request is request for item in items(chunk)]
            assert all(places.count(item) <= 2 for item in set(places))
        for chunk in {chunk for chunk, _ in self.calls}:
            held = [at for other, at in self.calls if other is chunk]
            assert held in ([chunk.replica], [chunk.replica, chunk.copy], [chunk.copy, chunk.replica])

    @invariant()
    def inv_06_no_replica_is_idle_while_work_waits(self):
        if not self.open or not self.waiting_tokens():
            return
        tried = {name for chunk in self.seen if chunk.request in self.open for name in chunk.tried}
        idle = [replica for replica in self.ready() if not replica.chunks and replica.id not in tried]
        serving = self.dispatcher.serving
        is_little = self.waiting_tokens() < 0.2 * (len(serving) - 1) * sum(one.tokens_per_s for one in serving)
        is_spared = self.limits.reserve and self.now - self.online_at < 1.0 and is_little
        is_spared = is_spared and not self.waiting_tokens(online=True)
        assert len(idle) <= is_spared

    @invariant()
    def inv_07_load_is_what_is_under_way(self):
        if not self.members:
            return
        for replica in self.dispatcher.replicas.values():
            there = [chunk for chunk, at in self.calls if at is replica]
            assert set(replica.chunks) == set(there)
            assert replica.tokens == sum(chunk.tokens for chunk in there)
            assert replica.texts == sum(chunk.texts for chunk in there)
            assert replica.online == sum(chunk.online for chunk in there)
            assert replica.bulk == len(there) - replica.online

    @invariant()
    def inv_07_nothing_is_lost(self):
        """What is neither answered nor at a replica waits, and nothing else does."""
        if self.members:
            assert self.dispatcher.under_way == len(self.open)
            assert self.dispatcher.queued_tokens == self.waiting_tokens()
            assert bool(self.dispatcher.queued) == bool(self.waiting_tokens())
            assert self.open or self.dispatcher.queued_bytes == 0

    @invariant()
    def inv_12_bytes_are_bounded(self):
        if self.members:
            held = [request.queued_bytes for request in self.open]
            assert self.dispatcher.queued_bytes == sum(held)
            assert sum(held) <= self.limits.queue_bytes or sum(map(bool, held)) == 1

    def teardown(self):
        """Once a replica works and clients wait, everything ends, and nothing of it because it took too long."""
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
        assert not any(patient[request] for request in self.open), "1: it never ends"
        if not self.open:
            assert self.dispatcher.queued_tokens == self.dispatcher.queued_bytes == self.dispatcher.queued == 0


History.TestCase.settings = settings(max_examples=350, stateful_step_count=50, deadline=None)
TestHistory = History.TestCase
