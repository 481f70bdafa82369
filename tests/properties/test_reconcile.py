"""After any events of children, the fleet reaches the desired state, and no restart is too soon."""

from dataclasses import dataclass, field
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.control.lifecycle.phase import TRANSITIONS, Phase, PhaseEvent
from embedfleet.control.lifecycle.reconcile import Backoff, Observed, Start, Stop, due_at, next_due, reconcile

NAMES = ("a", "b", "c")
RUNNING = {Phase.STARTING, Phase.READY, Phase.STOPPING}

backoffs = st.builds(Backoff, first_s=st.floats(0.1, 5), longest_s=st.floats(5, 60), stable_s=st.floats(1, 100))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("ready"), st.sampled_from(NAMES)),
        st.tuples(st.just("exit"), st.sampled_from(NAMES)),
        st.tuples(st.just("want"), st.frozensets(st.sampled_from(NAMES))),
        st.tuples(st.just("wait"), st.floats(0, 100)),
    ),
    max_size=60,
)


@dataclass
class World:
    """Processes that start and stop as commanded, or die."""

    backoff: Backoff
    now: float = 0.0
    wanted: frozenset[str] = frozenset(NAMES)
    children: dict[str, Observed] = field(default_factory=lambda: {name: Observed() for name in NAMES})
    starts: list[tuple[str, float]] = field(default_factory=list)

    def note(self, name: str, event: PhaseEvent) -> None:
        if event in TRANSITIONS[self.children[name].phase]:
            self.children[name] = self.children[name].after(event, self.now, self.backoff)

    def reconcile(self) -> int:
        actions = list(reconcile(self.wanted, self.children, self.now, self.backoff))
        for action in actions:
            before = self.children[action.name]
            match action:
                case Start(name):
                    assert before.phase not in RUNNING
                    assert name in self.wanted
                    if before.phase is Phase.BACKOFF:
                        assert self.now >= due_at(before, self.backoff)
                    self.starts.append((name, self.now))
                    self.children[name] = before.after(PhaseEvent.START, self.now, self.backoff)
                case Stop(name):
                    assert name not in self.wanted
                    self.children[name] = before.after(PhaseEvent.STOP, self.now, self.backoff)
        return len(actions)

    def play(self, steps) -> None:
        for kind, value in steps:
            match kind:
                case "ready":
                    self.note(value, PhaseEvent.READY)
                case "exit":
                    if self.children[value].phase in RUNNING:
                        self.note(value, PhaseEvent.EXIT)
                case "want":
                    self.wanted = value
                case "wait":
                    self.now += value
            self.reconcile()

    def settle(self) -> None:
        """Let stopping children end and starting ones get ready, without further deaths."""
        for _ in range(10):
            for name, child in self.children.items():
                if child.phase is Phase.STOPPING:
                    self.note(name, PhaseEvent.EXIT)
                elif child.phase is Phase.STARTING:
                    self.note(name, PhaseEvent.READY)
            due = next_due(self.children, self.backoff)
            self.now = max(self.now, due) if due is not None else self.now
            self.reconcile()


@given(backoffs, steps)
def test_the_fleet_reaches_the_desired_state_and_then_nothing_is_done(backoff, steps):
    world = World(backoff)
    world.play(steps)
    world.settle()
    for name, child in world.children.items():
        assert child.phase is (Phase.READY if name in world.wanted else Phase.STOPPED)
    assert world.reconcile() == 0
    assert next_due(world.children, world.backoff) is None


@given(backoffs, st.integers(1, 40))
def test_waits_double_up_to_the_longest(backoff, deaths):
    wait, longer = backoff.wait_s(deaths), backoff.wait_s(deaths + 1)
    assert backoff.first_s <= wait <= longer <= backoff.longest_s
    assert longer in {2 * wait, backoff.longest_s}


@given(backoffs, st.integers(1, 50))
def test_a_child_that_never_serves_is_started_no_more_often_than_the_waits_allow(backoff, deaths):
    world = World(backoff)
    for _ in range(deaths):
        world.reconcile()
        world.note("a", PhaseEvent.EXIT)
        world.now = next_due(world.children, backoff) or world.now
    times = [when for name, when in world.starts if name == "a"]
    gaps = [after - before for before, after in pairwise(times)]
    assert all(gap >= backoff.wait_s(number + 1) - 1e-6 for number, gap in enumerate(gaps))


@given(backoffs)
def test_a_child_that_served_long_enough_starts_with_a_fresh_count(backoff):
    child = Observed()
    for event, later in (
        (PhaseEvent.START, 0),
        (PhaseEvent.EXIT, 0),
        (PhaseEvent.START, 0),
        (PhaseEvent.READY, backoff.stable_s),
    ):
        child = child.after(event, later, backoff)
    early = child.after(PhaseEvent.EXIT, child.since + backoff.stable_s / 2, backoff)
    late = child.after(PhaseEvent.EXIT, child.since + backoff.stable_s, backoff)
    assert (early.deaths, late.deaths, late.restarts) == (2, 1, 1)
