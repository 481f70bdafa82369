"""GPU types, their compute capability, and the image and tar of Text Embeddings Inference for each.

Tags and capabilities are those of TEI 1.9 (its README and `compute_cap.rs`). The names of the tars are those that
users have in ``tei-images/``.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from embedfleet.errors import UsageError

TAR = "text-embeddings-inference-{}.tar"


@dataclass(frozen=True, slots=True)
class GpuFamily:
    """The GPUs that one image is built for.

    Attributes:
        name: Common name of the family, which also stands in the name of its tar.
        capability: Ten times the compute capability; 0 for the CPU.
        prefix: Prefix of the image's tag.
        types: Names of its GPUs, in the form that `plain` returns.
        flash_attention: Whether TEI may use flash attention; on Turing it returns NaN (TEI pull request 896).
    """

    name: str
    capability: int
    prefix: str
    types: tuple[str, ...]
    flash_attention: bool = True

    @property
    def tar(self) -> str:
        """The usual name of the image's tar."""
        return TAR.format(self.name)

    def image(self, repository: str, version: str) -> str:
        """Return the reference of the image."""
        return f"{repository}:{self.prefix}{version}"


CPU = GpuFamily("cpu", 0, "cpu-", ("CPU",))
FAMILIES = (
    GpuFamily("turing", 75, "turing-", ("T4", "RTX2060", "RTX2070", "RTX2080", "RTX2080TI"), flash_attention=False),
    GpuFamily("ampere80", 80, "", ("A100", "A30")),
    GpuFamily(
        "ampere86", 86, "86-", ("A10", "A10G", "A16", "A40", "RTX3060", "RTX3070", "RTX3080", "RTX3090", "RTXA6000")
    ),
    GpuFamily(
        "adalovelace", 89, "89-", ("L4", "L40", "L40S", "RTX4060", "RTX4070", "RTX4080", "RTX4090", "RTX6000ADA")
    ),
    GpuFamily("hopper", 90, "hopper-", ("H100", "H200", "H800", "GH200")),
    GpuFamily("blackwell100", 100, "100-", ("B200", "GB200")),
    GpuFamily("blackwell120", 120, "120-", ("RTX5060", "RTX5070", "RTX5080", "RTX5090", "RTXPRO6000")),
    CPU,
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as its driver reports it.

    Attributes:
        index: Number of the GPU on this machine.
        uuid: Unique id, by which a container requests the GPU.
        name: Name of the model, such as ``Tesla T4``.
        capability: Ten times the compute capability.
        memory_bytes: Total memory, in bytes; 0 if unknown.
        free_bytes: Free memory when the driver was asked, in bytes.
        processes: Ids of the processes that use it.
    """

    index: int
    uuid: str
    name: str
    capability: int
    memory_bytes: int
    free_bytes: int
    processes: tuple[int, ...] = ()


def plain(name: str) -> str:
    """Reduce a GPU's name to its type, without maker, memory and form: ``NVIDIA A100-SXM4-80GB`` → ``A100``."""
    text = re.sub(r"[-_\s]", "", re.sub(r"[-\s]\d+\s?GB\b", "", name.upper()))
    for word in ("NVIDIA", "GEFORCE", "TESLA", "QUADRO"):
        text = text.replace(word, "")
    return re.sub(r"(PCIE|SXM\d?|NVL|HBM\d?E?|LAPTOPGPU|GENERATION)+$", "", text)


def family_of_type(name: str) -> GpuFamily:
    """Return the family of a GPU type.

    Raises:
        UsageError: The type is unknown; the hint lists the known ones.
    """
    wanted = plain(name)
    for family in FAMILIES:
        if wanted in family.types:
            return family
    known = ", ".join(kind for family in FAMILIES for kind in family.types)
    raise UsageError(f"unknown GPU type {name}", f"known: {known}; omit the type to detect it")


def placeholder_gpus(name: str) -> tuple[Gpu, ...]:
    """Return a placeholder GPU of a type, for judging models; empty for the CPU or an unknown type."""
    capability = next((family.capability for family in FAMILIES if plain(name) in family.types), 0)
    return (Gpu(0, "none", name, capability, 0, 0),) if capability else ()


def family_of(gpu: Gpu) -> GpuFamily:
    """Return the family of a GPU by its compute capability.

    Raises:
        UsageError: TEI has no image for it.
    """
    for family in FAMILIES:
        if family.capability == gpu.capability:
            return family
    known = ", ".join(str(family.capability / 10) for family in FAMILIES if family.capability)
    raise UsageError(
        f"GPU {gpu.index} ({gpu.name}) has compute capability {gpu.capability / 10}, for which TEI has no image",
        f"there are images for {known}; leave this GPU out with `devices`, or set `image`",
    )


def select(gpus: Sequence[Gpu], wanted: Sequence[str] | str) -> tuple[Gpu, ...]:
    """Return the GPUs that a service may use.

    Args:
        gpus: GPUs of the machine.
        wanted: Indices or UUIDs, or ``auto`` for all GPUs.

    Raises:
        UsageError: A GPU does not exist, or is named twice.
    """
    if isinstance(wanted, str):
        return tuple(gpus)
    by_name = {str(gpu.index): gpu for gpu in gpus} | {gpu.uuid: gpu for gpu in gpus}
    for name in wanted:
        if name not in by_name:
            there = ", ".join(f"{gpu.index} ({gpu.uuid})" for gpu in gpus) or "none"
            raise UsageError(f"there is no GPU {name}", f"GPUs of this machine: {there}")
    chosen: dict[str, str] = {}
    for name in wanted:
        uuid = by_name[name].uuid
        if uuid in chosen:
            raise UsageError(
                f"`devices` names GPU {by_name[name].index} ({uuid}) twice, as {chosen[uuid]} and {name}",
                "name each GPU once; `replicas` puts several on one",
            )
        chosen[uuid] = name
    return tuple(by_name[name] for name in wanted)
