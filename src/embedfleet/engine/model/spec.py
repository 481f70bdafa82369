"""What a model folder in Hugging Face layout says about itself, read and checked before any weight is touched."""

from dataclasses import dataclass
from pathlib import Path

from embedfleet.engine.families.family import Family
from embedfleet.engine.families.registry import read_family
from embedfleet.engine.files.weights import FILES, find_weights, tensor_shapes
from embedfleet.engine.model.chat_template import read_chat, read_stated_chat, speaks
from embedfleet.engine.model.dialogue import Dialogue
from embedfleet.engine.model.end_token import read_ending
from embedfleet.engine.model.judge import JUDGES, Judge, read_judge, refuse_generation
from embedfleet.engine.model.kind import Asked, Kind, Use, read_use
from embedfleet.engine.model.modules import QUANTIZER, Dense, Module, Step, read_modules, read_steps, transformer_folder
from embedfleet.engine.model.pooling_config import Pooling, read_pooling
from embedfleet.engine.model.prompt_config import PromptConfig, read_prompt_config
from embedfleet.engine.model.sentence_config import SentenceConfig, read_sentence_config
from embedfleet.engine.model.tokenizer_config import TokenizerConfig, read_tokenizer_config
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.defaults import DEFAULTS
from embedfleet.model_folder.file import check_file, has_file
from embedfleet.model_folder.sentence_files import LENGTH_FILES
from embedfleet.model_folder.tokenizer_file import NAME, check_tokenizer, tokenizer_text

