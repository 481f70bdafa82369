"""What a model folder in Hugging Face layout says about itself, read and checked before any weight is touched."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from embedfleet.engine.chat_template import read_chat, read_stated_chat, speaks
from embedfleet.engine.dialogue import Dialogue
from embedfleet.engine.ending import read_ending
from embedfleet.engine.families.family import Family
from embedfleet.engine.families.registry import read_family
from embedfleet.engine.judge import Judge, read_judge, refuse_generation
from embedfleet.engine.modules import QUANTIZER, Dense, Module, Step, read_modules, read_steps
from embedfleet.engine.weights import FILES, find_weights
from embedfleet.errors import ModelError
from embedfleet.folder.config import ModelConfig
from embedfleet.folder.file import check_file

Kind = Literal["embedding", "classifier", "reranker", "splade"]


class Pooling(StrEnum):
    """How token states become one vector; the first three and the last have the names of TEI's ``/info``."""

    CLS = "cls"
    MEAN = "mean"
    LAST_TOKEN = "last_token"  # noqa: S105 - no password
    MAX = "max"  # of each element
    MEAN_SQRT_LEN = "mean_sqrt_len_tokens"  # the sum over the root of how many tokens there are
    WEIGHTED_MEAN = "weightedmean"  # the first token counts once, the second twice, … (SGPT; Muennighoff 2022)
    SPLADE = "splade"  # of word logits, one number per word of the vocabulary (Formal et al. 2021)


# sentence-transformers' 1_Pooling/config.json: one of these is true.
_POOLING_KEYS = {
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_lasttoken": Pooling.LAST_TOKEN,
    "pooling_mode_max_tokens": Pooling.MAX,
    "pooling_mode_mean_sqrt_len_tokens": Pooling.MEAN_SQRT_LEN,
    "pooling_mode_weightedmean_tokens": Pooling.WEIGHTED_MEAN,
}
LENGTH_FILES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_xlm-roberta_config.json",
)
"""Where sentence-transformers states an input's length, by the age and the family of the folder."""
SPARSE_FILE, COLBERT_FILE = "sparse_linear.pt", "colbert_linear.pt"
"""bge-m3's heads besides the dense one."""
_ONE_LABEL = {0: "LABEL_0"}  # as transformers names it
_NEEDED = f"the folder must hold config.json, tokenizer.json and weights: one of {', '.join(FILES)}"
_QUANTIZED = "bidirectional_pplx_qwen3"
# sentence-transformers' modules.json: what follows the transformer, by the kind of model.
_MODULES = {
    "embedding": {"Transformer", "Pooling", "Dense", "Normalize"},
    "splade": {"Transformer", "MLMTransformer", "SpladePooling"},
}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model's family and rules.

    Attributes:
        pooling: None for classifiers and rerankers.
        id2label: class number → name; empty for embedders.
        max_input_length: tokens, specials included; as TEI derives it.
        prompts: name → text to put before an input.
        weights_file: where the weights are, or the index of where.
        has_m3_heads: whether bge-m3's two heads are there besides, and tensors to go with them.
        steps: what a pooled vector goes through.
        judge: of a reranker that generates, what makes its score.
        dialogue: how a pair is put together; None if as the tokenizer does it.
        ending: a token that ends each text beyond what the tokenizer's file says.
    """

    folder: Path
    family: Family
    kind: Kind
    pooling: Pooling | None
    id2label: dict[int, str]
    max_input_length: int
    prompts: dict[str, str]
    weights_file: Path
    has_m3_heads: bool
    steps: tuple[Step, ...] = ()
    judge: Judge | None = None
    dialogue: Dialogue | None = None
    ending: str | None = None

    @property
    def dimensions(self) -> int:
        """Numbers of a vector."""
        if self.kind == "splade":
            return self.family.vocabulary
        widths = [step.outputs for step in self.steps if isinstance(step, Dense)]
        return widths[-1] if widths else self.family.hidden_size

    @property
    def is_onnx_file(self) -> bool:
        """Whether the folder has no tensors but a whole pass in an ONNX file."""
        return _is_onnx(self.weights_file)

    @property
    def tokenizer_file(self) -> Path:
        """Where the tokenizer is."""
        return self.folder / "tokenizer.json"


def read_model(folder: Path, *, pooling: Pooling | None = None) -> ModelSpec:
    """Read and check a model folder.

    Args:
        folder: in Hugging Face layout.
        pooling: instead of what the folder says.

    Raises:
        ModelError: a file is missing, a git-lfs pointer or not readable, or says what we do not support.
    """
    weights_file = find_weights(folder) or folder / FILES[0]
    for file in (folder / "config.json", folder / "tokenizer.json", weights_file):
        check_file(file, _NEEDED)
    config = ModelConfig(folder / "config.json")
    family = read_family(config)
    modules = read_modules(folder)
    judge = read_judge(folder, config, modules, family)
    kind = "reranker" if judge else _kind(folder, config, modules, pooling)
    if kind in _MODULES:
        own = {QUANTIZER} if config.values.get("model_type") == _QUANTIZED else set()
        _refuse_other_modules(folder, modules, _MODULES[kind] | own)
    if kind == "embedding" and pooling is None:
        refuse_generation(folder, config)
    return ModelSpec(
        folder=folder,
        family=family,
        kind=kind,
        pooling=_pooling(folder, kind, pooling),
        id2label=_ONE_LABEL if judge else _labels(config) if kind in {"classifier", "reranker"} else {},
        max_input_length=_max_input_length(folder, family.max_input_length),
        prompts=_read_prompts(folder),
        weights_file=weights_file,
        has_m3_heads=kind == "embedding" and not _is_onnx(weights_file) and _has_m3_files(folder),
        steps=read_steps(modules, family.hidden_size) if kind == "embedding" else (),
        judge=judge,
        dialogue=_dialogue(folder, kind, modules, judge),
        ending=read_ending(folder),
    )


def _dialogue(folder: Path, kind: Kind, modules: list[Module], judge: Judge | None) -> Dialogue | None:
    """How a pair is put together, where that is by a chat template.

    Raises:
        ModelError: the template is not read, or single texts go through it.
    """
    if not modules:
        return read_chat(folder) if judge else None
    if kind in {"classifier", "reranker"}:
        return read_stated_chat(folder)
    if speaks(folder):
        raise ModelError(
            f"{folder / LENGTH_FILES[0]}: `modality_config` has 'message': each text goes through the chat template",
            "supported for pairs alone; an embedder that was trained on texts as they are is saved without it",
        )
    return None


def _is_onnx(weights_file: Path) -> bool:
    return weights_file.suffix == ".onnx"


def _has_m3_files(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (SPARSE_FILE, COLBERT_FILE))


def _kind(folder: Path, config: ModelConfig, modules: list[Module], pooling: Pooling | None) -> Kind:
    """TEI's rule: an architecture that ends in Classification classifies; with one label it is a reranker.

    A model with a masked-language head is SPLADE if it is asked to be, as for TEI, or if sentence-transformers says
    so. Any other is an embedder whose head is of no use.
    """
    architectures = config.values.get("architectures") or [""]
    if not isinstance(architectures, list):
        raise ModelError(f"{config.file}: `architectures` is {architectures!r}, an array of names is needed")
    architecture = str(architectures[0])
    if architecture.endswith("ForSequenceClassification"):
        return "reranker" if len(_labels(config)) == 1 else "classifier"
    stated = not (folder / "1_Pooling").exists() and any(module.name == "SpladePooling" for module in modules)
    if pooling is not Pooling.SPLADE and not (pooling is None and stated):
        return "embedding"
    if not architecture.endswith("ForMaskedLM"):
        raise ModelError(
            f"{config.file}: splade pooling needs a masked-language head, the architecture is {architecture!r}",
            "supported: architectures that end in ForMaskedLM",
        )
    return "splade"


def _labels(config: ModelConfig) -> dict[int, str]:
    labels = config.values.get("id2label")
    if not isinstance(labels, dict) or not labels:
        raise ModelError(f"{config.file}: `config.json` does not contain `id2label`")
    if set(labels) != {str(number) for number in range(len(labels))}:
        raise ModelError(f"{config.file}: `id2label` has the keys {list(labels)}, 0, 1, … are needed")
    return {int(number): str(label) for number, label in labels.items()}


def _pooling(folder: Path, kind: Kind, asked: Pooling | None) -> Pooling | None:
    """How the model pools."""
    if kind in {"classifier", "reranker"}:
        return None
    if kind == "splade":
        _check_splade(folder)
        return Pooling.SPLADE
    return asked or _read_pooling(folder)


def _refuse_other_modules(folder: Path, modules: list[Module], known: set[str]) -> None:
    """What we do not compute would be left out in silence: refuse it."""
    for module in modules:
        if module.name not in known:
            file = folder / "modules.json"
            raise ModelError(
                f"{file}: module {module.name!r} is not supported", f"supported: {', '.join(sorted(known))}"
            )


def _check_splade(folder: Path) -> None:
    """Of what sentence-transformers' SpladePooling may be told, the usual is what we compute."""
    file = folder / "1_SpladePooling" / "config.json"
    if file.is_file():
        config = ModelConfig(file)
        config.choice("pooling_strategy", {"max": True}, "max")
        config.choice("activation_function", {"relu": True}, "relu")


