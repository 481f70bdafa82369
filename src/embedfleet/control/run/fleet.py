"""A whole fleet from start to end: locks, checks, supervisor, admin API, signals."""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from embedfleet.config.settings import Settings
from embedfleet.control.balancers.gateway_folder import GatewayFolder
from embedfleet.control.balancers.service_balancer import make_balancer
from embedfleet.control.docker.container import Container
from embedfleet.control.docker.former import drop_formers, is_former, set_aside
from embedfleet.control.docker.leftovers import remove_all, remove_container
from embedfleet.control.drivers.base import Driver
from embedfleet.control.drivers.container import ContainerDriver, has_other_model
from embedfleet.control.drivers.listeners import Listeners
from embedfleet.control.drivers.process import ProcessDriver
from embedfleet.control.drivers.remote import RemoteDriver
from embedfleet.control.host.disk import reason_of
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.lifecycle.reconcile import Backoff
from embedfleet.control.plan.plan import assemblies_folder, gateway_folder, make_plan, nginx_folder
from embedfleet.control.plan.specs import ChildSpec, ContainerSpec, ProcessSpec, RemoteSpec
from embedfleet.control.preflight.open_files import container_files
from embedfleet.control.preflight.ports import check_ports, held_ports
from embedfleet.control.preflight.survey import Ground
from embedfleet.control.run.api import FleetApi
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.control.run.readiness import until_serving
from embedfleet.control.run.reload import Reload
from embedfleet.control.run.rollback import FailedFleet, roll_back
from embedfleet.control.run.supervisor import Supervisor
from embedfleet.control.tei.assembly import provide_assembly, remove_assemblies
from embedfleet.errors import DockerError, EmbedfleetError, UsageError
from embedfleet.system.disk_watch import Lookout

log = logging.getLogger(__name__)

_SET_ASIDE_S = 30.0  # for a balancer's requests under way


def log_files_of(settings: Settings) -> LogFiles:
    """The log files of a fleet."""
    return LogFiles(settings.state_dir / "logs")


def prepare_folders(settings: Settings) -> None:
    """Make the folders that containers see: the daemon would make missing ones as root."""
    (settings.root / settings.fleet.data_dir).mkdir(parents=True, exist_ok=True)
    for service in settings.services:
        nginx_folder(settings, service.name).mkdir(parents=True, exist_ok=True)
        GatewayFolder(gateway_folder(settings, service.name)).prepare()


def provide_models(settings: Settings, ground: Ground) -> Iterator[str]:
    """Make the folders that TEI sees in place of models'; what is put right in each, in a line.

    Raises:
        UsageError: they cannot be written.
    """
    for service, found in ground.machine.models.items():
        if found.assembly is not None:
            above = assemblies_folder(settings)
            try:
                provide_assembly(above, found.assembly)
            except OSError as error:
                raise UsageError(f"{above} cannot be written: {reason_of(error, above)}", "set state_dir") from error
        if found.verdict.changes or found.verdict.notes:
            yield f"{service}: TEI {settings.fleet.tei_version} {found.verdict}"


def remove_folders(settings: Settings) -> None:
    """Remove what containers saw: none is there any more."""
    remove_assemblies(assemblies_folder(settings))
    for service in settings.services:
        GatewayFolder(gateway_folder(settings, service.name)).remove()


