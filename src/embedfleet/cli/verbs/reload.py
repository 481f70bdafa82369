"""``embedfleet reload``: restarts the gateways of a running fleet without losing a request."""

from typing import Any

import click

from embedfleet.cli.flags import fleet_flags, given_flags, read_sound_settings
from embedfleet.cli.output import say
from embedfleet.cli.query import ask
from embedfleet.cli.replica import end_without_fleet
from embedfleet.control.run.fleet_lock import FleetLock
from embedfleet.control.run.reload import Replaced
from embedfleet.errors import UsageError

_WHERE = ("--config=", "--state-dir=")  # flags that name the fleet


@click.command("reload")
@click.option("--timeout", "timeout_s", default=300.0, show_default=True, help="longest wait, in seconds")
@fleet_flags("state_dir", takes_all=False)
def command(timeout_s: float, **flags: Any) -> None:  # noqa: ANN401
    """Restart every gateway that is a process, with the present code and settings.

    Each gateway serves until its successor serves with as many replicas. Connected clients still get their next answer,
    and the port never closes. The fleet reads its settings again from the place where `up` read them, with the flags of
    `up`. Changes of gateway settings and of drain_s take effect. If another setting has changed, nothing is restarted.
    """
    _refuse_settings(flags)
    lock = FleetLock(read_sound_settings(flags).state_dir)
    answer = ask(lock, "POST", "/reload", timeout_s)
    if answer is None:
        end_without_fleet(lock)
    for each in (Replaced(**row) for row in answer["replaced"]):
        place = f" in the place of {each.before}" if each.before else ""
        say(f"{each.service}: process {each.pid} serves{place}, after {each.seconds} s")


def _refuse_settings(flags: dict[str, Any]) -> None:
    """Refuse flags that set settings, because the fleet reads its settings itself.

    Raises:
        UsageError: There are such flags.
    """
    others = [flag for flag in given_flags(flags) if not flag.startswith(_WHERE)]
    if others:
        raise UsageError(
            f"reload takes no settings as flags, but got {' '.join(others)}",
            "write them into fleet.toml; the flags of `up` still hold",
        )
