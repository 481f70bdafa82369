"""The fleet at boot: a systemd unit that waits for the GPUs, then runs ``up``.

Docker's own restart policy is not enough: a container whose driver or device list is not there yet when the daemon
comes up is left with an error and not tried again (NVIDIA/nvidia-docker issue 526, nixpkgs issue 353059).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from embedfleet.errors import UsageError

NAME = "embedfleet.service"
FOLDER = Path("/etc/systemd/system")


def render_unit(
    *,
    program: Sequence[str],
    folder: Path,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    uuids: Sequence[str],
    wait_s: int,
) -> str:
    """The unit's text.

    Args:
        program: what takes our verbs; first the absolute path of a file.
        folder: with fleet.toml, models and image tars.
        arguments: of ``up``; those of ``reload`` are what says where its settings are.
        environment: for it.
        uuids: of the GPUs that must be there first: those that the driver shows at the installation.
        wait_s: for them.

    Raises:
        UsageError: a unit cannot name the folder.
    """
    file, *rest = program
    command = " ".join([_quote(file), *map(_argument, rest)])
    variables = "".join(f"Environment={_quote(f'{name}={value}')}\n" for name, value in sorted(environment.items()))
    flags = "".join(f" {_argument(each)}" for each in arguments)
    where = "".join(f" {_argument(each)}" for each in arguments if each.startswith(("--config=", "--state-dir=")))
    expected = "".join(f" {_argument(f'--uuid={uuid}')}" for uuid in uuids)
    return f"""\
# Made by `embedfleet service install`; removed by `embedfleet service uninstall`.
[Unit]
Description=embedfleet: text embeddings and reranking
# Containers need the daemon; GPUs need the driver, and nvidia-persistenced loads it.
Wants=network-online.target docker.service nvidia-persistenced.service
After=network-online.target docker.service nvidia-persistenced.service
RequiresMountsFor={_quote(str(folder))}

[Service]
Type=exec
WorkingDirectory={_path(folder)}
{variables}\
# The driver may come up after the daemon: wait until it shows the GPUs.
ExecStartPre={command} service wait --timeout-s {wait_s}{expected}
ExecStart={command} up{flags}
ExecReload={command} reload{where}
# SIGTERM drains and stops; how long that may take is a setting of the fleet's, so systemd waits for it.
TimeoutStartSec={wait_s + 60}
TimeoutStopSec=infinity
# Open files: one per client and per connection to a replica. Each process takes what is allowed.
LimitNOFILE=524288
KillMode=mixed
# Whatever it fails of, a fault in the settings too: what is missing at boot, such as a mount or a port, may come yet.
Restart=on-failure
RestartSec=10

[Install]
WantedBy=multi-user.target
"""


def _argument(text: str) -> str:
    """As a word of a unit's command line after the first, where systemd puts variables in."""
    return _quote(text).replace("$", "$$")


def _quote(text: str) -> str:
    """As a word of a unit, in double quotes, with systemd's escapes; it has its own use for %."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + "".join(char if char.isprintable() else _escape(char) for char in escaped) + '"'


def _escape(char: str) -> str:
    """A character that is not to be seen, byte by byte."""
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def _path(path: Path) -> str:
    """As the rest of a line, which systemd takes as it is.

    Raises:
        UsageError: it would not be read as this path.
    """
    text = str(path)
    if not text.isprintable() or text.strip() != text or text.endswith("\\"):
        raise UsageError(f"systemd cannot be told of the folder {text!r}", "rename it, or move the fleet elsewhere")
    return text.replace("%", "%%")
