"""``embedfleet render``: writes configuration files for an nginx that the user runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from embedfleet.cli.flags import read_settings, settings_flags
from embedfleet.cli.output import data, say
from embedfleet.control.balancers.service_balancer import peer_address, site_maker
from embedfleet.control.plan.nginx_conf import file_name, render_site
from embedfleet.control.plan.plan import make_plan
from embedfleet.control.plan.replica_placement import substrate_of
from embedfleet.control.plan.specs import RemoteSpec
from embedfleet.control.preflight.survey import survey_gpus
from embedfleet.errors import UsageError


@click.group("render")
def command() -> None:
    """Write configuration files for an nginx that you run yourself."""


@command.command("nginx", short_help="Write nginx-SERVICE.conf for each service.")
@click.option("--out", required=True, metavar="DIR", help="folder for nginx-SERVICE.conf; created if it does not exist")
@settings_flags
def nginx(out: str, **flags: Any) -> None:  # noqa: ANN401
    """Write one nginx-SERVICE.conf per service, for conf.d of an nginx container on the fleet's network."""
    settings = read_settings(flags)
    machine = survey_gpus(settings).machine
    plan = make_plan(settings, machine, sockets=Path("/nowhere"))
    sites: dict[str, str] = {}
    for service in settings.services:
        replicas = [spec for spec in plan if spec.service == service.name and spec.kind == "replica"]
        addresses = [peer_address(spec, inside=True) for spec in replicas]
        if substrate_of(service, machine.gpus) == "process":
            raise UsageError(
                f"the replicas of {service.name} are processes, whose ports change: a file cannot name them",
                f"set {service.name}.driver=docker, or name its servers in {service.name}.replicas",
            )
        listen = str(service.options.port) if isinstance(replicas[0], RemoteSpec) else "80"
        site = site_maker(service, listen, "/var/log/nginx/access.log")(addresses, [])
        sites[file_name(service.name)] = render_site(replace(site, is_maintained=False))
    _write(Path(out), sites)
    say("a replica that fails stays on these lists; `embedfleet up` with balancer = nginx removes such a replica")


def _write(folder: Path, files: dict[str, str]) -> None:
    """Write files into a folder, which is created if it does not exist.

    Raises:
        UsageError: The folder cannot be created, or a file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text)
            data(str(folder / name))
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be written: {error.strerror}", "give another --out") from error
