"""New code and new settings for the gateways of a fleet that runs; all else stays as it is.

A process is started from the code that is there now, by the settings as they are now. So what has changed in either is
taken over; but only gateways are started anew, and a setting that others have to obey as well is refused.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields

from embedfleet.config.settings import FleetOptions, Service, Settings
from embedfleet.control.plan.specs import ChildSpec, ProcessSpec
from embedfleet.control.run.supervisor import Supervisor
from embedfleet.errors import UsageError

log = logging.getLogger(__name__)

_GATEWAYS_OWN = {"fleet.drain_s"}  # beside GatewayOptions
_READY_S = 60.0  # longest wait for a new gateway


@dataclass(frozen=True, slots=True)
class Replaced:
    """A gateway that has a successor.

    Attributes:
        service: whose it is.
        before: process id of the former one; 0 if it did not run.
        pid: of the successor.
        seconds: that it took until the successor served.
    """

    service: str
    before: int
    pid: int
    seconds: float


class Reload:
    """See the module.

    Args:
        supervisor: of the fleet.
        settings: that the fleet was started by.
        reread: reads them again, from where they came.
        make_plan: makes a plan of them for the machine as it was at the start.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        settings: Settings,
        reread: Callable[[], Settings],
        make_plan: Callable[[Settings], Sequence[ChildSpec]],
    ) -> None:
        self._supervisor = supervisor
        self._settings = settings
        self._reread = reread
        self._make_plan = make_plan

    async def run(self) -> list[Replaced]:
        """Put a new gateway in the place of each that is a process, one service after the other.

        Raises:
            UsageError: the settings are no good, or more has changed than gateways can take over, or there is no
                gateway to start anew; nothing has changed.
            FleetError: a new gateway does not serve; those of the services before it stay.
        """
        settings = self._reread()
        refuse_others(self._settings, settings)
        gateways = [
            spec for spec in self._make_plan(settings) if isinstance(spec, ProcessSpec) and spec.listens is not None
        ]
        if not gateways:
            raise UsageError(
                "no gateway of this fleet is a process of this machine, so there is none to reload",
                "nginx and containers take on new settings at the next `embedfleet up`",
            )
        return [await self._replace(spec) for spec in gateways]

    async def _replace(self, spec: ProcessSpec) -> Replaced:
        began = time.monotonic()
        before, pid = await self._supervisor.replace_gateway(spec, _READY_S)
        replaced = Replaced(spec.service, before, pid, round(time.monotonic() - began, 2))
        log.info("%s has a successor: process %d for %d, after %g s", spec.name, pid, before, replaced.seconds)
        return replaced


def refuse_others(before: Settings, after: Settings) -> None:
    """Refuse settings that differ in more than gateways.

    Raises:
        UsageError: they do; every such setting is named.
    """
    others = sorted(set(changes(before, after)) - _GATEWAYS_OWN)
    if others:
        raise UsageError(
            f"a reload is of gateways alone, and these have changed too: {', '.join(others)}",
            "`embedfleet down` and `embedfleet up` take them on; or set them back",
        )


def changes(before: Settings, after: Settings) -> Iterator[str]:
    """The dotted names of settings that differ, but for those of a gateway; a service that came or went as a whole."""
    if before.root != after.root:
        yield "the folder of fleet.toml"
    yield from (f"fleet.{item.name}" for item in fields(FleetOptions) if _differ(before.fleet, after.fleet, item.name))
    services = {service.name: service for service in after.services}
    for service in before.services:
        if service.name in services:
            yield from _changes_of(service, services.pop(service.name))
        else:
            yield f"services.{service.name}"
    yield from (f"services.{name}" for name in services)


def _changes_of(before: Service, after: Service) -> Iterator[str]:
    for old, new in ((before.options, after.options), (before.engine, after.engine)):
        yield from (f"services.{before.name}.{item.name}" for item in fields(old) if _differ(old, new, item.name))


def _differ(old: object, new: object, name: str) -> bool:
    return bool(getattr(old, name) != getattr(new, name))