async def run_fleet(
    settings: Settings,
    *,
    ground: Ground,
    plan: list[ChildSpec],
    environment: dict[str, str],
    state: FleetLock,
    seen: Callable[[dict[str, str]], None],
    ready: Callable[[], None],
    reread: Callable[[], Settings],
    new_model: bool = False,
) -> None:
    """Start everything, call ``ready`` once all replicas serve, and go on until SIGINT, SIGTERM or ``POST /stop``.

    Args:
        settings: in force.
        ground: what it stands on.
        plan: its children.
        environment: for those that are processes.
        state: held; its run folder is for admin sockets.
        seen: told the state of every replica while they load.
        ready: called once.
        reread: reads the settings again, for a reload.
        new_model: whether an operator says that the services may have another model than before.

    Raises:
        UsageError: it cannot work as it was told to; nothing that was not there before is left running.
        FleetError: the replicas were not ready in time; likewise.
    """
    check_ports(settings.services, held=_held_ports(ground), by_daemon=_bound_by_daemon(ground, plan))
    containers = _container_driver(settings, ground)
    supervisor: Supervisor | None = None
    async with AsyncExitStack() as stack:
        try:
            _set_balancers_aside(settings, ground, plan)
            listeners = Listeners(plan)
            drivers = _drivers(settings, containers, environment, listeners)
            supervisor = _make_supervisor(settings, ground, plan, drivers, listeners, new_model=new_model)
            make_again = partial(make_plan, machine=ground.machine, sockets=state.run.path)
            reload = Reload(supervisor, settings, reread, make_again)
            await stack.enter_async_context(_findable(state, FleetApi(supervisor, reload.run)))
            _obey_signals(supervisor)

            def tidy() -> None:  # nobody sends to them now
                _drop_what_was_before(ground, plan, containers)
                models = ground.machine.models.values()
                remove_assemblies(
                    assemblies_folder(settings), [each.assembly.key for each in models if each.assembly is not None]
                )

            await _live(supervisor, settings.fleet.ready_timeout_s, seen=seen, tidy=tidy, ready=ready)
        except EmbedfleetError:
            _obey_no_more()
            if ground.docker is not None:
                children = list(supervisor.children.values()) if supervisor else []
                await roll_back(FailedFleet(settings, ground.docker, plan, children))
            raise
        # Stopped as it was told to: what had yet to be taken over goes as well.
        await asyncio.to_thread(remove_all, ground.docker)
        remove_folders(settings)


@asynccontextmanager
async def _findable(state: FleetLock, api: FleetApi) -> AsyncIterator[None]:
    """Have the fleet be seen and stopped, for as long as the block lasts."""
    await api.server.start(path=state.socket)
    state.write()
    lookout = Lookout(partial(_keep_findable, state))
    try:
        yield
    finally:
        lookout.stop()
        await api.server.stop(1.0)


def _keep_findable(state: FleetLock) -> None:
    """In a thread: have the fleet be seen and stopped, whatever is removed from its folder."""
    for path in state.mend():
        log.warning("%s was removed or written over, and is made again", path)


def _held_ports(ground: Ground) -> set[int]:
    return held_ports(ground.docker.ours()) if ground.docker is not None else set()


def _bound_by_daemon(ground: Ground, plan: Sequence[ChildSpec]) -> set[str]:
    """Services whose port the daemon binds, and may bind whatever it is: one without root may no more than we."""
    if ground.engine is None or ground.engine.is_rootless:
        return set()
    return {spec.service for spec in plan if isinstance(spec, ContainerSpec) and spec.kind == "balancer"}


def _set_balancers_aside(settings: Settings, ground: Ground, plan: Sequence[ChildSpec]) -> None:
    """Those that the plan has no place for hold ports that the new ones need; deaf ones cannot be told anything."""
    if ground.docker is None:
        return
    services = {spec.name: spec.service for spec in plan if spec.kind == "balancer"}
    for container in ground.docker.ours():
        if container.kind != "balancer" or is_former(container):
            continue
        if container.name not in services:
            log.info("%s is no longer wanted", container.name)
        elif _is_deaf(settings, container, services[container.name]):
            log.info("%s cannot be told anything, and is made anew", container.name)
        else:
            continue
        set_aside(ground.docker, container, _SET_ASIDE_S)


def _is_deaf(settings: Settings, container: Container, service: str) -> bool:
    """Whether a gateway runs and cannot be told, for the folder that it shared with us has been replaced."""
    shares = any(each.name == service and each.options.balancer == "gateway" for each in settings.services)
    return shares and container.status == "running" and not GatewayFolder(gateway_folder(settings, service)).has_socket


def _drop_what_was_before(ground: Ground, plan: Sequence[ChildSpec], containers: ContainerDriver | None) -> None:
    """All of ours serve: what they replace, and what the plan has no place for, is removed."""
    if ground.docker is None or containers is None:
        return
    containers.settle()
    try:
        drop_formers(ground.docker)
        names = {spec.name for spec in plan}
        for container in ground.docker.ours():
            if container.kind in {"replica", "balancer"} and container.name not in names:
                log.info("%s is no longer wanted", container.name)
                remove_container(ground.docker, container)
    except DockerError as error:  # the fleet serves all the same; the next `up` or `down` removes them
        log.warning("what is no longer wanted cannot be removed: %s (%s)", error.message, error.hint)


