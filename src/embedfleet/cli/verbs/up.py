"""``embedfleet up``: start the fleet and keep it running."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

import click

from embedfleet.cli.flags import given_flags, read_settings, settings_flags
from embedfleet.cli.image_progress import ImageProgress
from embedfleet.cli.output import data, say
from embedfleet.cli.progress import Progress
from embedfleet.cli.query import ask, ask_status
from embedfleet.config.settings import Service, Settings
from embedfleet.control.host.disk import room
from embedfleet.control.plan.plan import Machine, make_plan
from embedfleet.control.preflight.check import refuse_blocked
from embedfleet.control.preflight.doctor import examine
from embedfleet.control.preflight.open_files import check_open_files
from embedfleet.control.preflight.room import check_memory, needs_of, see_memories
from embedfleet.control.preflight.survey import look, needs_containers, provide_images
from embedfleet.control.run.fleet import run_fleet
from embedfleet.control.run.fleet_folders import log_files_of, prepare_folders, provide_models
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.errors import FleetError, FleetSilent
from embedfleet.log import set_up
from embedfleet.system.cgroup import cores
from embedfleet.system.kernel_limits import most_open_files

_JSON = "-H 'Content-Type: application/json'"
_EXAMPLES = {
    "embed": f"""/embed -X POST -d '{{"inputs":"What is Deep Learning?"}}' {_JSON}""",
    "rerank": "/rerank -X POST -d "
    f"""'{{"query":"What is Deep Learning?","texts":["Deep Learning is not...","Deep learning is..."]}}' {_JSON}""",
}
_UP_LOG = "up"
_NOT_OTHERS = 0o022  # whatever the umask, nobody else may write what we read back
_NEEDS_DOCKER = 10  # run.sh asks


@click.command("up")
@click.option("--detach", "-d", is_flag=True, help="return once every replica serves; logs go to the state folder")
@click.option("--new-model", is_flag=True, help="replicas may have another model than their service had; see below")
@click.option("--needs-docker", is_flag=True, hidden=True, help="start nothing; exit with 10 if it takes containers")
@settings_flags
def command(detach: bool, new_model: bool, needs_docker: bool, **flags: Any) -> None:  # noqa: ANN401
    """Start every service and keep it running; Ctrl-C drains and stops all of it.

    While a fleet runs, a replica that comes back with other weights, another pooling or another prompt than the rest
    of its service is kept out. With --new-model the fleet that runs, or is started, is told that the change is meant:
    for ten minutes, the first replica of another model that infers makes that the service's, and those of the former
    one get nothing more until they have it too.
    """
    settings = read_settings(flags)
    if needs_docker:
        sys.exit(_NEEDS_DOCKER if needs_containers(settings) else 0)
    if new_model and ask(FleetLock(settings.state_dir), "POST", "/new-model") is not None:
        say("told the fleet that runs: the next replica of another model that infers is of its service's new model")
    elif detach:
        _detach(settings, given_flags(flags) + (("--new-model",) if new_model else ()))
    else:
        _run(settings, lambda: read_settings(flags), new_model=new_model)


def _run(settings: Settings, reread: Callable[[], Settings], *, new_model: bool) -> None:
    # The fleet's own log shares the terminal with the progress display: only what matters goes there.
    set_up("warning" if sys.stderr.isatty() else settings.fleet.log_level, settings.fleet.log_format)
    _end_by_signals()
    os.umask(os.umask(_NOT_OTHERS) | _NOT_OTHERS)
    state = FleetLock(settings.state_dir)
    state.acquire()  # first of all: loading images may take minutes, in which it must be seen and stopped
    try:
        _run_held(settings, reread, state, new_model=new_model)
    finally:
        state.release()
    say("stopped")


def _run_held(settings: Settings, reread: Callable[[], Settings], state: FleetLock, *, new_model: bool) -> None:
    if needs_containers(settings):
        checks = examine(settings)
    else:
        gateways = [service for service in settings.services if service.options.balancer == "gateway"]
        checks = [check_open_files(gateways, most_open_files()), check_memory(needs_of(settings, ()), see_memories())]
    for check in checks:
        if check.state == "warn":
            say(f"warning: {check.message} ({check.hint})")
    refuse_blocked(checks)
    ground = look(settings, cores=cores())
    say(_describe(ground.machine))
    plan = make_plan(settings, ground.machine, sockets=state.run.path)
    if ground.docker is not None:
        prepare_folders(settings)
        for line in provide_models(settings, ground):
            say(line)
        with ImageProgress() as transfer:
            provide_images(ground, plan, settings, transfer.show)

    def ready() -> None:
        progress.close()
        _announce(settings)
        say("\nCtrl-C drains and stops; logs are in " + str(log_files_of(settings).folder))

    with Progress() as progress:
        asyncio.run(
            run_fleet(
                settings,
                ground=ground,
                plan=plan,
                environment=dict(os.environ),
                state=state,
                seen=progress.show,
                ready=ready,
                reread=reread,
                new_model=new_model,
            )
        )


def _describe(machine: Machine) -> str:
    """What the fleet stands on, in one line."""
    if not machine.gpus:
        return "no GPU found: serving from the CPU" if not machine.driver else "serving from the CPU"
    names = Counter(gpu.name for gpu in machine.gpus)
    return "serving from " + ", ".join(f"{count} {name}" for name, count in names.items())


def _detach(settings: Settings, flags: tuple[str, ...]) -> None:
    """Run `up` with these flags in a session of its own, and wait for it to serve.

    Raises:
        FleetError: it ended instead.
    """
    state = FleetLock(settings.state_dir)
    state.acquire()  # say at once if a fleet runs already
    state.release()
    journal = log_files_of(settings)
    _end_by_signals()
    log = journal.open(_UP_LOG)
    began = os.fstat(log).st_size
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "embedfleet", "up", *flags],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    os.close(log)
    try:
        serves = _watch(process, state)
    except BaseException:  # Ctrl-C or SIGTERM: nobody was told that it serves, so nothing is left running
        process.terminate()
        process.wait()
        raise
    if serves:
        _announce(settings)
        return
    said = journal.since(_UP_LOG, began)
    for line in said:
        say(line)
    if process.returncode == 2 and said:
        sys.exit(2)
    path = journal.path(_UP_LOG)
    hint = f"see {path}" if said else f"it wrote nothing to {path}, on a disk with {room(path)}"
    raise FleetError(f"the fleet ended with code {process.returncode}", hint)


def _watch(process: subprocess.Popen[bytes], state: FleetLock) -> bool:
    """Show the fleet's progress until every replica serves, or the process has ended."""
    with Progress() as progress:
        while process.poll() is None:
            status = None
            with suppress(FleetSilent):
                status = ask_status(state)
            progress.show(status.states if status else {})
            if status and status.is_ready and status.pid == process.pid:  # another may have had the folder before
                return True
            time.sleep(0.1)
    return False


def _end_by_signals() -> None:
    """Have SIGTERM and SIGHUP end this process as Ctrl-C does, with what it has begun tidied up.

    A fleet that has started takes them itself. Under nohup SIGHUP stays ignored.
    """

    def end(number: int, frame: object) -> NoReturn:  # noqa: ARG001 - signal's signature
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)


def _announce(settings: Settings) -> None:
    for service in settings.services:
        host = "127.0.0.1" if service.options.host in {"0.0.0.0", "::"} else service.options.host
        host = f"[{host}]" if ":" in host else host
        data(f"{service.name}: http://{host}:{service.options.port}")
        data(f"  curl {host}:{service.options.port}{_EXAMPLES[_task(service)]}")


def _task(service: Service) -> str:
    """What an example should ask: as set, or as the name suggests where the model decides."""
    if service.engine.task != "auto":
        return service.engine.task
    return "rerank" if "rerank" in service.name else "embed"
