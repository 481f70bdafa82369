"""One run: who stands in front of what, what clients ask, and the figures that come of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from bench.simulation.capacity import tokens_per_s
from bench.simulation.clock import Clock
from bench.simulation.door import Door, Ledger
from bench.simulation.faults import Fault, strike
from bench.simulation.figures import Figures, summarize
from bench.simulation.policies import BOUNDED, POLICIES, SPLITTING, UNBOUNDED, Stage
from bench.simulation.replica import PERMITS, SimReplica
from bench.workload import Arrival, Cost, exact_arrivals
from embedfleet.config.settings import EngineOptions

START_S = 0.1
"""Arrivals begin then: by then replicas have been probed."""
# What is under way at the end is finished; what is not after so many seconds, in which the clock moves in steps, never.
_DRAIN_S, _STEP_S = 600.0, 5.0
_NO_LIMIT = 10**9


@dataclass(frozen=True, slots=True)
class Cell:
    """A run.

    Attributes:
        policy: of `POLICIES`.
        workload: of `bench.workload.WORKLOADS`.
        load: tokens asked over what the replicas work off with full batches.
        replicas: how many.
        seconds: of arrivals.
        settling: share of them, at the start, in which queues fill; they are not counted.
        seed: of the arrivals.
        cost: of a replica's batch.
        slowness: by which the first, second, … replica is slower; those that it does not name are not.
        faults: that befall replicas.
        permits: whether replicas have TEI's 512 permits before rivals too, which cut nothing.
        bounded: whether the dispatcher's queues are bounded (`BOUNDED`).
        ahead: whether replicas form one batch while another runs.
        batch_texts: that replicas take of one call of ours, as a fleet starts them.
    """

    policy: str
    workload: str = "mix"
    load: float = 0.85
    replicas: int = 4
    seconds: float = 200.0
    settling: float = 0.1
    seed: int = 0
    cost: Cost = field(default_factory=Cost)
    slowness: tuple[float, ...] = ()
    faults: tuple[Fault, ...] = ()
    permits: bool = False
    bounded: bool = False
    ahead: bool = True
    batch_texts: int = EngineOptions().max_client_batch_size

    @property
    def capacity(self) -> float:
        """Tokens per second of all replicas."""
        whole = tokens_per_s(self.workload, self.cost)
        return sum(whole / slowness for slowness in self.paces)

    @property
    def start_s(self) -> float:
        """From when on it is counted."""
        return self.settling * self.seconds

    @property
    def paces(self) -> tuple[float, ...]:
        """The slowness of each replica."""
        return (*self.slowness, *[1.0] * self.replicas)[: self.replicas]

    def arrivals(self) -> list[Arrival]:
        """What clients ask."""
        return exact_arrivals(self.workload, self.load, self.capacity, self.seconds, self.seed)


class Run:
    """A cell at work.

    Attributes:
        clock: at the start of the arrivals.
        replicas: probed.
        ledger: of the arrivals.
        door: in front of the replicas.
        computed: tokens, between the start, which is not counted, and the end of the arrivals.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.clock = Clock()
        self.ledger = Ledger()
        self.computed = 0
        permits = PERMITS if cell.permits or cell.policy in SPLITTING else _NO_LIMIT
        self.replicas = [
            SimReplica(self.clock, cell.cost, slowness=slowness, permits=permits, ahead=cell.ahead)
            for slowness in cell.paces
        ]
        limits = BOUNDED if cell.bounded else UNBOUNDED
        stage = Stage(self.clock, self.replicas, self.ledger, cell.cost, limits, cell.batch_texts)
        self.door: Door = POLICIES[cell.policy](stage)
        self.clock.run(START_S)

    def play(self, asked: Sequence[Arrival]) -> Ledger:
        """Let all of it happen, until each arrival is over or long past the end."""
        clock = self.clock
        strike(clock, self.replicas, self.cell.faults, self.cell.seconds)
        for arrival in asked:
            later = replace(arrival, at_s=arrival.at_s + clock.now)
            clock.at(later.at_s, lambda arrival=later: self.door.arrive(arrival))  # type: ignore[misc]
        end = clock.now + self.cell.seconds
        clock.run(clock.now + self.cell.start_s)
        before = self._tokens()
        clock.run(end)
        self.computed = self._tokens() - before
        while self.ledger.ended < len(asked) and clock.now < end + _DRAIN_S:
            clock.run(clock.now + _STEP_S)
        return self.ledger

    def _tokens(self) -> int:
        return sum(replica.tokens for replica in self.replicas)


def simulate(cell: Cell) -> Figures:
    """One run's figures."""
    run = Run(cell)
    asked = cell.arrivals()
    ledger = run.play(asked)
    figures = summarize(asked, ledger, cell.start_s, cell.seconds, cell.capacity)
    tokens = sum(replica.tokens for replica in run.replicas)
    work = sum(replica.work for replica in run.replicas)
    asked_tokens = sum(arrival.total for arrival in asked)
    return figures | {
        "computed": run.computed / (cell.capacity * (cell.seconds - cell.start_s)),
        "useful_of_padded": tokens / work if work else 0.0,
        "repeated": ledger.repeated_tokens / asked_tokens if asked_tokens else 0.0,
    }
