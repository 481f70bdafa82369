"""The fleet at boot: a systemd unit that waits for the GPUs, then runs ``up``.

Docker's own restart policy is not enough: a container whose driver or device list is not there yet when the daemon
comes up is left with an error and not tried again (NVIDIA/nvidia-docker issue 526, nixpkgs issue 353059).
"""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

NAME = "embedfleet.service"
FOLDER = Path("/etc/systemd/system")


def render_unit(
    *,
    python: str,
    folder: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    uuids: Sequence[str],
    wait_s: int,
) -> str:
    """The unit's text.

    Args:
        python: the interpreter that has embedfleet.
        folder: with fleet.toml, models and image tars.
        arguments: of ``up``.
        environment: for it.
        uuids: of the GPUs that must be there first: those that the driver shows at the installation.
        wait_s: for them.
    """
    command = f"{_quote(python)} -P -m embedfleet"
    variables = "".join(f"Environment={_quote(f'{name}={value}')}\n" for name, value in sorted(environment.items()))
    expected = "".join(f" --uuid {_quote(uuid)}" for uuid in uuids)
    return f"""\
# Made by `embedfleet service install`; removed by `embedfleet service uninstall`.
[Unit]
Description=embedfleet: text embeddings and reranking
# Containers need the daemon; GPUs need the driver, and nvidia-persistenced loads it.
Wants=network-online.target docker.service nvidia-persistenced.service
After=network-online.target docker.service nvidia-persistenced.service

[Service]
Type=exec
WorkingDirectory={_path(folder)}
{variables}\
# The driver may come up after the daemon: wait until it shows the GPUs.
ExecStartPre={command} service wait --timeout-s {wait_s}{expected}
ExecStart={command} up{"".join(f" {_quote(argument)}" for argument in arguments)}
# SIGTERM drains and stops; how long that may take is a setting of the fleet's, so systemd waits for it.
TimeoutStartSec={wait_s + 60}
TimeoutStopSec=infinity
# Open files: one per client and per connection to a replica. Each process takes what is allowed.
LimitNOFILE=524288
KillMode=mixed
Restart=on-failure
RestartSec=10
# A fault in the settings does not mend itself.
RestartPreventExitStatus=2

[Install]
WantedBy=multi-user.target
"""


def _quote(text: str) -> str:
    """As a word of a unit's command line: systemd takes shell quotes, and has its own use for % and $."""
    return shlex.quote(text).replace("%", "%%").replace("$", "$$")


def _path(path: Path) -> str:
    return str(path).replace("%", "%%")
