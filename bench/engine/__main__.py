"""``python -m bench.engine [--quick] [--rival NAME=URL] [--infinity VENV] [--sentence-transformers VENV]``: the engine.

The server has one core, the clients the other. The contestants serve all-MiniLM-L6-v2 in float32 with the same texts
and take turns round by round. A cell is a number of clients and of texts per request. The last line is one JSON object;
its ``ratios``:

- ``of_sgemm_peak``, ``of_sgemm_peak_1024``: operations on real tokens per second of CPU time, in one process, over
  those of numpy's fastest matrix product, for MiniLM on mixed real texts and for a random model of width 1024 at 128
  tokens (`bench.engine.peak`).
- ``of_sgemm_peak_http``: the same over HTTP at the busiest cell, by all of the server's CPU time; the products are
  measured on its core at intervals meanwhile.
- ``over_plain_ort``: tokens per second over a loop without HTTP in one process (`bench.engine.plain`), worst cell.
- ``over_padded``: tokens per second over a plain ONNX Runtime session of the ordinary padded graph behind the same HTTP
  server, with at most 8 texts a batch, worst cell (`bench.engine.padded_server`).
- ``over_NAME``: the same over a server that runs already, named by ``--rival NAME=URL``. It must serve all-MiniLM-L6-v2
  on one core, the server's: ``taskset -c 0 text-embeddings-router --model-id FOLDER --port 8080``, for example.
- ``over_infinity``, ``over_sentence_transformers``: tokens per second over a rival's, worst cell; ``..._mixed``: at 32
  texts of mixed length. Null for a rival that is not installed.
- ``two_over_one_process``: tokens per second of two engines on two cores over those of one engine on one core.
- ``second_replica_memory``: memory that a fleet's second engine adds, over the first one's, with weights already packed
  (`bench.engine.memory`); ``second_replica_memory_first_start``: the same if the first has just packed them.
- ``load_s``: seconds from the start of MiniLM's process to its first answer; ``load_over_imports``: the same over the
  time of a Python that imports the same libraries and reads the weights, with the weights packed already.

The whole run also loads a folder of bge-m3's shape, 2.2 GB of random weights, and reports seconds and heap memory.
Each contestant's vectors are compared with those of the plain loop before it is measured.

With ``--before`` only our engine is measured: this version and that of another checkout. Each round starts both anew
and asks them in turns: now, before, before, now; in the next round the other way round (`bench.measuring.paired`).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.engine import cells, figures
from bench.engine.cells import SERVER_CORE
from bench.engine.contestants import versions
from bench.engine.rivals import read_rival, require
from bench.measuring.paired import ROUNDS, table, told
from bench.measuring.report import missing, report, say
from bench.measuring.versions import versions as checkouts
from embedfleet.system.cgroup import cores


def main() -> None:
    """Run the command."""
    options = _options()
    if cores() < 2:
        missing("two cores are needed, one for the server and one for the client", "run it on a larger machine")
    require(options.rival)
    # The plain loop has one thread, as the peak has.
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OPENBLAS_NUM_THREADS": "1"}
    if options.before is not None:
        _tell_both(options)
        return
    rounds, seconds = (options.rounds or 1, 2.5) if options.quick else (options.rounds or 5, 6.0)
    say("in one process, over the core's peak")
    peak = _child("bench.engine.peak", *(("1.5", "2") if options.quick else ("4", "7")), core=SERVER_CORE)
    say("memory and load")
    memory = _memory(whole=not options.quick)
    # Imported late: libraries that this process maps would be deducted from the memory of engines that map them too.
    from bench.engine import contest  # noqa: PLC0415

    venvs = {"infinity": options.infinity, "sentence-transformers": options.sentence_transformers}
    measured = contest.measure(venvs, options.rival, _cells(options), rounds, seconds)
    say("over HTTP, over the core's peak")
    peak["of_sgemm_peak_http"] = contest.of_peak(figures.busiest(_cells(options)), rounds, seconds)
    say("two engines on two cores, and one on one")
    two = contest.two_over_one(3 if options.quick else 2 * rounds + 1, seconds)
    _tell(peak, memory, measured, two, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="about a minute without rivals")
    parser.add_argument(
        "--rounds", type=int, help=f"number of rounds; 5 by default, 1 with --quick, {ROUNDS} with --before"
    )
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="compare our engine with that of this checkout")
    parser.add_argument("--over-http", action="store_true", help="with --before: measure only over HTTP")
    known = [cell.name for cell in cells.WHOLE]
    cells_help = (
        f"cells to measure, some of {', '.join(known)}; by default all,"
        f" with --quick {', '.join(cell.name for cell in cells.QUICK)},"
        f" with --before {', '.join(cell.name for cell in cells.PAIRED)}"
    )
    parser.add_argument("--cells", nargs="+", choices=known, metavar="CELL", help=cells_help)
    parser.add_argument(
        "--rival",
        metavar="NAME=URL",
        type=read_rival,
        action="append",
        default=[],
        help="a server that runs already, such as tei=http://127.0.0.1:8080; may be given several times",
    )
    for name, has in (
        ("infinity", "infinity-emb"),
        ("sentence-transformers", "sentence-transformers, fastapi and uvicorn"),
    ):
        variable = f"{name.upper().replace('-', '_')}_VENV"
        parser.add_argument(
            f"--{name}",
            metavar="VENV",
            type=os.path.abspath,
            default=os.environ.get(variable),
            help=f"a virtual environment with {has}; or ${variable}",
        )
    options = parser.parse_args()
    if len({server.name for server in options.rival}) < len(options.rival):
        parser.error("argument --rival: two rivals have the same name")
    for venv in filter(None, (options.infinity, options.sentence_transformers)):
        if not Path(venv, "bin", "python").exists():
            missing(
                f"{venv} is not a virtual environment",
                "make one: python3 -m venv VENV, then VENV/bin/pip install the packages that --help names",
            )
    return options


def _cells(options: argparse.Namespace) -> Sequence[cells.Cell]:
    if options.cells is None:
        return cells.QUICK if options.quick else cells.PAIRED if options.before else cells.WHOLE
    return [cell for cell in cells.WHOLE if cell.name in options.cells]


def _tell_both(options: argparse.Namespace) -> None:
    """Compare our engine with another version and report."""
    from bench.engine import before  # noqa: PLC0415 - slow to import

    rounds, seconds = (1, 0.5) if options.quick else (options.rounds or ROUNDS, 2.0)
    wanted = _cells(options)
    pairs = before.compare(checkouts(options.before), wanted, rounds, seconds, in_process=not options.over_http)
    say("\nnow over before\n" + table(pairs))
    report(**told(pairs), quick=options.quick)


def _child(module: str, *arguments: str, core: int | None = None) -> Any:  # noqa: ANN401 - JSON
    """Run a module of the benchmark in a separate process; returns its JSON output."""
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    command = [*pinned, sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _memory(*, whole: bool) -> dict[str, Any]:
    """Memory of MiniLM, three times in the whole run, and of a folder of bge-m3's shape."""
    looked = _child("bench.engine.memory", *["builtin"] * (3 if whole else 1))
    found = {name: statistics.median(look[name] for look in looked) for name in looked[0]}
    if not whole:
        return {"minilm": found, "bge_m3": None}
    with tempfile.TemporaryDirectory() as folder:
        size = _child("bench.engine.folders", f"{folder}/m3")
        os.sync()  # A page that waits to be written counts as dirty for each process that maps it.
        (look,) = _child("bench.engine.memory", f"{folder}/m3")
    return {"minilm": found, "bge_m3": look | {"weights_mb": size / 1e6}}


