"""``embedfleet up``: starts the fleet and keeps it running."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, NoReturn

import click

from embedfleet.cli.environment import installation
from embedfleet.cli.flags import given_flags, read_settings, settings_flags
from embedfleet.cli.image_progress import ImageProgress
from embedfleet.cli.output import data, say
from embedfleet.cli.progress import Progress
from embedfleet.cli.query import ask, ask_status
from embedfleet.config.settings import Service, Settings
from embedfleet.control.docker.fleet_identity import FleetIdentity
from embedfleet.control.docker.images import provide_images
from embedfleet.control.host.disk import room
from embedfleet.control.plan.machine import Machine
from embedfleet.control.plan.replica_placement import has_gateway_processes
from embedfleet.control.plan.replica_placement import needs_docker as has_containers
from embedfleet.control.preflight.check_result import CheckResult, refuse_blocked
from embedfleet.control.preflight.cores_and_memory import check_memory, needs_of
from embedfleet.control.preflight.doctor import examine
from embedfleet.control.preflight.open_files import check_open_files, gateway_processes
from embedfleet.control.preflight.proposal import Proposal, propose
from embedfleet.control.preflight.survey import Survey, survey_gpus
from embedfleet.control.run.fleet import run_fleet
from embedfleet.control.run.fleet_folders import log_files_of, prepare_folders, provide_models
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.dialects.routes import path_of
from embedfleet.errors import FleetError, FleetSilent
from embedfleet.log import set_up

_JSON = "-H 'Content-Type: application/json'"
_EXAMPLES = {
    "embed": f"""{path_of("embed")} -X POST -d '{{"inputs":"What is Deep Learning?"}}' {_JSON}""",
    "rerank": f"{path_of('rerank')} -X POST -d "
    """'{"query":"What is Deep Learning?","texts":["Paris is in France.","Deep learning trains neural networks."]}'"""
    f" {_JSON}",
}
_UP_LOG = "up"
_NOT_OTHERS = 0o022  # added to the umask: only the owner may write the files that are read back
_NEEDED = 10  # exit code that run.sh knows


@click.command("up")
@click.option("--detach", "-d", is_flag=True, help="return once every replica serves; write logs to the state folder")
@click.option("--new-model", is_flag=True, help="allow replicas to serve another model than before, as described above")
@click.option(
    "--needs-docker", is_flag=True, hidden=True, help="start nothing; exit with 10 if the fleet has containers"
)
@click.option(
    "--needs-compiler", is_flag=True, hidden=True, help="start nothing; exit with 10 if gateways are to be compiled"
)
@settings_flags
def command(detach: bool, new_model: bool, needs_docker: bool, needs_compiler: bool, **flags: Any) -> None:  # noqa: ANN401
    """Start every service and keep it running; Ctrl-C drains and stops the fleet.

    While a fleet runs, a replica that restarts with other weights, another pooling or another prompt than the rest of
    its service gets no requests. --new-model allows the change, in the running fleet or in the one that starts: within
    the next ten minutes, the first replica that infers with another model sets the model of its service. Replicas of
    the former model then get no requests until they serve the new one.
    """
    settings = read_settings(flags)
    if needs_docker:
        sys.exit(_NEEDED if has_containers(settings, survey_gpus(settings).machine.gpus) else 0)
    if needs_compiler:
        gpus = survey_gpus(settings).machine.gpus
        sys.exit(_NEEDED if settings.fleet.compile == "auto" and has_gateway_processes(settings, gpus) else 0)
    if new_model and ask(FleetLock(settings.state_dir), "POST", "/new-model") is not None:
        say("the running fleet allows a new model: the next replica that infers with one sets the model of its service")
    elif detach:
        _detach(settings, given_flags(flags) + (("--new-model",) if new_model else ()))
    else:
        _run(settings, lambda: read_settings(flags), new_model=new_model)


def _run(settings: Settings, reread: Callable[[], Settings], *, new_model: bool) -> None:
    # The log shares the terminal with the progress display, so only warnings and errors go there.
    set_up("warning" if sys.stderr.isatty() else settings.fleet.log_level, settings.fleet.log_format)
    _end_by_signals()
    os.umask(os.umask(_NOT_OTHERS) | _NOT_OTHERS)
    state = FleetLock(settings.state_dir)
    state.acquire()  # first of all: images may load for minutes, and `status` and `down` must find this fleet
    try:
        _run_held(settings, reread, state, new_model=new_model)
    finally:
        state.release()
    say("stopped")


def _run_held(settings: Settings, reread: Callable[[], Settings], state: FleetLock, *, new_model: bool) -> None:
    """Survey the machine, plan the fleet, check both, and run the fleet; this process holds the state folder."""
    proposal = propose(settings, sockets=state.run.path)
    proposal.survey.require_gpus()
    for check in (checks := _checks(proposal)):
        if check.state == "warn":
            say(f"warning: {check.message} ({check.hint})")
    refuse_blocked(checks)
    if proposal.fault is not None:
        raise proposal.fault
    say(_describe(proposal.survey.machine))
    survey = _own_containers(settings, proposal.survey)
    if survey.docker is not None:
        prepare_folders(settings)
        for line in provide_models(settings, survey):
            say(line)
        with ImageProgress() as transfer:
            provide_images(survey.docker, settings, proposal.containers, transfer.show)

    def ready() -> None:
        progress.close()
        _announce(settings)
        say("\nCtrl-C drains and stops; logs are in " + str(log_files_of(settings).folder))

    with Progress() as progress:
        asyncio.run(
            run_fleet(
                settings,
                survey=survey,
                plan=list(proposal.plan),
                environment=dict(os.environ),
                state=state,
                seen=progress.show,
                ready=ready,
                reread=reread,
                installation=installation(),
                new_model=new_model,
            )
        )


def _checks(proposal: Proposal) -> list[CheckResult]:
    """Run the checks before a start: every check of the doctor for containers, two for a fleet of processes."""
    settings, survey = proposal.settings, proposal.survey
    if has_containers(settings, survey.machine.gpus):
        return examine(proposal)
    return [
        check_open_files(gateway_processes(settings, survey.machine), survey.resources.open_files),
        check_memory(needs_of(settings, survey), survey.resources.memories),
    ]


def _own_containers(settings: Settings, survey: Survey) -> Survey:
    """Give a fleet with containers an id if it has none, so that their labels prove that they are its own."""
    if survey.docker is None:
        return survey
    return replace(survey, docker=replace(survey.docker, fleet=FleetIdentity.create(settings)))


def _describe(machine: Machine) -> str:
    """Return a line about the devices on which the fleet serves."""
    if not machine.gpus:
        return "no GPU found: serving from the CPU" if not machine.driver_version else "serving from the CPU"
    names = Counter(gpu.name for gpu in machine.gpus)
    return "serving from " + ", ".join(f"{count} {name}" for name, count in names.items())


def _detach(settings: Settings, flags: tuple[str, ...]) -> None:
    """Run `up` with these flags in a session of its own, and wait until the fleet serves.

    Raises:
        UsageError: A fleet runs already in this folder, or the folder cannot be written.
        FleetError: The fleet ended before it served.
    """
    state = FleetLock(settings.state_dir)
    state.acquire()  # raises UsageError if a fleet runs already
    state.release()
    log_files = log_files_of(settings)
    _end_by_signals()
    log = log_files.open(_UP_LOG)
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
    except BaseException:  # Ctrl-C or SIGTERM: the fleet was not announced, so nothing may be left running
        process.terminate()
        process.wait()
        raise
    if serves:
        _announce(settings)
        say(f"\n`embedfleet down` drains and stops; logs are in {log_files.folder}")
        return
    lines = log_files.since(_UP_LOG, began)
    for line in lines:
        say(line)
    if process.returncode == 2 and lines:
        sys.exit(2)
    path = log_files.path(_UP_LOG)
    hint = f"see {path}" if lines else f"it wrote nothing to {path}, on a disk with {room(path)}"
    raise FleetError(f"the fleet ended with code {process.returncode}", hint)


def _watch(process: subprocess.Popen[bytes], state: FleetLock) -> bool:
    """Show the fleet's progress; return whether every replica serves, or False once the process has ended."""
    with Progress() as progress:
        while process.poll() is None:
            status = None
            with suppress(FleetSilent):
                status = ask_status(state)
            progress.show(status.states if status else {})
            if (
                status and status.is_ready and status.pid == process.pid
            ):  # else an earlier fleet of this folder still answers
                return True
            time.sleep(0.1)
    return False


def _end_by_signals() -> None:
    """Make SIGTERM and SIGHUP end this process as Ctrl-C does, so that it tidies up.

    A fleet that has started handles these signals itself. Under nohup SIGHUP stays ignored.
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
    """Return the task of the printed example: as set, else as the service's name suggests."""
    if service.engine.task != "auto":
        return service.engine.task
    return "rerank" if "rerank" in service.name else "embed"