SPARSE_FILE, COLBERT_FILE = "sparse_linear.pt", "colbert_linear.pt"
"""bge-m3's heads besides the dense one."""
_JUDGES = Use("reranker", {0: "LABEL_0"})  # as transformers names it
_NEEDED = f"the folder must hold config.json, tokenizer.json and weights: one of {', '.join(FILES)}"
_QUANTIZED = "bidirectional_pplx_qwen3"
# sentence-transformers' modules.json: what follows the transformer, by the kind of model.
_MODULES = {
    "embedding": {"Transformer", "Pooling", "Dense", "Dropout", "LayerNorm", "Normalize"},
    "splade": {"Transformer", "MLMTransformer", "SpladePooling"},
}
_RANKED = {"Transformer"}  # of what sentence-transformers saved as a CrossEncoder
_USUAL_SPLADE = "1_SpladePooling"
# Settings of config.json on which numbers depend, and the one value that is computed; null is as good as none.
_USUAL = {"is_decoder": False, "add_cross_attention": False}
_FOREIGN = ("quantization_config", "pruned_heads")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model's family and rules.

    Attributes:
        body: the folder of the transformer's own files, mostly the model's.
        pooling: None for classifiers and rerankers.
        id2label: class number → name; empty for embedders.
        max_input_length: tokens, specials included; as sentence-transformers derives it.
        is_length_of_tokenizer: whether the tokenizer's own settings alone make that less than the positions.
        prompts: to put before an input, and how much of a vector is wanted.
        weights_file: where the weights are, or the index of where.
        has_m3_heads: whether bge-m3's two heads are there besides, and tensors to go with them.
        steps: what a pooled vector goes through.
        pools_prompt: whether a prompt's tokens are pooled.
        gives_types: whether the model is told token types.
        lowers: whether a text is lowered before it is tokenized.
        judge: of a reranker that generates, what makes its score.
        dialogue: how a pair is put together; None if as the tokenizer does it.
        ending: a token that ends each text beyond what the tokenizer's file says.
    """

    folder: Path
    body: Path
    family: Family
    model_type: str
    kind: Kind
    pooling: Pooling | None
    id2label: dict[int, str]
    max_input_length: int
    prompts: PromptConfig
    weights_file: Path
    has_m3_heads: bool
    steps: tuple[Step, ...] = ()
    pools_prompt: bool = True
    gives_types: bool = True
    lowers: bool = False
    is_length_of_tokenizer: bool = False
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
        """Where the tokenizer is, or would be if it were not made of other files."""
        return self.body / NAME

    def tokenizer(self) -> str | None:
        """The text of the tokenizer's file; None where that is to be taken as it is.

        Raises:
            ModelError: a file cannot be read, or the tokenizer is not one that is built here.
        """
        return tokenizer_text(self.body, self.model_type, lowers=self.lowers)


def read_model(folder: Path, *, pooling: Pooling | None = None, ranks: bool = False) -> ModelSpec:
    """Read and check a model folder.

    Args:
        folder: in Hugging Face layout.
        pooling: instead of what the folder says.
        ranks: whether the model is to rank texts.

    Raises:
        ModelError: a file is missing, a git-lfs pointer or not readable, or says what we do not support.
    """
    modules = read_modules(folder)
    body = transformer_folder(folder, modules)
    weights_file = find_weights(body) or body / FILES[0]
    check_file(body / "config.json", _NEEDED)
    check_tokenizer(body)
    check_file(weights_file, _NEEDED)
    config, model_type = _read_config(body)
    family = read_family(config)
    positions = family.max_input_length
    asked = Asked(pooling, ranks)
    judge = read_judge(folder, config, modules, family)
    if judge is None and (pooling is None or ranks):
        refuse_generation(folder, config)
    use = _JUDGES if judge else read_use(folder, config, modules, asked, lambda names: _shape(weights_file, names))
    dialogue = _dialogue(folder, body, use.kind, modules, judge)
    prompts = read_prompt_config(folder)
    _check_modules(folder, use.kind, modules, prompts, _allowed(model_type, judge), asks=dialogue is not None)
    sentence = read_sentence_config(body, generates=judge is not None, asks=dialogue is not None)
    tokenizer = read_tokenizer_config(body)
    pooled = read_pooling(folder, modules, pooling) if use.kind == "embedding" else None
    if use.kind == "splade":
        _check_splade(folder, modules)
    return ModelSpec(
        folder=folder,
        body=body,
        family=family,
        model_type=model_type,
        kind=use.kind,
        pooling=pooled.pooling if pooled else Pooling.SPLADE if use.kind == "splade" else None,
        id2label=use.id2label,
        max_input_length=_longest(sentence, tokenizer, positions),
        prompts=prompts,
        weights_file=weights_file,
        has_m3_heads=use.kind == "embedding" and not _is_onnx(weights_file) and _has_m3_files(body),
        steps=read_steps(modules, family.hidden_size) if use.kind == "embedding" else (),
        pools_prompt=pooled is None or pooled.includes_prompt,
        gives_types=tokenizer.gives_types,
        lowers=sentence.lowers,
        is_length_of_tokenizer=sentence.longest is None and (tokenizer.longest or positions) < positions,
        judge=judge,
        dialogue=dialogue,
        ending=read_ending(body),
    )


def _dialogue(folder: Path, body: Path, kind: Kind, modules: list[Module], judge: Judge | None) -> Dialogue | None:
    """How a pair is put together, where that is by a chat template.

    Raises:
        ModelError: the template is not read, or single texts go through it.
    """
    if not modules:
        return read_chat(folder, body) if judge else None
    if kind in {"classifier", "reranker"}:
        return read_stated_chat(folder, body)
    if speaks(body):
        raise ModelError(
            f"{body / LENGTH_FILES[0]}: `modality_config` has 'message': each text goes through the chat template",
            "supported for pairs alone; an embedder that was trained on texts as they are is saved without it",
        )
    return None


def _allowed(model_type: str, judge: Judge | None) -> set[str]:
    """Modules that such a model may have besides."""
    return {JUDGES} if judge else {QUANTIZER} if model_type == _QUANTIZED else set()


def _read_config(body: Path) -> tuple[ModelConfig, str]:
    """A config.json with the defaults of its class, and the ``model_type`` that it states.

    Raises:
        ModelError: it asks for what no family computes.
    """
    config = ModelConfig(body / "config.json")
    for key, usual in _USUAL.items():
        if config.values.get(key) not in (None, usual):
            raise ModelError(
                f"{config.file}: `{key}` is {config.values[key]!r}, supported is {usual!r}",
                "an embedder or reranker is an encoder, or a decoder by its own model_type",
            )
    for key in _FOREIGN:
        if config.values.get(key):
            raise ModelError(
                f"{config.file}: `{key}` is {config.values[key]!r}, weights of that kind are not read",
                "serve a checkpoint in float32, float16 or bfloat16",
            )
    if has_file(body / "adapter_config.json"):
        raise ModelError(
            f"{body / 'adapter_config.json'} says that other weights belong to these (PEFT), which are not added here",
            "merge them: PeftModel.merge_and_unload(), and save the whole",
        )
    model_type = str(config.values.get("model_type"))
    return config.filled(DEFAULTS.get(model_type, {})), model_type


def _shape(weights_file: Path, names: tuple[str, ...]) -> tuple[int, ...]:
    """Of the first of these tensors that the weights have."""
    if _is_onnx(weights_file):
        return ()
    shapes = tensor_shapes(weights_file)
    return next((shapes[name] for name in names if name in shapes), ())


def _is_onnx(weights_file: Path) -> bool:
    return weights_file.suffix == ".onnx"


def _has_m3_files(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (SPARSE_FILE, COLBERT_FILE))


def _check_modules(
    folder: Path, kind: Kind, modules: list[Module], prompts: PromptConfig, allowed: set[str], *, asks: bool
) -> None:
    """What we do not compute would be left out in silence: refuse it.

    Args:
        folder: of the model.
        kind: what it is used for.
        modules: it has.
        prompts: it has.
        allowed: modules that are computed besides those of the kind.
        asks: whether a pair goes through a template, which has a place for a prompt.
    """
    is_ranked = kind not in _MODULES and prompts.model_type == "CrossEncoder"
    if is_ranked and prompts.default is not None and not asks:
        raise ModelError(
            f"{folder / 'config_sentence_transformers.json'}: `default_prompt_name` is {prompts.default!r}, a prompt "
            "before a pair is not built here",
            "serve the model with sentence-transformers",
        )
    known = _RANKED if is_ranked else _MODULES.get(kind)
    for module in modules if known else ():
        if known and module.name not in known | allowed:
            file = folder / "modules.json"
            raise ModelError(
                f"{file}: module {module.name!r} is not supported", f"supported: {', '.join(sorted(known))}"
            )


def _check_splade(folder: Path, modules: list[Module]) -> None:
    """Of what sentence-transformers' SpladePooling may be told, the usual is what we compute."""
    usual = folder / _USUAL_SPLADE
    file = next((module.folder for module in modules if module.name == "SpladePooling"), usual) / "config.json"
    if file.is_file():
        config = ModelConfig(file)
        config.choice("pooling_strategy", {"max": True}, "max")
        config.choice("activation_function", {"relu": True}, "relu")


def _longest(sentence: SentenceConfig, tokenizer: TokenizerConfig, positions: int) -> int:
    """Where sentence-transformers states it, else where the tokenizer does; the positions that there are at most."""
    stated = sentence.longest if sentence.longest is not None else tokenizer.longest
    return positions if stated is None else min(stated, positions)
