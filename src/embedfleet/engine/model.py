"""What a model folder in Hugging Face layout says about itself, read and checked before any weight is touched."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from embedfleet.engine.families.family import Family
from embedfleet.engine.families.registry import read_family
from embedfleet.engine.model_config import ModelConfig, parse_json
from embedfleet.engine.model_file import check_file
from embedfleet.engine.weights import FILES, find_weights
from embedfleet.errors import ModelError

Kind = Literal["embedding", "classifier", "reranker", "splade"]


class Pooling(StrEnum):
    """How token states become one vector; the values are those of TEI's ``/info``."""

    CLS = "cls"
    MEAN = "mean"
    LAST_TOKEN = "last_token"  # noqa: S105 - no password
    SPLADE = "splade"  # of word logits, one number per word of the vocabulary (Formal et al. 2021)


# sentence-transformers' 1_Pooling/config.json: one of these is true.
_POOLING_KEYS = {
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_lasttoken": Pooling.LAST_TOKEN,
}
# Where sentence-transformers states an input's length, by the age and the family of the folder.
_LENGTHS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_xlm-roberta_config.json",
)
SPARSE_FILE, COLBERT_FILE = "sparse_linear.pt", "colbert_linear.pt"
"""bge-m3's heads besides the dense one."""
_NEEDED = f"the folder must hold config.json, tokenizer.json and weights: one of {', '.join(FILES)}"
# sentence-transformers' modules.json: what follows the transformer, by the kind of model.
_MODULES = {
    "embedding": {"Transformer", "Pooling", "Normalize"},
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
    """

    folder: Path
    family: Family
    kind: Kind
    pooling: Pooling | None
    id2label: dict[int, str]
    max_input_length: int
    prompts: dict[str, str]

    @property
    def has_m3_heads(self) -> bool:
        """Whether bge-m3's two heads are there besides."""
        return self.kind == "embedding" and all((self.folder / name).is_file() for name in (SPARSE_FILE, COLBERT_FILE))

    @property
    def weights_file(self) -> Path:
        """Where the weights are, or the index of where."""
        file = find_weights(self.folder)
        if file is None:
            raise ModelError(f"{self.folder} has no weights", f"one of these is needed: {', '.join(FILES)}")
        return file

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
    for file in (folder / "config.json", folder / "tokenizer.json", find_weights(folder) or folder / FILES[0]):
        check_file(file, _NEEDED)
    config = ModelConfig(folder / "config.json")
    family = read_family(config)
    kind = _kind(folder, config, pooling)
    return ModelSpec(
        folder=folder,
        family=family,
        kind=kind,
        pooling=_pooling(folder, kind, pooling),
        id2label=_labels(config) if kind in {"classifier", "reranker"} else {},
        max_input_length=_max_input_length(folder, family.max_input_length),
        prompts=_read_prompts(folder),
    )


def _kind(folder: Path, config: ModelConfig, pooling: Pooling | None) -> Kind:
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
    stated = not (folder / "1_Pooling").exists() and "SpladePooling" in _modules(folder)
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
    """How the model pools; a folder with more than we do is refused."""
    if kind in {"classifier", "reranker"}:
        return None
    _refuse_extra_modules(folder, _MODULES[kind])
    if kind == "splade":
        _check_splade(folder)
        return Pooling.SPLADE
    return asked or _read_pooling(folder)


def _modules(folder: Path) -> list[str]:
    """The class names of sentence-transformers' modules, in order; none where the folder does not state them."""
    file = folder / "modules.json"
    if not file.is_file():
        return []
    modules = parse_json(file)
    if not isinstance(modules, list):
        raise ModelError(f"{file} does not hold a JSON array")
    names = (str(module.get("type", "") if isinstance(module, dict) else module) for module in modules)
    return [name.rpartition(".")[2] for name in names]


def _refuse_extra_modules(folder: Path, known: set[str]) -> None:
    """Layers after the pooling would be left out in silence: refuse them."""
    for name in _modules(folder):
        if name not in known:
            file = folder / "modules.json"
            raise ModelError(f"{file}: module {name!r} is not supported", f"supported: {', '.join(sorted(known))}")


def _check_splade(folder: Path) -> None:
    """Of what sentence-transformers' SpladePooling may be told, the usual is what we compute."""
    file = folder / "1_SpladePooling" / "config.json"
    if file.is_file():
        config = ModelConfig(file)
        config.choice("pooling_strategy", {"max": True}, "max")
        config.choice("activation_function", {"relu": True}, "relu")


def _read_pooling(folder: Path) -> Pooling:
    file = folder / "1_Pooling" / "config.json"
    hint = 'state it: pooling = "cls", "mean" or "last-token" (see the model\'s card)'
    if not file.is_file():
        raise ModelError(f"{file} is missing, so the model's pooling is not stated", hint)
    config = ModelConfig(file).values
    chosen = [pooling for key, pooling in _POOLING_KEYS.items() if config.get(key)]
    chosen += [
        pooling
        for pooling in _POOLING_KEYS.values()
        if config.get("pooling_mode") in (pooling.value, pooling.value.replace("_", ""))
    ]
    others = [
        key for key, on in config.items() if key.startswith("pooling_mode_") and on is True and key not in _POOLING_KEYS
    ]
    if len(chosen) != 1 or others:
        named = ", ".join([*map(str, chosen), *others]) or "none"
        raise ModelError(
            f"{file}: exactly one of cls, mean and last-token is supported, the file states: {named}", hint
        )
    return chosen[0]


def _max_input_length(folder: Path, positions: int) -> int:
    """``max_seq_length`` where sentence-transformers states it, else the positions the model has."""
    file = next((folder / name for name in _LENGTHS if (folder / name).is_file()), None)
    return (
        positions
        if file is None
        else min(ModelConfig(file).number("max_seq_length", positions, at_most=None), positions)
    )


def _read_prompts(folder: Path) -> dict[str, str]:
    file = folder / "config_sentence_transformers.json"
    prompts: Any = ModelConfig(file).values.get("prompts") if file.is_file() else None
    return {str(name): str(text) for name, text in prompts.items()} if isinstance(prompts, dict) else {}
