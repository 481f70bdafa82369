"""The dispatcher among requests that kill the replicas which compute them, alone or as one text of several.

In any order of events: once it is known that a replica died with a request, the request kills at most one more; an
accused chunk is tried alone, and never at the last replica while others are down; innocent requests are answered.
"""

from collections import Counter

from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from embedfleet.errors import QueryOfDeath
from embedfleet.gateway.dispatch.capabilities import Capabilities
from embedfleet.gateway.dispatch.commands import Cancel, Failure, Join, Probe, Refuse, Relay, Send, Separate
from embedfleet.gateway.dispatch.dispatcher import Dispatcher
from embedfleet.gateway.dispatch.limits import DispatchLimits
from embedfleet.gateway.dispatch.request import Handle, Request, RequestPart, SplitState
from embedfleet.gateway.dispatch.text_records import together
from embedfleet.types import ReplicaState

NAMES = ["a", "b", "c", "d"]
TEXTS = list(range(8))
ABILITIES = Capabilities(batch_tokens=200, batch_texts=4, permits=64)
LIMITS = DispatchLimits(no_replica_s=1e6)
ONE = st.sampled_from(TEXTS)
BATCHES = st.lists(ONE, min_size=2, max_size=9, unique=True)


class Words(Handle):
    """Texts that are numbers; the same number is the same text."""

    def __init__(self, words, *, is_whole=False):
        self.words = words
        self.is_whole = is_whole

    @property
    def fingerprints(self):
        return [hash(("text", word)) for word in self.words]

    def split(self, *, by_length):
        count = len(self.words)
        return None if self.is_whole else SplitState([20] * count, [80] * count, range(count))


def asking(texts, *, online, now, is_shared=False) -> Request:
    request = Request(
        Words(texts, is_whole=is_shared),
        tokens=20 * len(texts),
        texts=len(texts),
        size_bytes=80 * len(texts),
        is_online=online,
        now=now,
        timeout_s=1e5,
    )
    request.is_shared = is_shared
    return request


def words(chunk):
    known = chunk.request.handle.words
    return [known[item] for item in chunk.items] if isinstance(chunk, RequestPart) else known


