"""Reload of a running fleet: its gateways are replaced, so that they take on new code and new settings.

A process takes its code and settings when it starts. A reload restarts only gateways, so it refuses changes of settings
that other parts of the fleet use as well.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields

from embedfleet.config.settings import EngineOptions, FleetOptions, GatewayOptions, Service, ServiceOptions, Settings
from embedfleet.control.plan.specs import ChildSpec, ProcessSpec
from embedfleet.control.run.supervisor import Supervisor
from embedfleet.errors import UsageError

log = logging.getLogger(__name__)

_DRAIN = "fleet.drain_s"
_READY_S = 60.0  # longest wait until a new gateway serves


@dataclass(frozen=True, slots=True)
class Replaced:
    """The replacement of one gateway.

    Attributes:
        service: Name of the service.
        before: Process id of the former gateway; 0 if none ran.
        pid: Process id of the new gateway.
        seconds: Time until the new gateway served, in seconds.
    """

    service: str
    before: int
    pid: int
    seconds: float


class Reload:
    """Reloads a fleet.

    Args:
        supervisor: Supervisor of the fleet.
        settings: Settings that the fleet was started with.
        reread: Function that reads the settings again from where they came.
        make_plan: Function that makes a plan from settings, for the machine as it was at the start.
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
        self._in_force = settings
        self._reread = reread
        self._make_plan = make_plan

    async def run(self) -> list[Replaced]:
        """Replace each gateway that is a process, one service after the other.

        Raises:
            UsageError: The settings are invalid, a changed one concerns more than gateways, or no gateway is a process;
                nothing was replaced.
            FleetError: A new gateway does not serve; the services before it keep their new gateways.
        """
        settings = self._reread()
        refuse_others(self._settings, settings, {spec.service for spec in self._gateways(self._settings)})
        gateways = self._gateways(settings)
        if not gateways:
            raise UsageError(
                "no gateway of this fleet is a process on this machine, so there is none to reload",
                "nginx and containers take on new settings at the next `embedfleet up`",
            )
        self._in_force = settings
        return [await self._replace(spec) for spec in gateways]

    async def renew(self) -> list[Replaced]:
        """Replace each gateway that is a process by one with the same settings, which takes on new code.

        Raises:
            FleetError: A new gateway does not serve; the services before it keep their new gateways.
        """
        return [await self._replace(spec) for spec in self._gateways(self._in_force)]

    @property
    def has_gateways(self) -> bool:
        """Whether any gateway is a process."""
        return bool(self._gateways(self._in_force))

    def _gateways(self, settings: Settings) -> list[ProcessSpec]:
        """Return the gateways that are processes."""
        return [
            spec for spec in self._make_plan(settings) if isinstance(spec, ProcessSpec) and spec.listens is not None
        ]

    async def _replace(self, spec: ProcessSpec) -> Replaced:
        began = time.monotonic()
        before, pid = await self._supervisor.replace_gateway(spec, _READY_S)
        replaced = Replaced(spec.service, before, pid, round(time.monotonic() - began, 2))
        log.info("%s was replaced: process %d for %d, after %g s", spec.name, pid, before, replaced.seconds)
        return replaced


def refuse_others(before: Settings, after: Settings, replaced: AbstractSet[str]) -> None:
    """Refuse changes of settings that concern more than the gateways that are replaced.

    Args:
        before: Settings of the running fleet.
        after: Settings as they are now.
        replaced: Names of the services whose gateway is replaced.

    Raises:
        UsageError: There are such changes; the message names every one.
    """
    others = set(changes(before, after, replaced))
    # A new gateway reads it at its start, like GatewayOptions. The fleet does not, and would kill a gateway that drains
    # for longer than the fleet was started with.
    if after.fleet.drain_s <= before.fleet.drain_s:
        others.discard(_DRAIN)
    if others:
        raise UsageError(
            f"a reload concerns only gateways, but these settings have changed too: {', '.join(sorted(others))}",
            "run `embedfleet down` and `embedfleet up`, or set them back",
        )


def changes(before: Settings, after: Settings, replaced: AbstractSet[str]) -> Iterator[str]:
    """Yield the dotted names of the settings that differ, except those of gateways that are replaced.

    A service that was added or removed is named as a whole.
    """
    if before.root != after.root:
        yield "the folder of fleet.toml"
    yield from (f"fleet.{item.name}" for item in fields(FleetOptions) if _differ(before.fleet, after.fleet, item.name))
    services = {service.name: service for service in after.services}
    for service in before.services:
        if service.name in services:
            yield from _changes_of(service, services.pop(service.name), is_replaced=service.name in replaced)
        else:
            yield f"services.{service.name}"
    yield from (f"services.{name}" for name in services)


def _changes_of(before: Service, after: Service, *, is_replaced: bool) -> Iterator[str]:
    records = [(ServiceOptions, before.options, after.options), (EngineOptions, before.engine, after.engine)]
    if not is_replaced:  # nginx or a container, which keeps its options
        records.append((GatewayOptions, before.gateway, after.gateway))
    for record, old, new in records:
        yield from (f"services.{before.name}.{item.name}" for item in fields(record) if _differ(old, new, item.name))


def _differ(old: object, new: object, name: str) -> bool:
    return bool(getattr(old, name) != getattr(new, name))
