"""A whole fleet from start to end: locks, checks, supervisor, admin API, signals."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from embedfleet.config.settings import Settings
from embedfleet.control.api import FleetApi
from embedfleet.control.drivers.process import ProcessDriver
from embedfleet.control.journal import Journal
from embedfleet.control.plan import make_plan
from embedfleet.control.ports import check_ports
from embedfleet.control.reconcile import Backoff
from embedfleet.control.statefile import Address, StateFile, make_socket_folder
from embedfleet.control.supervisor import Supervisor, until_serving


def journal_of(settings: Settings) -> Journal:
    """The log files of a fleet."""
    return Journal(settings.state_dir / "logs")


async def run_fleet(
    settings: Settings,
    *,
    cores: int,
    environment: dict[str, str],
    seen: Callable[[dict[str, str]], None],
    ready: Callable[[], None],
) -> None:
    """Start everything, call ``ready`` once all replicas serve, and go on until SIGINT, SIGTERM or ``POST /stop``.

    Args:
        settings: in force.
        cores: of the machine.
        environment: for the children.
        seen: told the state of every replica while they load.
        ready: called once.

    Raises:
        UsageError: it cannot work as it was told to; nothing is left running.
        FleetError: the replicas were not ready in time; nothing is left running.
    """
    state = StateFile(settings.state_dir)
    state.acquire()
    sockets = make_socket_folder()
    try:
        check_ports(settings.services)
        supervisor = _make_supervisor(settings, cores, environment, sockets)
        api = FleetApi(supervisor)
        await api.server.start(path=str(sockets / "fleet.sock"))
        state.write(Address(os.getpid(), str(sockets / "fleet.sock")))
        _obey_signals(supervisor)
        await _live(supervisor, settings.fleet.ready_timeout_s, seen, ready)
        await api.server.stop(1.0)
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
        state.release()


def _make_supervisor(settings: Settings, cores: int, environment: dict[str, str], sockets: Path) -> Supervisor:
    fleet = settings.fleet
    journal = journal_of(settings)
    return Supervisor(
        make_plan(settings, cores=cores, sockets=sockets),
        ProcessDriver(journal, settings.root, environment),
        journal,
        backoff=Backoff(first_s=fleet.restart_backoff_s, longest_s=fleet.restart_backoff_max_s),
        # A gateway waits drain_s, then up to stop_grace_s for its clients; a little more is for the process itself.
        stop_grace_s=fleet.drain_s + fleet.stop_grace_s + 5.0,
    )


async def _live(
    supervisor: Supervisor, timeout_s: float, seen: Callable[[dict[str, str]], None], ready: Callable[[], None]
) -> None:
    running = asyncio.create_task(supervisor.run())
    loading = asyncio.create_task(until_serving(supervisor, timeout_s, seen))
    await asyncio.wait({running, loading}, return_when=asyncio.FIRST_COMPLETED)
    if not loading.done():
        loading.cancel()
    elif loading.exception() is None:
        ready()
    else:
        supervisor.stop()
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
