"""The life of a fleet from its start to its end: ports, supervisor, admin API, signals, rollback of a failed start."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

from embedfleet.config.settings import Settings
from embedfleet.control.balancers.service_balancer import make_balancer
from embedfleet.control.docker.leftovers import remove_all
from embedfleet.control.drivers.by_spec import Drivers
from embedfleet.control.drivers.code_path import CodePath
from embedfleet.control.drivers.container import ContainerDriver, has_other_model
from embedfleet.control.drivers.listeners import Listeners
from embedfleet.control.drivers.process import ProcessDriver
from embedfleet.control.drivers.remote import RemoteDriver
from embedfleet.control.lifecycle.reconcile import Backoff
from embedfleet.control.plan.plan import make_plan
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec
from embedfleet.control.preflight.open_files import container_files
from embedfleet.control.preflight.ports import check_ports, held_ports
from embedfleet.control.preflight.survey import Survey
from embedfleet.control.run.api import FleetApi
from embedfleet.control.run.child_runner import ChildLimits
from embedfleet.control.run.compilation import Compilation
from embedfleet.control.run.fleet_folders import log_files_of, remove_folders, remove_unused_models
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.control.run.readiness import States, until_serving
from embedfleet.control.run.reload import Reload, Replaced
from embedfleet.control.run.rollback import FailedFleet, roll_back
from embedfleet.control.run.stop_signals import obey_signals, restore_signals
from embedfleet.control.run.supervisor import Supervisor
from embedfleet.control.run.unplanned_containers import drop_replaced, set_balancers_aside
from embedfleet.control.status import CodeStatus
from embedfleet.errors import EmbedfleetError
from embedfleet.system.disk_watch import DiskWatch
from embedfleet.types import ReplicaState

log = logging.getLogger(__name__)


async def run_fleet(
    settings: Settings,
    *,
    survey: Survey,
    plan: list[ChildSpec],
    environment: dict[str, str],
    state: FleetLock,
    seen: Callable[[States], None],
    ready: Callable[[], None],
    reread: Callable[[], Settings],
    installation: Path | None = None,
    new_model: bool = False,
) -> None:
    """Start everything, call ``ready`` once all replicas serve, and run until SIGINT, SIGTERM or ``POST /stop``.

    Args:
        settings: Settings in force.
        survey: Survey of the machine.
        plan: Children of the fleet.
        environment: Environment of the children that are processes.
        state: Lock of the fleet, held; its run folder takes the admin sockets.
        seen: Function that takes the state of every replica; it is called repeatedly while they load.
        ready: Function that is called once, when all replicas serve.
        reread: Function that reads the settings again, for a reload.
        installation: Folder of the run.sh that installed this; None if none did.
        new_model: Whether an operator allows the services to change their models.

    Raises:
        UsageError: The configuration is invalid; only containers that ran before are left running.
        FleetError: The replicas were not ready in time; only containers that ran before are left running.
    """
    check_ports(settings.services, held=_held_ports(survey), by_daemon=_bound_by_daemon(survey, plan))
    containers = _container_driver(settings, survey)
    supervisor: Supervisor | None = None
    async with AsyncExitStack() as stack:
        try:
            if survey.docker is not None:
                set_balancers_aside(settings, survey.docker, plan)
            listeners = Listeners.open(plan)
            code = CodePath(environment, installation, may_be_compiled=settings.fleet.compile == "auto")
            processes = ProcessDriver(log_files_of(settings), settings.root, code, listeners)
            drivers = Drivers(processes, RemoteDriver(), containers)
            supervisor = _make_supervisor(settings, survey, plan, drivers, listeners, new_model=new_model)
            make_again = partial(make_plan, machine=survey.machine, sockets=state.run.path)
            reload = Reload(supervisor, settings, reread, make_again)
            compilation = Compilation(installation, code, log_files_of(settings), reload.renew)
            stack.push_async_callback(compilation.stop)
            api = FleetApi(supervisor, partial(_reload, reload, compilation), partial(_code, reload, compilation))
            await stack.enter_async_context(_findable(state, api))
            obey_signals(supervisor.stop, supervisor.kill)

            def served() -> None:
                ready()
                if reload.has_gateways:
                    compilation.begin()

            def tidy() -> None:  # the former containers get no requests any more
                if survey.docker is not None and containers is not None:
                    containers.settle()
                    drop_replaced(survey.docker, plan)
                remove_unused_models(settings, survey)

            await _live(supervisor, settings.fleet.ready_timeout_s, seen=seen, tidy=tidy, ready=served)
            await compilation.stop()
        except EmbedfleetError:
            restore_signals()
            if survey.docker is not None:
                children = list(supervisor.children.values()) if supervisor else []
                await roll_back(FailedFleet(settings, survey.docker, plan, children))
            raise
        # Stopped by an order: containers that were not taken over yet are removed as well.
        await asyncio.to_thread(remove_all, survey.docker)
        remove_folders(settings)


async def _reload(reload: Reload, compilation: Compilation) -> list[Replaced]:
    """Replace the gateways with the present code, and compile it if that was not done yet."""
    await compilation.check()
    replaced = await reload.run()
    compilation.begin()
    return replaced


def _code(reload: Reload, compilation: Compilation) -> CodeStatus | None:
    return compilation.status if reload.has_gateways else None


@asynccontextmanager
async def _findable(state: FleetLock, api: FleetApi) -> AsyncIterator[None]:
    """Publish the fleet's address and serve its API while the block runs."""
    await api.server.start(path=state.socket)
    state.write()
    lookout = DiskWatch(partial(_keep_findable, state))
    try:
        yield
    finally:
        lookout.stop()
        await api.server.stop(1.0)


