"""A whole fleet from start to end: locks, checks, supervisor, admin API, signals."""

import asyncio
import logging
import signal
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from embedfleet.config.settings import Service, Settings
from embedfleet.control.api import FleetApi
from embedfleet.control.balancers.choice import make_balancer
from embedfleet.control.child import ChildSpec, ContainerSpec, ProcessSpec, RemoteSpec
from embedfleet.control.drivers.base import Driver
from embedfleet.control.drivers.container import ContainerDriver
from embedfleet.control.drivers.process import ProcessDriver
from embedfleet.control.drivers.remote import RemoteDriver
from embedfleet.control.gateway_folder import GatewayFolder
from embedfleet.control.journal import Journal
from embedfleet.control.listeners import Listeners
from embedfleet.control.machine import Ground
from embedfleet.control.open_files import container_files
from embedfleet.control.plan import gateway_folder, make_plan, nginx_folder
from embedfleet.control.ports import check_ports
from embedfleet.control.readiness import until_serving
from embedfleet.control.reconcile import Backoff
from embedfleet.control.reload import Reload
from embedfleet.control.remains import remove_all, remove_container
from embedfleet.control.statefile import StateFile
from embedfleet.control.supervisor import Supervisor
from embedfleet.errors import EmbedfleetError
from embedfleet.lookout import Lookout

log = logging.getLogger(__name__)


def journal_of(settings: Settings) -> Journal:
    """The log files of a fleet."""
    return Journal(settings.state_dir / "logs")


def prepare_folders(settings: Settings) -> None:
    """Make the folders that containers see: the daemon would make missing ones as root."""
    (settings.root / settings.fleet.data_dir).mkdir(parents=True, exist_ok=True)
    for service in settings.services:
        nginx_folder(settings, service.name).mkdir(parents=True, exist_ok=True)
        GatewayFolder(gateway_folder(settings, service.name)).prepare()


def remove_folders(settings: Settings) -> None:
    """Remove what gateways in containers left behind them: nobody listens there any more."""
    for service in settings.services:
        GatewayFolder(gateway_folder(settings, service.name)).remove()


async def run_fleet(
    settings: Settings,
    *,
    ground: Ground,
    plan: list[ChildSpec],
    environment: dict[str, str],
    state: StateFile,
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
    check_ports(_services_without_balancer(settings, ground))
    listeners = Listeners(plan)
    _remove_unplanned(ground, plan, {"balancer"})  # they hold the ports that the new ones need
    _remove_deaf(settings, ground, plan)
    supervisor = _make_supervisor(settings, ground, plan, environment, listeners, new_model=new_model)
    reload = Reload(
        supervisor, settings, reread, lambda again: make_plan(again, ground.machine, sockets=state.run.path)
    )
    api = FleetApi(supervisor, reload.run)
    await api.server.start(path=state.socket)
    state.write()
    lookout = Lookout(partial(_keep_findable, state))
    _obey_signals(supervisor)

    def tidy() -> None:  # nobody sends to them now
        _remove_unplanned(ground, plan, {"replica"})

    try:
        await _live(supervisor, settings.fleet.ready_timeout_s, seen=seen, tidy=tidy, ready=ready)
    except EmbedfleetError:
        kept = {name for name, child in supervisor.children.items() if child.is_kept}
        await asyncio.to_thread(remove_all, ground.docker, keep=kept)
        raise
    else:
        # Stopped as it was told to: what had yet to be taken over goes as well.
        await asyncio.to_thread(remove_all, ground.docker)
        remove_folders(settings)
    finally:
        lookout.stop()
        await api.server.stop(1.0)


def _keep_findable(state: StateFile) -> None:
    """In a thread: have the fleet be seen and stopped, whatever is removed from its folder."""
    for path in state.mend():
        log.warning("%s was removed or written over, and is made again", path)


def _services_without_balancer(settings: Settings, ground: Ground) -> tuple[Service, ...]:
    """Services whose port nobody of ours holds: a container that is there already has it, and may keep it."""
    if ground.docker is None:
        return settings.services
    there = {c.service for c in ground.docker.ours() if c.kind == "balancer" and c.status == "running"}
    return tuple(service for service in settings.services if service.name not in there)


def _remove_unplanned(ground: Ground, plan: Sequence[ChildSpec], kinds: AbstractSet[str]) -> None:
    """Containers of ours of these kinds that the plan has no place for any more."""
    names = {spec.name for spec in plan}
    for container in ground.docker.ours() if ground.docker else ():
        if container.kind in kinds and container.name not in names:
            log.info("%s is no longer wanted", container.name)
            remove_container(ground.docker, container)


def _remove_deaf(settings: Settings, ground: Ground, plan: Sequence[ChildSpec]) -> None:
    """Gateways that run and cannot be told, for the folder that they shared with us has been replaced."""
    services = {spec.name: spec.service for spec in plan if spec.kind == "balancer"}
    for container in ground.docker.ours() if ground.docker else ():
        service = services.get(container.name, "")
        shares = any(each.name == service and each.options.balancer == "gateway" for each in settings.services)
        if shares and container.status == "running" and not GatewayFolder(gateway_folder(settings, service)).has_socket:
            log.info("%s cannot be told anything, and is made anew", container.name)
            remove_container(ground.docker, container)


def _make_supervisor(
    settings: Settings,
    ground: Ground,
    plan: Sequence[ChildSpec],
    environment: dict[str, str],
    listeners: Listeners,
    *,
    new_model: bool,
) -> Supervisor:
    fleet = settings.fleet
    journal = journal_of(settings)
    # A gateway waits drain_s, then up to stop_grace_s for its clients; a little more is for the process itself.
    grace_s = fleet.drain_s + fleet.stop_grace_s + 5.0
    processes = ProcessDriver(journal, settings.root, environment, listeners)
    containers = _container_driver(settings, ground, journal, grace_s)
    drivers: dict[type[ChildSpec], Driver] = {ProcessSpec: processes, RemoteSpec: RemoteDriver()}
    if containers is not None:
        drivers[ContainerSpec] = containers
    supervisor: Supervisor

    def changed() -> None:
        supervisor.wake()

    balancers = {
        service.name: make_balancer(settings, service, ground.docker, plan, changed) for service in settings.services
    }
    supervisor = Supervisor(
        [(spec, drivers[type(spec)]) for spec in plan],
        balancers,
        journal,
        backoff=Backoff(first_s=fleet.restart_backoff_s, longest_s=fleet.restart_backoff_max_s),
        listeners=listeners,
        stop_grace_s=grace_s,
        hung_after_s={"replica": fleet.hung_after_s, "balancer": fleet.balancer_hung_after_s},
        new_model=new_model,
    )
    return supervisor


def _container_driver(settings: Settings, ground: Ground, journal: Journal, grace_s: float) -> ContainerDriver | None:
    if ground.docker is None or ground.engine is None:
        return None
    return ContainerDriver(
        ground.docker,
        request=ground.engine.device_request(settings.fleet.device_request) if ground.machine.gpus else "gpu",
        relabel=ground.engine.has_selinux,
        files=container_files(ground.engine),
        stop_grace_s=grace_s,
        said=journal.add,
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

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:  # under nohup
            continue
        asyncio.get_running_loop().add_signal_handler(number, obey)
