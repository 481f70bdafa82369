"""GPU types by name, and whether the machine has any."""

from pathlib import Path

from embedfleet.errors import UsageError

TYPES = (
    *("T4", "RTX2060", "RTX2070", "RTX2080"),
    *("A100", "A30", "A10", "A10G", "A40", "A16", "RTX3060", "RTX3070", "RTX3080", "RTX3090"),
    *("L4", "L40", "L40S", "RTX4060", "RTX4070", "RTX4080", "RTX4090", "RTX6000ADA"),
    *("H100", "H200", "GH200"),
    *("B200", "GB200", "RTX5060", "RTX5070", "RTX5080", "RTX5090"),
)
"""GPU types that Text Embeddings Inference has images for (TEI 1.9, README)."""


def check_type(name: str) -> None:
    """Refuse a GPU type, known or not: until replicas can be containers there is nothing to run on it.

    Raises:
        UsageError: always.
    """
    plain = name.upper().replace("-", "").replace(" ", "").removeprefix("NVIDIA").replace("GEFORCE", "")
    if plain not in TYPES:
        known = ", ".join(TYPES)
        raise UsageError(f"{name} is no GPU type that is known", f"known: {known}; none at all serves from the CPU")
    raise UsageError(
        f"serving from a GPU ({plain}) is not in this version: it needs replicas in containers, which come next",
        "leave the GPU type away to serve from the CPU",
    )


def has_gpu(root: Path = Path("/")) -> bool:
    """Whether the NVIDIA driver shows a GPU."""
    drivers = root / "proc/driver/nvidia/gpus"
    return (drivers.is_dir() and any(drivers.iterdir())) or any((root / "dev").glob("nvidia[0-9]*"))