class Poisoned(RuleBasedStateMachine):
    """Clients, and replicas that die of some texts.

    Attributes:
        open: Open requests.
        calls: Number of each call, counted in the order of sending, by chunk and replica.
        accused: Texts that a replica died with, until one of them is computed alone.
        known: Number of the latest call when the first death with a chunk's poison was known, by the chunk's
            fingerprint.
        deaths: Number of replicas that a chunk's own poison killed with calls after that, by the chunk's fingerprint.
    """

    @initialize(poison=st.sets(ONE, max_size=3), many=st.integers(1, 4))
    def start(self, poison, many):
        self.now = 100.0
        self.count = 0
        self.poison = poison
        self.dispatcher = Dispatcher(LIMITS)
        self.open = {}
        self.calls = {}
        self.accused = set()
        self.known = {}
        self.deaths = Counter()
        self.probing = set()
        self.wanted = []
        self.is_obeying = False
        self.outside = False  # whether a replica was killed from outside
        self.tell(self.dispatcher.set_members(NAMES[:many], self.now))
        self.all_infer()

    def tell(self, commands, replied=None):
        """Execute the dispatcher's commands one after the other; each may cause an event with further commands."""
        for command in commands or ():
            if isinstance(command, Send):
                self.check_sent(command.chunk, command.replica)
        self.wanted += [Relay(replied)] if commands is None else commands
        if self.is_obeying:
            return
        self.is_obeying = True
        while self.wanted:
            self.obey(self.wanted.pop(0))
        self.is_obeying = False

    def obey(self, command):
        match command:
            case Send(chunk, replica):
                self.count += 1
                self.calls[chunk, replica] = self.count
            case Cancel(chunk, replica):
                del self.calls[chunk, replica]
            case Relay(chunk):
                del self.open[chunk.request]
            case Join(request):
                del self.open[request]
            case Refuse(request, error, _):
                assert isinstance(error, QueryOfDeath), "no other reason for a refusal is possible here"
                assert self.outside or self.poison.intersection(request.handle.words), "an innocent request is refused"
                event("refused")
                del self.open[request]
            case Separate(request):
                del self.open[request]
                for word in request.handle.words:
                    self.arrive(asking([word], online=True, now=self.now))
            case Probe(replica):
                self.probing.add(replica.id)

    def check_sent(self, chunk, replica):
        on_trial = [held for held in replica.chunks if held.is_on_trial]
        assert not on_trial or list(replica.chunks) == on_trial == [chunk], "a trial is held alone"
        if chunk.is_on_trial:
            away = {ReplicaState.DRAINING, ReplicaState.DRAINED}
            others = [one for one in self.dispatcher.replicas.values() if one is not replica and one.state not in away]
            serving = [one for one in others if one.state is ReplicaState.ACTIVE and not one.is_isolated]
            assert serving or not others, "a trial at the last replica while others are down"
            event("trial")
        else:
            assert not self.accused.intersection(words(chunk)), "an accused text is sent with others"

    def arrive(self, request):
        self.open[request] = None
        replica = self.dispatcher.assign(request, self.now)
        if replica is not None:
            self.tell([Send(request, replica)])
        else:
            self.tell(self.dispatcher.arrived(request, self.now))

    # clients

    @rule(texts=BATCHES | st.lists(ONE, min_size=1, max_size=1), online=st.booleans())
    def ask(self, texts, online):
        self.arrive(asking(texts, online=online, now=self.now))

    @rule(texts=BATCHES)
    def ask_together(self, texts):
        self.arrive(asking(texts[:4], online=True, now=self.now, is_shared=True))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def leave(self, data):
        request = data.draw(st.sampled_from(list(self.open)))
        del self.open[request]
        self.tell(self.dispatcher.left(request, self.now))

    # replicas

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def compute(self, data):
        self.run(*data.draw(st.sampled_from(sorted(self.calls, key=self.calls.__getitem__))))

    def run(self, chunk, replica):
        """Let a replica compute a chunk, which kills it or is answered."""
        if self.poison.intersection(words(chunk)):
            asked = together(chunk.fingerprints)
            if self.calls[chunk, replica] > self.known.get(asked, self.count):
                self.deaths[asked] += 1
            self.die(replica)
            return
        del self.calls[chunk, replica]
        if chunk.is_accused:
            self.accused -= set(words(chunk))
        self.tell(self.dispatcher.answered(chunk, replica, 200, self.now), chunk)

    def die(self, replica):
        """Let a replica die: all its connections end, and are reported one after the other."""
        lost = [chunk for chunk, at in self.calls if at is replica]
        for chunk in lost:
            if (chunk, replica) in self.calls:
                del self.calls[chunk, replica]
                self.note_death(chunk)
                self.tell(self.dispatcher.failed(chunk, replica, Failure.RESET, self.now))

    def note_death(self, chunk):
        self.accused |= set(words(chunk))
        if self.poison.intersection(words(chunk)):
            self.known.setdefault(together(chunk.fingerprints), self.count)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def kill(self, data):
        """Kill a replica from outside; nothing that it had is guilty, but a chunk on trial may be judged so."""
        replica = data.draw(st.sampled_from(sorted({at for _, at in self.calls}, key=lambda one: one.id)))
        self.outside = True
        self.die(replica)

    @rule()
    def all_infer(self):
        for _ in range(2):
            self.now += 5.0
            self.tell(self.dispatcher.tick(self.now))
            for name in sorted(self.probing):
                self.probing.discard(name)
                self.tell(self.dispatcher.probed(name, "", self.now, ABILITIES))

    @rule(seconds=st.sampled_from([0.05, 0.3, 2.0]))
    def pass_time(self, seconds):
        self.now += seconds
        self.tell(self.dispatcher.tick(self.now))

    # invariants

    @invariant()
    def nothing_is_lost(self):
        if hasattr(self, "dispatcher"):
            assert self.dispatcher.under_way == len(self.open)

    @invariant()
    def a_chunk_costs_one_replica_more_once_its_first_death_is_known(self):
        if hasattr(self, "deaths"):
            assert all(count <= 1 for count in self.deaths.values())

    def teardown(self):
        """Check that every request ends if replicas come back whenever they have died."""
        if not hasattr(self, "dispatcher"):
            return
        for _ in range(200):
            if not self.open:
                break
            for chunk, replica in list(self.calls):
                if (chunk, replica) in self.calls:
                    self.run(chunk, replica)
            self.all_infer()
        assert not self.open, "a request never ends"
        assert self.dispatcher.queued_tokens == self.dispatcher.queued == 0
        assert self.dispatcher.quarantine.cell is None or self.calls


Poisoned.TestCase.settings = settings(max_examples=300, stateful_step_count=40, deadline=None)
TestPoisoned = Poisoned.TestCase
