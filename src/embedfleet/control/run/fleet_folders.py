"""Folders of a fleet: its logs, and the folders of this machine that containers see."""

from collections.abc import Iterator

from embedfleet.config.settings import Settings
from embedfleet.control.balancers.gateway_folder import GatewayFolder
from embedfleet.control.host.disk import reason_of
from embedfleet.control.host.log_files import LogFiles
from embedfleet.control.plan.state_folders import answers_folder, assemblies_folder, gateway_folder, nginx_folder
from embedfleet.control.preflight.survey import Survey
from embedfleet.control.tei.assembly import provide_assembly, remove_assemblies
from embedfleet.errors import UsageError


def log_files_of(settings: Settings) -> LogFiles:
    """Return the log files of a fleet."""
    return LogFiles(settings.state_dir / "logs")


def prepare_folders(settings: Settings) -> None:
    """Create the folders that containers see, because the daemon would create missing ones as root."""
    (settings.root / settings.fleet.data_dir).mkdir(parents=True, exist_ok=True)
    for service in settings.services:
        nginx_folder(settings, service.name).mkdir(parents=True, exist_ok=True)
        GatewayFolder(gateway_folder(settings, service.name)).prepare()
        if service.gateway.gateway_cache_keep:
            GatewayFolder(answers_folder(settings, service.name)).prepare()


def provide_models(settings: Settings, survey: Survey) -> Iterator[str]:
    """Write the corrected model folders for TEI; yield a line for each model that needed a correction or a note.

    Raises:
        UsageError: A folder cannot be written.
    """
    for service, found in survey.machine.tei_models.items():
        if found.assembly is not None:
            above = assemblies_folder(settings)
            try:
                provide_assembly(above, found.assembly)
            except OSError as error:
                raise UsageError(f"{above} cannot be written: {reason_of(error, above)}", "set state_dir") from error
        if found.verdict.changes or found.verdict.notes:
            yield f"{service}: TEI {settings.fleet.tei_version} {found.verdict}"


def remove_unused_models(settings: Settings, survey: Survey) -> None:
    """Remove the corrected model folders, except those of the present models."""
    models = survey.machine.tei_models.values()
    remove_assemblies(assemblies_folder(settings), [each.assembly.key for each in models if each.assembly is not None])


def remove_folders(settings: Settings) -> None:
    """Remove the folders that only containers saw, once no container is left."""
    remove_assemblies(assemblies_folder(settings))
    for service in settings.services:
        GatewayFolder(gateway_folder(settings, service.name)).remove()
