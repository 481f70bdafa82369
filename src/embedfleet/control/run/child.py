"""A child of the plan, and what is known of it."""

from urllib.parse import urlsplit

from embedfleet.control.drivers.base import Driver, Found, Running
from embedfleet.control.lifecycle.phase import Phase
from embedfleet.control.lifecycle.reconcile import Observed
from embedfleet.control.plan.specs import ChildSpec
from embedfleet.control.run.watchdog import Watchdog


class Child:
    """See the module.

    Attributes:
        url: where it listens, or did.
        found: what ran in its place when we came.
        served: it has inferred, as we started it or took it over.
        cannot_start: why the last attempt to start it failed; empty if it did not.
        drained: it is to get no requests, because somebody said so.
        retired: gateways that it had before, which serve the clients that they have, the oldest first; and whether
            each was told to end.
        successors: that were started for it, ever.
        watchdog: looks at what runs now, or ran last; None for what nobody here can start anew.
        hung: why it was killed, if it was because it hung.
        last_end: how it ended the last time.
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
        self.drained = False
        self.served = False
        self.started_at = 0.0
        self.last_end = ""
        self.cannot_start = ""
        self.retired: dict[Running, bool] = {}
        self.successors = 0

    @property
    def is_stale(self) -> bool:
        """Whether another ran in its place, to be replaced."""
        return self.found is not None and self.found.is_stale

    @property
    def is_kept(self) -> bool:
        """Whether it stays when the fleet fails: it served before us, or serves the same model in its place."""
        if self.found is None:
            return False
        return not self.found.is_stale or not self.was_started or (self.served and not self.found.has_other_model)

    def phase_of(self, running: Running) -> Phase:
        """Where in its life a process of this child is: one that is retired serves its clients until it is to end."""
        if running in self.retired:
            return Phase.STOPPING if self.retired[running] else Phase.READY
        return self.observed.phase

    @property
    def has_ended(self) -> bool:
        """Whether it ended as it was told to, and nothing that it had before is left."""
        return self.observed.phase is Phase.STOPPED and not self.retired

    @property
    def complaint(self) -> str:
        """Why it cannot be said to serve though it runs; empty if nothing is known against it."""
        if self.observed.phase is not Phase.READY or self.watchdog is None:
            return ""
        return self.watchdog.complaint

    @property
    def port(self) -> int:
        """Where it listens, or did; 0 if it never did."""
        return (urlsplit(self.url).port or 80) if self.url else 0

    @property
    def waits(self) -> bool:
        """Whether it has never been started."""
        return self.observed.phase is Phase.PENDING

    @property
    def is_to_be_replaced(self) -> bool:
        """Whether it waits for its turn; of another model there are no turns: the two would serve side by side."""
        return self.waits and self.found is not None and self.found.is_stale and not self.found.has_other_model