def _drivers(
    settings: Settings, containers: ContainerDriver | None, environment: dict[str, str], listeners: Listeners
) -> dict[type[ChildSpec], Driver]:
    """What runs a child, by the kind of its spec."""
    processes = ProcessDriver(log_files_of(settings), settings.root, environment, listeners)
    drivers: dict[type[ChildSpec], Driver] = {ProcessSpec: processes, RemoteSpec: RemoteDriver()}
    return drivers if containers is None else drivers | {ContainerSpec: containers}


def _make_supervisor(
    settings: Settings,
    ground: Ground,
    plan: Sequence[ChildSpec],
    drivers: Mapping[type[ChildSpec], Driver],
    listeners: Listeners,
    *,
    new_model: bool,
) -> Supervisor:
    fleet = settings.fleet
    supervisor: Supervisor

    def changed() -> None:
        supervisor.wake()

    balancers = {
        service.name: make_balancer(settings, service, ground.docker, plan, changed) for service in settings.services
    }
    supervisor = Supervisor(
        [(spec, drivers[type(spec)]) for spec in plan],
        balancers,
        log_files_of(settings),
        backoff=Backoff(first_s=fleet.restart_backoff_s, longest_s=fleet.restart_backoff_max_s),
        listeners=listeners,
        stop_grace_s=_grace_s(settings),
        hung_after_s={"replica": fleet.hung_after_s, "balancer": fleet.balancer_hung_after_s},
        new_models={service.name for service in settings.services} if new_model else _of_new_model(ground, plan),
    )
    return supervisor


def _of_new_model(ground: Ground, plan: Sequence[ChildSpec]) -> set[str]:
    """Services of which a replica is there that computes something else, under whatever name: settings have changed."""
    wanted = {spec.service: spec for spec in plan if isinstance(spec, ContainerSpec) and spec.kind == "replica"}
    there = ground.docker.ours() if ground.docker is not None and wanted else []
    replicas = [container for container in there if container.kind == "replica" and container.service in wanted]
    return {each.service for each in replicas if has_other_model(each, wanted[each.service])}


def _grace_s(settings: Settings) -> float:
    """A gateway waits drain_s, then up to stop_grace_s for its clients; a little more is for the process itself."""
    return settings.fleet.drain_s + settings.fleet.stop_grace_s + 5.0


def _container_driver(settings: Settings, ground: Ground) -> ContainerDriver | None:
    if ground.docker is None or ground.engine is None:
        return None
    return ContainerDriver(
        ground.docker,
        request=ground.engine.device_request(settings.fleet.device_request) if ground.machine.gpus else "gpu",
        relabel=ground.engine.has_selinux,
        files=container_files(ground.engine),
        stop_grace_s=_grace_s(settings),
        said=log_files_of(settings).add,
    )


async def _live(
    supervisor: Supervisor,
    timeout_s: float,
    *,
    seen: Callable[[dict[str, str]], None],
    tidy: Callable[[], None],
    ready: Callable[[], None],
) -> None:
    running = asyncio.create_task(supervisor.run())
    loading = asyncio.create_task(until_serving(supervisor, timeout_s, seen))
    await asyncio.wait({running, loading}, return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        loading.cancel()
    elif loading.exception() is None:
        await asyncio.to_thread(tidy)
        supervisor.serves = True
        ready()
    else:
        supervisor.fail()
    await running
    if loading.done() and not loading.cancelled():
        loading.result()


_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _obey_no_more() -> None:
    """Nothing is left to be stopped: a signal ends this process, as it does by default."""
    for number in _SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(number)


def _obey_signals(supervisor: Supervisor) -> None:
    """The first signal drains and stops, the second ends everything at once."""
    told = False

    def obey() -> None:
        nonlocal told
        if told:
            supervisor.kill()
        else:
            supervisor.stop()
        told = True

    for number in _SIGNALS:
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:  # under nohup
            continue
        asyncio.get_running_loop().add_signal_handler(number, obey)
