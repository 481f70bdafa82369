"""The facts about a machine that decide the plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from embedfleet.control.host.gpu import Gpu
from embedfleet.control.tei.model import TeiModel


@dataclass(frozen=True, slots=True)
class Machine:
    """The part of a survey that decides the children of a fleet.

    Attributes:
        cores: Cores that the fleet may use.
        gpus: GPUs that the fleet may use; empty if the settings rule GPUs out.
        driver_version: Version of the NVIDIA driver; empty without one.
        has_own_image: Whether this project's image is in the daemon or in a tar, so that a gateway can be a container.
        can_reach_containers: Whether this process can connect to the address of a container. If it cannot, or if the
            gateway runs outside containers, replicas are published on the loopback address.
        tei_models: Model folders as TEI gets them, by service.
        model_digests: Digest of the content of the model folder, by service.
    """

    cores: int
    gpus: tuple[Gpu, ...] = ()
    driver_version: str = ""
    has_own_image: bool = False
    can_reach_containers: bool = True
    tei_models: Mapping[str, TeiModel] = field(default_factory=dict)
    model_digests: Mapping[str, str] = field(default_factory=dict)
