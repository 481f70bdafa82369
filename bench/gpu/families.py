"""``python -m bench.gpu.families DEVICE``: each family on a device, compared with float32 on the CPU.

Each family is a small model with seeded random weights. It runs on the paths of a GPU, once in a recorded pass and once
in one that is too long to be recorded. A line of JSON for each family and precision.

A difference is the norm of the difference of two outputs, over the norm of the output on the CPU. In the half
precisions the router of a mixture of experts may choose another expert for a token, so these are not compared.
"""

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from bench.fuzz.folders import make_files, write_files
from bench.gpu.models import FAMILIES
from embedfleet.arrays import Floats
from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.model.spec import ModelSpec, read_model
from embedfleet.engine.torch.backend import TorchBackend
from embedfleet.engine.torch.grids import power_of_two
from embedfleet.engine.torch.pass_shape import fixed_shapes
from embedfleet.engine.torch.variable_length import ByDefinition, choose, kernels_of_gpu

TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "bfloat16": 5e-2}
"""Largest difference of each precision."""
_EXPERTS = "nomic experts"
_MOST_TOKENS, _LONGEST = 256, 24
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def compare(device: str, families: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Compare families; yields a row for each family and precision."""
    place = torch.device(device)
    kernels = kernels_of_gpu() if place.type == "cuda" else (ByDefinition,)
    chosen = {name: choose(kernels, place, dtype) for name, dtype in _DTYPES.items()}
    for family in families:
        with TemporaryDirectory() as folder:
            write_files(Path(folder), make_files(FAMILIES[family]))
            spec = read_model(Path(folder))
            wanted = _results(_backend(spec, torch.device("cpu"), "float32"), spec)
            for precision, kernel in chosen.items():
                row = {"family": family, "precision": precision, "tolerance": TOLERANCES[precision]}
                if family == _EXPERTS and precision != "float32":
                    continue
                try:
                    backend = _backend(spec, place, precision, kernel=kernel, padded=power_of_two)
                    backend.record(fixed_shapes(_MOST_TOKENS, _LONGEST))
                    worst = _difference(_results(backend, spec), wanted)
                except Exception as error:  # noqa: BLE001 - the other rows are still of use
                    yield row | {"error": str(error).split("\n", 1)[0][:200]}
                    continue
                yield row | {
                    "difference": worst,
                    "recorded": bool(backend.recorded_shapes),
                    "kernel": kernel.name if kernel is not None else "none",
                    "is_right": worst <= TOLERANCES[precision],
                }


def _backend(spec: ModelSpec, device: torch.device, precision: str, **options: Any) -> TorchBackend:  # noqa: ANN401
    return TorchBackend(spec, Weights(spec.weights_file, spec.family.anchor), device, precision, **options)


def _results(backend: TorchBackend, spec: ModelSpec) -> list[Floats]:
    """All outputs of a batch that a recorded pass holds, and of one that none holds."""
    chance = np.random.default_rng(5)
    found: list[Floats] = []
    for longest, count in ((min(_LONGEST, spec.max_input_length), 9), (spec.max_input_length, 23)):
        lengths = chance.integers(1, longest + 1, count)
        lengths[0] = longest
        ids = chance.integers(0, spec.family.vocabulary, int(lengths.sum()))
        found += backend.forward(ids, np.zeros_like(ids), lengths, outputs_of(spec))
    return found


def _difference(found: Sequence[Floats], wanted: Sequence[Floats]) -> float:
    """Largest norm of the difference over the norm of an output; infinite if a number is not finite."""
    worst = 0.0
    for ours, theirs in zip(found, wanted, strict=True):
        if not np.isfinite(ours).all():
            return float("inf")
        worst = max(worst, float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)))
    return worst


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device")
    parser.add_argument("--families", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    torch.set_num_threads(1)
    for row in compare(options.device, options.families):
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
