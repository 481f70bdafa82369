"""``python -m bench.gpu``: check and measure the engine on one NVIDIA GPU, in at most five minutes.

- ``families``: every model family in float32, float16 and bfloat16, compared with float32 on the CPU;
- ``engine``, ``sentence-transformers``, ``tei``: tokens per second of our engine and of the rivals that are installed:
  sentence-transformers in this Python, TEI as the program ``text-embeddings-router`` or as an image in the local Docker
  daemon;
- ``replicas``: tokens per second of one, two and more engines on the GPU, and how many of them pay.

Each step is a process with a time limit. A step that fails or is late is named in the result with its error, and the
others go on. The result is a Markdown file for the README; the last line of the output is one JSON object. The exit
code is 1 if a family's numbers are wrong or none was compared.
"""

import argparse
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from bench.gpu.budget import SHARES, limit_s
from bench.gpu.steps import run_step
from bench.gpu.table import Outcome, families_line, markdown, recommendation
from bench.measuring.report import missing, report, say

_RUN_S = 290.0
_PRECISION = {"cuda": "float16", "cpu": "float32"}


def main() -> None:
    """Run the command."""
    began = time.monotonic()
    options = _options()
    outcomes: dict[str, Outcome] = {}
    for step in options.steps:
        limit = limit_s(step, options.steps, options.seconds - (time.monotonic() - began))
        say(f"{step}: at most {limit:.0f} s")
        outcomes[step] = run_step(_command(step, options, limit), limit, min(10.0, limit / 5))
        done = outcomes[step]
        say(f"{step}: {len(done.rows)} rows in {done.seconds:.0f} s" + (f"; {done.error}" if done.error else ""))
    page = markdown(outcomes, _facts(options))
    options.output.write_text(page + "\n")
    say(f"\n{page}\n{options.output} has this table")
    report(
        outcomes={step: {"rows": done.rows, "error": done.error} for step, done in outcomes.items()},
        families=families_line(outcomes["families"]) if "families" in outcomes else None,
        replicas_per_gpu=recommendation(outcomes["replicas"]) if "replicas" in outcomes else None,
        took_s=round(time.monotonic() - began, 1),
    )
    if "families" in outcomes and not _are_right(outcomes["families"]):
        sys.exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0", help="cuda:0 by default; cpu only shows that the steps run")
    parser.add_argument("--model", default="builtin", help="embedder that is measured: a folder, or builtin")
    parser.add_argument("--precision", help="precision of all contestants; float16 by default, float32 on a CPU")
    parser.add_argument("--seconds", type=float, default=_RUN_S, help=f"time of the whole run, {_RUN_S:.0f}")
    parser.add_argument("--steps", nargs="+", choices=list(SHARES), default=list(SHARES), help="steps to run")
    parser.add_argument("--families", nargs="+", help="families to compare; all by default")
    parser.add_argument("--most-replicas", type=int, default=4, help="largest number of replicas to try, 4")
    parser.add_argument("--output", type=Path, default=Path("gpu.md"), help="file to write; gpu.md by default")
    options = parser.parse_args()
    options.steps = [step for step in SHARES if step in options.steps]
    if find_spec("torch") is None:
        missing("PyTorch is not installed", "pip install 'embedfleet[torch]'")
    import torch  # noqa: PLC0415 - takes seconds, and the line above says what to do if it is missing

    kind = options.device.partition(":")[0]
    if kind not in _PRECISION:
        missing(f"device is {options.device!r}", "set --device to cuda:0, another cuda:N, or cpu")
    if kind == "cuda" and int(options.device.partition(":")[2] or 0) >= torch.cuda.device_count():
        missing(
            f"PyTorch {torch.__version__} sees {torch.cuda.device_count()} GPUs, so there is no {options.device}",
            "check nvidia-smi and install a PyTorch for CUDA; --device cpu shows that the steps run",
        )
    options.precision = options.precision or _PRECISION[kind]
    return options


def _command(step: str, options: argparse.Namespace, limit: float) -> list[str]:
    """The command of a step. A measurement takes a 16th of the step's time, since servers also have to start."""
    if step == "families":
        chosen = ["--families", *options.families] if options.families else []
        return ["bench.gpu.families", options.device, *chosen]
    common = ["--model", options.model, "--device", options.device, "--precision", options.precision]
    common += ["--seconds", f"{limit / 16:.2f}", "--start-s", f"{limit / 2:.1f}"]
    if step == "replicas":
        return ["bench.gpu.replicas", *common, "--most", str(options.most_replicas)]
    return ["bench.gpu.speed", step, *common]


def _are_right(outcome: Outcome) -> bool:
    return bool(outcome.rows) and all(row.get("is_right") for row in outcome.rows)


def _facts(options: argparse.Namespace) -> Mapping[str, str]:
    import torch  # noqa: PLC0415 - as above

    is_gpu = options.device.startswith("cuda")
    name = torch.cuda.get_device_name(options.device) if is_gpu else f"the CPU ({platform.machine()}), no GPU"
    packages = ("torch", "flash-attn", "sentence-transformers")
    return {
        "device": name,
        "model": f"{options.model}, {options.precision}",
        "versions": ", ".join(f"{package} {found}" for package in packages if (found := _version(package))),
        "command": f"`python -m bench.gpu {' '.join(sys.argv[1:])}`",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main()
