"""The layers of ARCHITECTURE.md, as a test."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "embedfleet"
ARCHITECTURE = ROOT / "ARCHITECTURE.md"

# A module may import its own area and any area on a lower line, never a higher or an equal one.
LAYERS = [
    {"__main__"},
    {"cli", "testing"},
    {"simulation"},
    {"gateway", "control", "engine"},
    {"load"},
    {"probe"},
    {"dialects"},
    {"http"},
    {"own_code"},
    {"metrics", "log"},
    {"system"},
    {"model_folder"},
    {"config"},
    {"types", "arrays"},
    {"errors"},
    {"__init__"},
]

# The same within an area, by its folders and the files beside them.
SUB_LAYERS = {
    "cli": [
        {"verbs"},
        {"replica"},
        {"main", "flags", "image_progress", "progress", "query"},
        {"output", "environment", "child", "option_conversion", "gateway_respawner"},
    ],
    "gateway": [
        {"app"},
        {"admin", "probing", "entrance"},
        {"proxy"},
        {"cache"},
        {"requests"},
        {"listener", "calibration", "counters", "replica_log", "timer"},
        {"settings", "membership", "own_routes"},
        {"dispatch", "upstream"},
    ],
    "control": [
        {"run"},
        {"preflight"},
        {"balancers", "drivers"},
        {"docker"},
        {"plan"},
        {"tei"},
        {"models", "host"},
        {"lifecycle", "status"},
    ],
    "engine": [
        {"api"},
        {"engine"},
        {"loaded_model"},
        {"backends"},
        {"onnx", "torch"},
        {"batching"},
        {"text"},
        {"compute"},
        {"model"},
        {"families"},
        {"files", "settings"},
    ],
    "dialects": [
        {"serving", "request_texts", "coalescing", "error_reply"},
        {"routes"},
        {"splitting"},
        {"json_body"},
        {"serde"},
        {"parse_limits", "error_body"},
    ],
    "model_folder": [
        {"tokenizer_file"},
        {"slow_tokenizer"},
        {"slow_classes"},
        {"special_tokens"},
        {"config"},
        {"file"},
        {"keys"},
        {"file_names", "defaults", "sentencepiece"},
    ],
}


def ranks(layers: list[set[str]]) -> dict[str, int]:
    return {name: rank for rank, names in enumerate(layers) for name in names}


RANK = ranks(LAYERS)

# Decisions, not effects: time, chance, files and sockets reach these as arguments.
PURE = (
    "config.environment",
    "config.option",
    "config.settings",
    "control.docker.image_name",
    "control.host.gpu",
    "control.lifecycle",
    "control.plan",
    "control.preflight.check_result",
    "control.preflight.model_kind",
    "control.status",
    "control.tei.config",
    "control.tei.family",
    "control.tei.folder",
    "control.tei.container_flags",
    "control.tei.length",
    "control.tei.modules",
    "control.tei.prompts",
    "control.tei.rotary",
    "control.tei.unread_keys",
    "control.tei.verdict",
    "control.tei.weights",
    "dialects",
    "engine.api.info",
    "engine.api.openapi",
    "engine.api.vertex",
    "engine.batching.choosing",
    "engine.batching.lingering",
    "engine.batching.pass_times",
    "engine.compute.output_heads",
    "engine.compute.ragged_batch",
    "engine.compute.output",
    "engine.compute.pooling",
    "engine.families",
    "engine.families.ops",
    "engine.model.reranker_prompt",
    "engine.onnx.quantization",
    "engine.text.truncation",
    "engine.torch.grids",
    "engine.torch.pass_shape",
    "errors",
    "gateway.cache.answer_cache",
    "gateway.cache.answer_keys",
    "gateway.cache.under_way",
    "gateway.dispatch",
    "gateway.membership",
    "gateway.requests.null_defaults",
    "gateway.own_routes",
    "gateway.upstream.forwarding",
    "gateway.upstream.reply",
    "http.cors",
    "http.framing",
    "http.head_parser",
    "http.request_head",
    "http.message",
    "load.tally",
    "load.verdict",
    "simulation.batch_cost",
    "simulation.clock",
    "simulation.faults",
    "simulation.figures",
    "simulation.ledger",
    "simulation.objective",
    "simulation.replica",
    "model_folder.file_names",
    "model_folder.keys",
    "types",
)
EFFECTS = {"asyncio", "logging", "os", "socket", "subprocess", "threading", "time", "random"}

# What is heavy or touches the outside has one home.
HOMES = {
    "onnxruntime": {"engine.onnx.session"},
    "onnx": {"engine.onnx.graph", "engine.onnx.exported_tensors"},
    "torch": {"engine.torch"},
    "tokenizers": {"engine.text.tokenization", "engine.text.tokenizer_library"},
    "huggingface_hub": {"engine.model.source"},
    "uvloop": {"cli"},
    "docker": {"control.docker.client"},
    "pynvml": {"control.host.nvml"},
}


@cache
def modules() -> list[tuple[str, ast.Module]]:
    paths = sorted(SOURCE.rglob("*.py"))
    names = (".".join(path.relative_to(SOURCE).with_suffix("").parts) for path in paths)
    trees = (ast.parse(path.read_text()) for path in paths)
    return [(name.removesuffix(".__init__") or "__init__", tree) for name, tree in zip(names, trees, strict=True)]


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


def test_every_folder_of_a_layered_area_has_a_rank():
    for area, layers in SUB_LAYERS.items():
        found = {module.split(".")[1] for module, _ in modules() if module.startswith(f"{area}.")}
        assert found == set(ranks(layers)), area


def test_imports_within_an_area_point_down():
    ranked = {area: ranks(layers) for area, layers in SUB_LAYERS.items()}
    for module, target in imports():
        area, _, rest = module.partition(".")
        if area in ranked and rest and target.startswith(f"embedfleet.{area}."):
            here, there = rest.split(".")[0], target.split(".")[2]
            assert here == there or ranked[area][here] < ranked[area][there], f"{module} imports {target}"


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


def glossary() -> dict[str, str]:
    """The class of each word of ARCHITECTURE.md's glossary, as module and name; empty for a word without one."""
    rows = (line.split("|") for line in ARCHITECTURE.read_text().split("## Words")[1].splitlines() if line[:1] == "|")
    words = {}
    for _, names, _, named, _ in list(rows)[2:]:
        for name in names.split(","):
            words["".join(part.capitalize() for part in name.split())] = named.strip(" `")
    return words


def public_classes() -> Iterator[tuple[str, str]]:
    for module, tree in modules():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and module != "errors":  # errors bear TEI's names, such as Backend
                yield node.name, f"{module}.{node.name}"


def test_a_class_named_by_a_word_of_the_glossary_is_what_the_glossary_says():
    words = glossary()
    assert len(words) > 20, "the table of words is not read"
    found = [(name, place) for name, place in public_classes() if name in words]
    assert [
        f"{place} is not {words[name] or 'what the word means'}" for name, place in found if place != words[name]
    ] == []
    assert set(filter(None, words.values())) == {place for _, place in found}, "the glossary names a class that is gone"