def _tell(
    peak: dict[str, Any],
    memory: dict[str, Any],
    measured: dict[str, dict[str, list[Any]]],
    two: float,
    options: argparse.Namespace,
) -> None:
    """Print the table and report."""
    plain = measured.pop("plain")
    rates = figures.medians(measured)
    for name, row in rates.items():
        say(f"{name:22} " + "  ".join(f"{cell} {rate:.0f}" for cell, rate in row.items()))
    rivals = ["infinity", "sentence_transformers", "padded", *(server.name for server in options.rival)]
    over = {rival: figures.over(measured, rival) for rival in rivals}
    over_plain = {
        cell: round(rate / statistics.median(plain[cell]), 3)
        for cell, rate in rates["engine"].items()
        if "mixed" not in cell
    }
    ratios = {
        "of_sgemm_peak": round(peak["of_sgemm_peak"], 3),
        "of_sgemm_peak_1024": round(peak["of_sgemm_peak_1024"], 3),
        "of_sgemm_peak_http": round(peak["of_sgemm_peak_http"], 3),
        "over_plain_ort": min(over_plain.values(), default=None),
        **{f"over_{name}": figures.least(over[name]) for name in rivals[2:]},
        "over_infinity": figures.least(over["infinity"]),
        "over_infinity_mixed": figures.least(over["infinity"], mixed=True),
        "over_sentence_transformers": figures.least(over["sentence_transformers"]),
        "over_sentence_transformers_mixed": figures.least(over["sentence_transformers"], mixed=True),
        "two_over_one_process": round(two, 3),
        "second_replica_memory": round(memory["minilm"]["next_start_second_replica_memory"], 3),
        "second_replica_memory_first_start": round(memory["minilm"]["first_start_second_replica_memory"], 3),
        "load_s": round(memory["minilm"]["load_s"], 3),
        "load_over_imports": round(memory["minilm"]["load_over_imports"], 3),
    }
    report(
        ratios=ratios,
        over_plain_ort=over_plain,
        **{f"over_{name}": row for name, row in over.items()},
        tokens_per_s={name: {cell: round(rate) for cell, rate in row.items()} for name, row in rates.items()},
        tokens_per_cpu_s=figures.per_cpu_second(measured),
        memory=memory,
        peak=peak,
        versions=_versions(options),
        quick=options.quick,
    )


def _versions(options: argparse.Namespace) -> dict[str, dict[str, str]]:
    """Versions of the installed rivals."""
    found = {}
    if options.infinity:
        found["infinity"] = versions(options.infinity, "infinity-emb", "torch", "sentence-transformers")
    if options.sentence_transformers:
        packages = ("sentence-transformers", "torch", "transformers", "fastapi", "uvicorn")
        found["sentence_transformers"] = versions(options.sentence_transformers, *packages)
    return found


if __name__ == "__main__":
    main()