def _read_pooling(folder: Path) -> Pooling:
    file = folder / "1_Pooling" / "config.json"
    known = [pooling for pooling in Pooling if pooling is not Pooling.SPLADE]
    hint = (
        f"state it: pooling = one of {', '.join(pooling.replace('_', '-') for pooling in known)} (see the model's card)"
    )
    if not file.is_file():
        raise ModelError(f"{file} is missing, so the model's pooling is not stated", hint)
    config = ModelConfig(file)
    stated = [
        key.removeprefix("pooling_mode_")
        for key, on in config.values.items()
        if key.startswith("pooling_mode_") and on is True
    ]
    chosen = [pooling for key, pooling in _POOLING_KEYS.items() if config.values.get(key)]
    chosen += [
        pooling
        for pooling in known
        if config.values.get("pooling_mode") in (pooling.value, pooling.value.replace("_", ""))
    ]
    if len(set(chosen)) != 1 or len(stated) > 1:
        named = ", ".join(map(str, stated or chosen)) or str(config.values.get("pooling_mode", "none"))
        raise ModelError(f"{file}: exactly one kind of pooling is supported, the file states: {named}", hint)
    if not config.flag("include_prompt", default=True):
        raise ModelError(f"{file}: `include_prompt` is false, a vector of the text without its prompt", hint)
    return chosen[0]


def _max_input_length(folder: Path, positions: int) -> int:
    """``max_seq_length`` where sentence-transformers states it, else the positions the model has."""
    file = next((folder / name for name in LENGTH_FILES if (folder / name).is_file()), None)
    return (
        positions
        if file is None
        else min(ModelConfig(file).number("max_seq_length", positions, at_most=None), positions)
    )


def _read_prompts(folder: Path) -> dict[str, str]:
    file = folder / "config_sentence_transformers.json"
    prompts: Any = ModelConfig(file).values.get("prompts") if file.is_file() else None
    return {str(name): str(text) for name, text in prompts.items()} if isinstance(prompts, dict) else {}
