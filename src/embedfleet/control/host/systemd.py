"""The systemd unit that starts the fleet at boot: it waits for the GPUs, then runs ``up``.

Docker's own restart policy is not enough: a container that starts before the driver or the device list is ready fails,
and the daemon does not try again (NVIDIA/nvidia-docker issue 526, nixpkgs issue 353059).
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
    """Return the text of the unit.

    Args:
        program: Command that runs our verbs; its first word is an absolute path.
        folder: Folder of fleet.toml, models and image tars.
        arguments: Arguments of ``up``; ``reload`` gets those of them that locate the settings.
        environment: Variables by name.
        uuids: UUIDs of the GPUs to wait for, which the driver showed at installation.
        wait_s: Longest wait for the GPUs, in seconds.

    Raises:
        UsageError: systemd cannot represent the folder's path.
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
# SIGTERM drains and stops the fleet; its settings limit how long that takes, so systemd waits.
TimeoutStartSec={wait_s + 60}
TimeoutStopSec=infinity
# Open files: one per client and per connection to a replica. Each process raises its limit to this.
LimitNOFILE=524288
KillMode=mixed
# Restart even after an error in the settings: a mount or a port that is missing at boot may appear later.
Restart=on-failure
RestartSec=10

[Install]
WantedBy=multi-user.target
"""


def _argument(text: str) -> str:
    """Quote an argument of a command line, where systemd would otherwise replace variables."""
    return _quote(text).replace("$", "$$")


def _quote(text: str) -> str:
    """Put a word of a unit in double quotes, with systemd's escapes; % would start a specifier."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + "".join(char if char.isprintable() else _escape(char) for char in escaped) + '"'


def _escape(char: str) -> str:
    """Escape a character that is not printable, byte by byte."""
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogateescape"))


def _path(path: Path) -> str:
    """Escape a path that is the rest of a line, where systemd reads no quotes.

    Raises:
        UsageError: systemd would not read it as this path.
    """
    text = str(path)
    if not text.isprintable() or text.strip() != text or text.endswith("\\"):
        raise UsageError(
            f"a systemd unit cannot contain the path {text!r}", "rename the folder, or move the fleet elsewhere"
        )
    return text.replace("%", "%%")