def _keep_findable(state: FleetLock) -> None:
    """Restore the files by which the fleet is found; runs in a thread."""
    for path in state.mend():
        log.warning("%s was removed or overwritten, and is restored", path)


def _held_ports(survey: Survey) -> set[int]:
    return held_ports(survey.docker.ours()) if survey.docker is not None else set()


def _bound_by_daemon(survey: Survey, plan: Sequence[ChildSpec]) -> set[str]:
    """Return the services whose port the daemon binds with the rights of root; empty for a rootless daemon."""
    if survey.engine is None or survey.engine.is_rootless:
        return set()
    return {spec.service for spec in plan if isinstance(spec, ContainerSpec) and spec.kind == "balancer"}


def _make_supervisor(
    settings: Settings,
    survey: Survey,
    plan: Sequence[ChildSpec],
    drivers: Drivers,
    listeners: Listeners,
    *,
    new_model: bool,
) -> Supervisor:
    fleet = settings.fleet
    supervisor: Supervisor

    def changed() -> None:
        supervisor.wake()

    balancers = {
        service.name: make_balancer(settings, service, survey.docker, plan, changed) for service in settings.services
    }
    supervisor = Supervisor(
        [(spec, drivers.of(spec)) for spec in plan],
        balancers,
        log_files_of(settings),
        limits=ChildLimits(
            Backoff(first_s=fleet.restart_backoff_s, longest_s=fleet.restart_backoff_max_s),
            stop_grace_s=_grace_s(settings),
            hung_after_s={"replica": fleet.hung_after_s, "balancer": fleet.balancer_hung_after_s},
        ),
        listeners=listeners,
        new_models={service.name for service in settings.services} if new_model else _of_new_model(survey, plan),
    )
    return supervisor


def _of_new_model(survey: Survey, plan: Sequence[ChildSpec]) -> set[str]:
    """Return the services that have a replica of another model; a change of settings may have renamed it."""
    wanted = {spec.service: spec for spec in plan if isinstance(spec, ContainerSpec) and spec.kind == "replica"}
    there = survey.docker.ours() if survey.docker is not None and wanted else []
    replicas = [container for container in there if container.kind == "replica" and container.service in wanted]
    return {each.service for each in replicas if has_other_model(each, wanted[each.service])}


def _grace_s(settings: Settings) -> float:
    """Return the time in which a child must end, in seconds.

    A gateway accepts for drain_s, then waits up to stop_grace_s for its clients; the rest is for the process to end.
    """
    return settings.fleet.drain_s + settings.fleet.stop_grace_s + 5.0


def _container_driver(settings: Settings, survey: Survey) -> ContainerDriver | None:
    if survey.docker is None or survey.engine is None:
        return None
    return ContainerDriver(
        survey.docker,
        request=survey.engine.device_request(settings.fleet.device_request) if survey.machine.gpus else "gpu",
        without_selinux=survey.engine.has_selinux,
        files=container_files(survey.engine),
        stop_grace_s=_grace_s(settings),
        said=log_files_of(settings).add,
    )


async def _live(
    supervisor: Supervisor,
    timeout_s: float,
    *,
    seen: Callable[[States], None],
    tidy: Callable[[], None],
    ready: Callable[[], None],
) -> None:
    """Run the supervisor until it ends; call ``tidy`` and then ``ready`` once everything serves."""

    def note(states: States) -> None:
        supervisor.note_served(name for name, state in states.items() if state is ReplicaState.ACTIVE)
        seen(states)

    running = asyncio.create_task(supervisor.run())
    loading = asyncio.create_task(until_serving(supervisor, timeout_s, note))
    await asyncio.wait({running, loading}, return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        loading.cancel()
    elif loading.exception() is None:
        await asyncio.to_thread(tidy)
        supervisor.has_started = True
        ready()
    else:
        supervisor.fail()
    await running
    if loading.done() and not loading.cancelled():
        loading.result()
