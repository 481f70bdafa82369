"""One simulated run: a policy in front of replicas, the requests of clients, and the resulting figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from embedfleet.config.settings import EngineOptions
from embedfleet.load.workload import Arrival, exact_arrivals
from embedfleet.simulation.batch_cost import BatchCost
from embedfleet.simulation.capacity import tokens_per_s
from embedfleet.simulation.clock import Clock
from embedfleet.simulation.faults import Fault, strike
from embedfleet.simulation.figures import Figures, summarize
from embedfleet.simulation.ledger import Ledger
from embedfleet.simulation.policy import BOUNDED, ESTIMATE_ERROR, UNBOUNDED, FrontDoor, Policy, Stage
from embedfleet.simulation.replica import PERMITS, SimReplica

START_S = 0.1
"""Start of the arrivals, in seconds, when all replicas have been probed."""
# After the last arrival, the run continues in steps of _STEP_S until all requests have ended; those that are open after
# _DRAIN_S count as never answered.
_DRAIN_S, _STEP_S = 600.0, 5.0
_NO_LIMIT = 10**9


@dataclass(frozen=True, slots=True)
class Cell:
    """The parameters of a run.

    Attributes:
        policy: Policy of the load balancer.
        workload: Name of a workload in `embedfleet.load.workload.WORKLOADS`.
        load: Offered tokens divided by the tokens that the replicas compute with full batches.
        replicas: Number of replicas.
        seconds: Length of the arrivals, in seconds.
        settling: Share of ``seconds`` at the start in which queues fill; requests that arrive in it are not counted.
        seed: Seed of the arrivals.
        cost: Cost of a replica's batch.
        slowness: Factors on the batch times of the first replicas; the factor of the others is 1.
        faults: Faults of the replicas.
        permits: Maximum number of texts in progress at a replica; None for TEI's number with policies that keep TEI's
            limits, and for no limit with the others.
        estimate_error: Error of our dispatcher's estimates of a text's tokens, as sigma of the logarithm.
        bounded: Whether the queues of our dispatcher are short (`BOUNDED`).
        ahead: Whether replicas form the next batch while one runs.
        batch_texts: Maximum number of texts in one call of our gateway.
    """

    policy: Policy
    workload: str = "mix"
    load: float = 0.85
    replicas: int = 4
    seconds: float = 200.0
    settling: float = 0.1
    seed: int = 0
    cost: BatchCost = field(default_factory=BatchCost)
    slowness: tuple[float, ...] = ()
    faults: tuple[Fault, ...] = ()
    permits: int | None = None
    estimate_error: float = ESTIMATE_ERROR
    bounded: bool = False
    ahead: bool = True
    batch_texts: int = EngineOptions().max_client_batch_size

    @property
    def capacity(self) -> float:
        """Capacity of all replicas, in tokens per second."""
        whole = tokens_per_s(self.workload, self.cost)
        return sum(whole / slowness for slowness in self.paces)

    @property
    def start_s(self) -> float:
        """Time from which requests count, in seconds since the start of the arrivals."""
        return self.settling * self.seconds

    @property
    def paces(self) -> tuple[float, ...]:
        """The slowness of each replica."""
        return (*self.slowness, *[1.0] * self.replicas)[: self.replicas]

    def arrivals(self) -> list[Arrival]:
        """Return the requests of clients."""
        return exact_arrivals(self.workload, self.load, self.capacity, self.seconds, self.seed)


class Run:
    """A cell in progress.

    Attributes:
        clock: Clock, at the start of the arrivals.
        replicas: Replicas, already probed.
        ledger: Record of the arrivals' ends.
        front_door: Load balancer in front of the replicas.
        computed: Tokens computed between the end of the settling time and the end of the arrivals.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.clock = Clock()
        self.ledger = Ledger()
        self.computed = 0
        own_limit = PERMITS if cell.policy.keeps_limits else _NO_LIMIT
        permits = own_limit if cell.permits is None else cell.permits
        self.replicas = [
            SimReplica(self.clock, cell.cost, slowness=slowness, permits=permits, ahead=cell.ahead)
            for slowness in cell.paces
        ]
        limits = BOUNDED if cell.bounded else UNBOUNDED
        stage = Stage(
            self.clock,
            self.replicas,
            self.ledger,
            cell.cost,
            limits,
            batch_texts=cell.batch_texts,
            permits=permits,
            estimate_error=cell.estimate_error,
        )
        self.front_door: FrontDoor = cell.policy.front_door(stage)
        self.clock.run(START_S)

    def play(self, asked: Sequence[Arrival]) -> Ledger:
        """Run until every arrival has ended, but at most `_DRAIN_S` longer than the arrivals last."""
        clock = self.clock
        strike(clock, self.replicas, self.cell.faults, self.cell.seconds)
        for arrival in asked:
            later = replace(arrival, at_s=arrival.at_s + clock.now)
            clock.at(later.at_s, lambda arrival=later: self.front_door.arrive(arrival))  # type: ignore[misc]
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
    """Return the figures of one run."""
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
