"""Paths of the folders below the state folder that containers see, and of the files in them."""

from pathlib import Path

from embedfleet.config.settings import Settings

GATEWAY_SOCKET = "admin.sock"
"""Name of a gateway's admin socket in its folder."""
GATEWAY_MEMBERS = "members.json"
"""Name of the file in a gateway's folder that lists its replicas."""
GATEWAY_ANSWERS = "answers"
"""Name of the file that keeps a gateway's cache, in a folder of its own."""


def nginx_folder(settings: Settings, service: str) -> Path:
    """Return the folder with the configuration of a service's nginx."""
    return settings.state_dir / "nginx" / service


def gateway_folder(settings: Settings, service: str) -> Path:
    """Return the folder that a service's gateway in a container shares with this machine."""
    return settings.state_dir / "gateway" / service


def answers_folder(settings: Settings, service: str) -> Path:
    """Return the folder in which a service's gateway keeps its cache over restarts."""
    return settings.state_dir / "answers" / service


def assemblies_folder(settings: Settings) -> Path:
    """Return the folder of the corrected model folders that TEI sees in place of the original ones."""
    return settings.state_dir / "tei"
