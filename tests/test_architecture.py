"""The layers of ARCHITECTURE.md, as a test."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "embedfleet"

# A module may import its own area and any area on a lower line, never a higher or an equal one.
LAYERS = [
    {"__main__"},
    {"cli", "testing"},
    {"gateway", "control", "engine"},
    {"probe"},
    {"dialects"},
    {"http"},
    {"metrics", "log"},
    {"outlet", "kernel_limits", "cgroup", "heap", "lookout"},
    {"folder"},
    {"config"},
    {"types"},
    {"errors"},
    {"__init__"},
]
RANK = {area: rank for rank, areas in enumerate(LAYERS) for area in areas}

# Decisions, not effects: time, chance, files and sockets reach these as arguments.
PURE = (
    "errors",
    "types",
    "config.environment",
    "config.option",
    "config.settings",
    "dialects",
    "http.cors",
    "http.framing",
    "http.grammar",
    "http.head",
    "http.message",
    "engine.batching",
    "engine.dialogue",
    "engine.gathering",
    "engine.pooling",
    "engine.quantization",
    "engine.truncation",
    "engine.families",
    "engine.heads",
    "engine.info",
    "engine.layout",
    "engine.ops",
    "engine.output",
    "engine.pages",
    "engine.vertex",
    "gateway.dispatch",
    "gateway.forwarding",
    "gateway.membership",
    "gateway.nulls",
    "gateway.reply",
    "gateway.routes",
    "control.state",
    "control.reconcile",
    "control.liveness",
    "control.placement",
    "control.plan",
    "control.child",
    "control.gpu",
    "control.image_name",
    "control.nginx",
    "control.tei.config",
    "control.tei.family",
    "control.tei.folder",
    "control.tei.launch",
    "control.tei.length",
    "control.tei.modules",
    "control.tei.prompts",
    "control.tei.rotary",
    "control.tei.unread",
    "control.tei.verdict",
    "control.tei.weights",
)
EFFECTS = {"asyncio", "logging", "os", "socket", "subprocess", "threading", "time", "random"}

# What is heavy or touches the outside has one home.
HOMES = {
    "onnxruntime": {"engine.onnx_session"},
    "onnx": {"engine.onnx_graph", "engine.onnx_tensors"},
    "torch": {"engine.torch_backend", "engine.torch_ops"},
    "tokenizers": {"engine.tokenization"},
    "huggingface_hub": {"engine.source"},
    "uvloop": {"cli"},
    "docker": {"control.docker"},
    "pynvml": {"control.nvml"},
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(SOURCE.rglob("*.py")):
        name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        yield name.removesuffix(".__init__") or "__init__", ast.parse(path.read_text())


def imports() -> Iterator[tuple[str, str]]:
    for module, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((module, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{module}: write imports in full"
                yield from ((module, f"{node.module}.{alias.name}") for alias in node.names)


def within(module: str, places: set[str] | tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


def test_every_area_has_a_rank():
    assert {module.split(".")[0] for module, _ in modules()} <= set(RANK)


def test_imports_point_down():
    for module, target in imports():
        if target.startswith("embedfleet."):
            here, there = module.split(".")[0], target.split(".")[1]
            there = there if there in RANK else "__init__"  # a name of the package itself, such as its version
            assert here == there or RANK[here] < RANK[there], f"{module} imports {target}"


def test_pure_modules_have_no_effects():
    found = {module for module, _ in modules()}
    for pure in PURE:
        assert any(within(module, (pure,)) for module in found), f"{pure} is gone: take it off the list"
    for module, target in imports():
        if within(module, PURE):
            assert target.split(".")[0] not in EFFECTS, f"{module} imports {target}"


def test_what_is_heavy_stays_at_home():
    for module, target in imports():
        homes = HOMES.get(target.split(".")[0])
        assert homes is None or within(module, homes), f"{module} imports {target}"


def test_the_environment_is_read_in_config_alone():
    for module, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}:
                # The package itself only writes it: what keeps libraries from calling home.
                assert module.split(".")[0] in {"config", "cli", "__init__"}, f"{module} reads the environment"
