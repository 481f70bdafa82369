"""The container engine behind a Docker socket, which is Docker or Podman, and its abilities."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from embedfleet.errors import DockerError

DeviceRequest = Literal["gpu", "cdi"]

_NEEDS_PODMAN = (5, 4)  # older versions ignore device requests of the Docker API


@dataclass(frozen=True, slots=True)
class ContainerEngine:
    """The container engine at the socket.

    Attributes:
        name: Program: ``docker`` or ``podman``.
        version: Version, such as ``27.3.1``.
        is_rootless: Whether it runs without root; this machine then cannot reach the addresses of containers.
        has_nvidia_runtime: Whether a runtime named ``nvidia`` is configured.
        has_cdi_gpus: Whether the daemon lists NVIDIA GPUs among its CDI devices.
        has_selinux: Whether SELinux labels would keep containers from their mounts.
        has_containerd_store: Whether an image's id is the digest of its manifest, not of its configuration.
        root: Folder of the daemon's data.
    """

    name: str
    version: str
    is_rootless: bool
    has_nvidia_runtime: bool
    has_cdi_gpus: bool
    has_selinux: bool
    has_containerd_store: bool
    root: str

    @classmethod
    def of(cls, version: Mapping[str, Any], info: Mapping[str, Any]) -> "ContainerEngine":
        """Read the daemon's answers to ``/version`` and ``/info``."""
        components = [component for component in version.get("Components") or [] if "Name" in component]
        podman = next((c for c in components if "podman" in c["Name"].lower()), None)
        security = " ".join(info.get("SecurityOptions") or [])
        devices = [str(device.get("ID", "")) for device in info.get("DiscoveredDevices") or []]
        return cls(
            name="podman" if podman else "docker",
            version=str((podman or version).get("Version", "")),
            is_rootless="rootless" in security,
            has_nvidia_runtime="nvidia" in (info.get("Runtimes") or {}),
            has_cdi_gpus=any(device.startswith("nvidia.com/gpu") for device in devices),
            has_selinux="selinux" in security,
            has_containerd_store="io.containerd.snapshotter" in str(info.get("DriverStatus") or ""),
            root=str(info.get("DockerRootDir", "")),
        )

    def device_request(self, wanted: str) -> DeviceRequest:
        """Choose the form of the request for a GPU: as set, else CDI where nothing else works.

        Raises:
            DockerError: This engine would silently start the container without the GPU.
        """
        if self.name == "podman" and major_minor(self.version) < _NEEDS_PODMAN:
            raise DockerError(
                f"Podman {self.version} ignores requests for GPUs over its Docker API",
                "use Podman 5.4 or newer",
            )
        if wanted in {"gpu", "cdi"}:
            return "gpu" if wanted == "gpu" else "cdi"
        return "cdi" if self.name == "podman" or (self.has_cdi_gpus and not self.has_nvidia_runtime) else "gpu"


def major_minor(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version: ``5.4.0-rc1`` → ``(5, 4)``."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
