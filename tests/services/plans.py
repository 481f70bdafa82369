"""Plans of fleets, made of flags and of machines that are only records."""

from pathlib import Path

from embedfleet.config.load import load
from embedfleet.control.host.gpu import Gpu
from embedfleet.control.plan.machine import Machine
from embedfleet.control.plan.plan import make_plan
from embedfleet.control.tei.model import TeiModel
from embedfleet.control.tei.verdict import Verdict

T4S = tuple(Gpu(number, f"GPU-{number}", "Tesla T4", 75, 16 << 30, 15 << 30) for number in range(2))
AS_IT_IS = TeiModel(Verdict(max_input_length=8192))


def plan(cores: int = 2, **flags: str):
    settings = load(None, {}, {key.replace("__", "."): value for key, value in flags.items()})
    return {spec.name: spec for spec in make_plan(settings, Machine(cores), sockets=Path("/s"))}


def docker_plan(gpus=T4S, *, own_image: bool = True, reaches: bool = True, embedder: TeiModel = AS_IT_IS, **flags: str):
    settings = load(None, {}, {key.replace("__", "."): value for key, value in flags.items()})
    machine = Machine(
        16,
        gpus,
        "550.1",
        has_own_image=own_image,
        can_reach_containers=reaches,
        tei_models={"embedder": embedder, "reranker": AS_IT_IS},
    )
    return {spec.name: spec for spec in make_plan(settings, machine, sockets=Path("/s"))}


def flag(spec, name: str) -> str:
    (found,) = (word.removeprefix(f"{name}=") for word in spec.arguments if word.startswith(f"{name}="))
    return found
