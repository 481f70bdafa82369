"""A child of the plan, with its state while the fleet runs."""

from dataclasses import replace
from urllib.parse import urlsplit

from embedfleet.control.drivers.base import Driver, Found, Running
from embedfleet.control.lifecycle.failed_start import StartRecord
from embedfleet.control.lifecycle.phase import Phase
from embedfleet.control.lifecycle.reconcile import Observed
from embedfleet.control.plan.specs import ChildSpec, ProcessSpec
from embedfleet.control.run.watchdog import Watchdog
from embedfleet.types import ReplicaReport, ReplicaState


class Child:
    """A balancer or a replica of the fleet.

    Args:
        spec: Spec of the child.
        driver: Driver that runs it.

    Attributes:
        observed: Its phase and history.
        running: Current run; None if there is none.
        watchdog: Watchdog of the current or last run; None before the first one, and for a child that the fleet cannot
            restart.
        hung: Reason why the current run was killed as hung; empty if it was not.
        url: URL where it listens, or last listened; empty if it never has.
        found: Child that ran under its name before the fleet started; None if none did.
        was_started: Whether the fleet has started it or taken it over.
        is_drained: Whether an operator keeps requests away from it.
        has_served: Whether it has inferred since the fleet started it or took it over.
        started_at: Time when its last start began, in seconds since the epoch.
        last_end: Description of the end of its last run; empty if none has ended.
        start_fault: Reason why the last attempt to start it failed; empty if it succeeded.
        retired: Its former gateways, the oldest first, which still serve the clients that they have. The value says
            whether one has the order to end.
        successors: Number of successors ever started for it.
    """

    def __init__(self, spec: ChildSpec, driver: Driver) -> None:
        self.spec = spec
        self.driver = driver
        self.observed = Observed()
        self.running: Running | None = None
        self.watchdog: Watchdog | None = None
        self.hung = ""
        self.url = ""
        self.found: Found | None = None
        self.was_started = False
        self.is_drained = False
        self.has_served = False
        self.started_at = 0.0
        self.last_end = ""
        self.start_fault = ""
        self.retired: dict[Running, bool] = {}
        self.successors = 0

    @property
    def name(self) -> str:
        """Name of the child."""
        return self.spec.name

    @property
    def is_stale(self) -> bool:
        """Whether the child that ran under its name before differs from its spec, and must be replaced."""
        return self.found is not None and self.found.is_stale

    @property
    def replaces_other_model(self) -> bool:
        """Whether the child that ran under its name before served another model."""
        return self.found is not None and self.found.has_other_model

    @property
    def is_to_be_replaced(self) -> bool:
        """Whether it waits for its turn to replace a stale child.

        Replicas of another model are all replaced at once, because the two models must not serve side by side.
        """
        return self.is_pending and self.is_stale and not self.replaces_other_model

    @property
    def is_pending(self) -> bool:
        """Whether it has never been started."""
        return self.observed.phase is Phase.PENDING

    @property
    def has_held_socket(self) -> bool:
        """Whether the supervisor holds its listening socket."""
        return isinstance(self.spec, ProcessSpec) and self.spec.listens is not None

    @property
    def has_ended(self) -> bool:
        """Whether it has ended on order, with all its former gateways."""
        return self.observed.phase is Phase.STOPPED and not self.retired

    @property
    def fault(self) -> str:
        """Reason why it does not count as serving although it is ready; empty if it does."""
        if self.observed.phase is not Phase.READY or self.watchdog is None:
            return ""
        return self.watchdog.fault

    @property
    def port(self) -> int:
        """Port where it listens, or last listened; 0 if it never has."""
        return (urlsplit(self.url).port or 80) if self.url else 0

    @property
    def start_record(self) -> StartRecord:
        """Record of its start, for the decision after a failed start."""
        return StartRecord(
            self.name,
            was_found=self.found is not None,
            was_stale=self.is_stale,
            had_other_model=self.replaces_other_model,
            was_started=self.was_started,
            has_served=self.has_served,
        )

    def phase_of(self, running: Running) -> Phase:
        """Return the phase of a run of this child; a retired gateway is ready until it gets the order to end."""
        if running in self.retired:
            return Phase.STOPPING if self.retired[running] else Phase.READY
        return self.observed.phase

    @property
    def phase_state(self) -> ReplicaState:
        """Phase of the child as a replica's state, for when the balancer's report is missing or outdated."""
        return ReplicaState(self.observed.phase.value)

    def correct(self, report: ReplicaReport) -> ReplicaReport:
        """Return a balancer's report, corrected by what control knows better.

        A replica that waits to be replaced is outdated. One that has ended is not active, even if a balancer does not
        know it before its next probe. One that does not answer control is not active either. A drained one is draining
        from the order on.
        """
        if self.start_fault:
            report = replace(report, reason=self.start_fault)
        if self.is_drained:
            is_empty = report.state is ReplicaState.DRAINED
            return replace(report, state=ReplicaState.DRAINED if is_empty else ReplicaState.DRAINING)
        if self.is_to_be_replaced:
            return replace(report, state=ReplicaState.OUTDATED)
        if self.was_started and self.observed.phase is not Phase.READY:
            return replace(report, state=self.phase_state)
        if self.fault:  # more precise than a balancer's reason, which only waits for an answer
            state = ReplicaState.SILENT if report.is_active else report.state
            return replace(report, state=state, reason=self.fault)
        return report
