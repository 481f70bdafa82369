"""Specification of a model, read from its folder and checked before any weight is read."""

from dataclasses import dataclass
from pathlib import Path

from embedfleet.engine.families.family import Family
from embedfleet.engine.families.registry import read_family
from embedfleet.engine.files.weights import find_weights, tensor_shapes
from embedfleet.engine.model.chat_template import read_declared_prompt, read_reranker_prompt, uses_chat_template
from embedfleet.engine.model.eos_token import read_eos_token
from embedfleet.engine.model.generative_reranker import LOGIT_SCORE, LogitScore, read_logit_score, refuse_generation
from embedfleet.engine.model.model_kind import KindAndLabels, ModelKind, RequestedUse, detect_kind
from embedfleet.engine.model.modules import QUANTIZER, Dense, Module, Step, read_modules, read_steps, transformer_folder
from embedfleet.engine.model.pooling_config import Pooling, read_pooling
from embedfleet.engine.model.prompt_config import PromptConfig, read_prompt_config
from embedfleet.engine.model.reranker_prompt import RerankerPrompt
from embedfleet.engine.model.sentence_config import SentenceConfig, read_sentence_config
from embedfleet.engine.model.tokenizer_config import TokenizerConfig, read_tokenizer_config
from embedfleet.errors import ModelError
from embedfleet.model_folder.config import ModelConfig
from embedfleet.model_folder.defaults import DEFAULTS
from embedfleet.model_folder.file import check_file, has_file
from embedfleet.model_folder.file_names import (
    ADAPTER_CONFIG,
    COLBERT_LINEAR,
    CONFIG,
    MODULES,
    SENTENCE_BERT_CONFIG,
    SENTENCE_TRANSFORMERS_CONFIG,
    SPARSE_LINEAR,
    SPLADE_FOLDER,
    TOKENIZER,
    WEIGHTS_FILES,
    is_onnx,
)
from embedfleet.model_folder.tokenizer_file import check_tokenizer, tokenizer_text

_GENERATIVE = KindAndLabels("reranker", {0: "LABEL_0"})  # transformers' default label
_NEEDED = f"the folder must hold {CONFIG}, {TOKENIZER} and weights: one of {', '.join(WEIGHTS_FILES)}"
_QUANTIZED = "bidirectional_pplx_qwen3"
# Kind of model → supported modules of sentence-transformers.
_MODULES = {
    "embedding": {"Transformer", "Pooling", "Dense", "Dropout", "LayerNorm", "Normalize"},
    "splade": {"Transformer", "MLMTransformer", "SpladePooling"},
}
_CROSS_ENCODER_MODULES = {"Transformer"}
# Keys of config.json that change computed numbers → the only supported value; null counts as absent.
_SUPPORTED = {"is_decoder": False, "add_cross_attention": False}
_UNSUPPORTED = ("quantization_config", "pruned_heads")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Family, kind and settings of a model.

    Attributes:
        folder: Folder of the model.
        body: Folder of the transformer's files, usually the model's.
        family: Architecture with its shape.
        model_type: Value of ``model_type`` in config.json.
        kind: Kind of the model.
        pooling: Pooling of an embedder or SPLADE model; None for classifiers and rerankers.
        id2label: Class number → name; empty for embedders and SPLADE models.
        max_input_length: Longest input in tokens, special tokens included, as sentence-transformers derives it.
        prompts: Prompts, and the number of dimensions of a vector to keep.
        weights_file: File of the weights, or their index.
        has_m3_heads: Whether the model is an embedder with bge-m3's heads; false for an ONNX file.
        steps: Steps after pooling.
        pools_prompt: Whether a prompt's tokens are pooled.
        gives_types: Whether the model gets token types; otherwise all are 0.
        lowercases: Whether texts are lowercased before tokenization.
        is_limited_by_tokenizer: Whether only the tokenizer's settings make the longest input shorter than the number
            of positions.
        logit_score: Tokens of a generative reranker's score; None for other models.
        reranker_prompt: Prompt that joins a query and a document; None if the tokenizer joins pairs.
        eos_token: Token to append to each text in addition to those of the tokenizer's file; None for none.
    """

    folder: Path
    body: Path
    family: Family
    model_type: str
    kind: ModelKind
    pooling: Pooling | None
    id2label: dict[int, str]
    max_input_length: int
    prompts: PromptConfig
    weights_file: Path
    has_m3_heads: bool
    steps: tuple[Step, ...] = ()
    pools_prompt: bool = True
    gives_types: bool = True
    lowercases: bool = False
    is_limited_by_tokenizer: bool = False
    logit_score: LogitScore | None = None
    reranker_prompt: RerankerPrompt | None = None
    eos_token: str | None = None

    @property
    def dimensions(self) -> int:
        """Dimensions of a vector."""
        if self.kind == "splade":
            return self.family.vocabulary
        widths = [step.outputs for step in self.steps if isinstance(step, Dense)]
        return widths[-1] if widths else self.family.hidden_size

    @property
    def is_onnx_file(self) -> bool:
        """Whether the weights are an ONNX file, a whole forward pass instead of named tensors."""
        return is_onnx(self.weights_file.name)

    @property
    def tokenizer_file(self) -> Path:
        """Path of the tokenizer's file; the file is absent if the tokenizer is made of other files."""
        return self.body / TOKENIZER

    def tokenizer(self) -> str | None:
        """Text of the tokenizer's file with the settings of other files; None if the file needs no change.

        Raises:
            ModelError: A file cannot be read, or the tokenizer's class is not supported.
        """
        return tokenizer_text(self.body, self.model_type, lowercases=self.lowercases)


def read_model(folder: Path, *, pooling: Pooling | None = None, ranks: bool = False) -> ModelSpec:
    """Read and check a model folder.

    Args:
        folder: Folder in Hugging Face layout.
        pooling: Pooling that replaces the folder's; None for the folder's.
        ranks: Whether the model must rank texts.

    Raises:
        ModelError: A file is missing, a git-lfs pointer or unreadable, or has an unsupported setting.
    """
    modules = read_modules(folder)
    body = transformer_folder(folder, modules)
    weights_file = find_weights(body) or body / WEIGHTS_FILES[0]
    check_file(body / CONFIG, _NEEDED)
    check_tokenizer(body)
    check_file(weights_file, _NEEDED)
    config, model_type = _read_config(body)
    family = read_family(config)
    positions = family.max_input_length
    score = read_logit_score(folder, config, modules, family)
    if score is None and (pooling is None or ranks):
        refuse_generation(folder, config)
    requested = RequestedUse(pooling, ranks)
    found = (
        detect_kind(folder, config, modules, requested, lambda names: _shape(weights_file, names))
        if score is None
        else _GENERATIVE
    )
    kind = found.kind
    prompt = _read_prompt(folder, body, kind, modules, score)
    prompts = read_prompt_config(folder)
    _check_modules(folder, kind, modules, prompts, _extra_modules(model_type, score), has_prompt=prompt is not None)
    sentence = read_sentence_config(body, is_generative=score is not None, has_prompt=prompt is not None)
    tokenizer = read_tokenizer_config(body)
    pooled = read_pooling(folder, modules, pooling) if kind == "embedding" else None
    if kind == "splade":
        _check_splade(folder, modules)
    return ModelSpec(
        folder=folder,
        body=body,
        family=family,
        model_type=model_type,
        kind=kind,
        pooling=pooled.pooling if pooled else Pooling.SPLADE if kind == "splade" else None,
        id2label=found.id2label,
        max_input_length=_longest(sentence, tokenizer, positions),
        prompts=prompts,
        weights_file=weights_file,
        has_m3_heads=kind == "embedding" and not is_onnx(weights_file.name) and _has_m3_files(body),
        steps=read_steps(modules, family.hidden_size) if kind == "embedding" else (),
        pools_prompt=pooled is None or pooled.includes_prompt,
        gives_types=tokenizer.has_token_types,
        lowercases=sentence.lowercases,
        is_limited_by_tokenizer=sentence.longest is None and (tokenizer.longest or positions) < positions,
        logit_score=score,
        reranker_prompt=prompt,
        eos_token=read_eos_token(body),
    )


def _read_prompt(
    folder: Path, body: Path, kind: ModelKind, modules: list[Module], score: LogitScore | None
) -> RerankerPrompt | None:
    """Read the prompt that joins a query and a document; None if pairs do not use a chat template.

    Raises:
        ModelError: The template has an unsupported form, or the model reads single texts.
    """
    if not modules:
        return read_reranker_prompt(folder, body) if score else None
    if kind in {"classifier", "reranker"}:
        return read_declared_prompt(folder, body)
    if uses_chat_template(body):
        raise ModelError(
            f"{body / SENTENCE_BERT_CONFIG}: `modality_config` has 'message': each text goes through the chat template",
            "supported for pairs only; remove 'message' if the embedder was trained on plain texts",
        )
    return None


def _extra_modules(model_type: str, score: LogitScore | None) -> set[str]:
    """Supported modules of this model besides those of its kind."""
    return {LOGIT_SCORE} if score else {QUANTIZER} if model_type == _QUANTIZED else set()


def _read_config(body: Path) -> tuple[ModelConfig, str]:
    """Read config.json with the defaults of its class, and its ``model_type``.

    Raises:
        ModelError: The config has a setting that no family supports.
    """
    config = ModelConfig(body / CONFIG)
    for key, usual in _SUPPORTED.items():
        if config.values.get(key) not in (None, usual):
            raise ModelError(
                f"{config.file}: `{key}` is {config.values[key]!r}, only {usual!r} is supported",
                "decoders have model types of their own, such as qwen3",
            )
    for key in _UNSUPPORTED:
        if config.values.get(key):
            raise ModelError(
                f"{config.file}: `{key}` is {config.values[key]!r}, such weights are not supported",
                "serve a checkpoint in float32, float16 or bfloat16",
            )
    if has_file(body / ADAPTER_CONFIG):
        raise ModelError(
            f"{body / ADAPTER_CONFIG} states an adapter (PEFT), which is not supported",
            "merge the adapter into the weights with PeftModel.merge_and_unload(), and save the model",
        )
    model_type = str(config.values.get("model_type"))
    return config.filled(DEFAULTS.get(model_type, {})), model_type


def _shape(weights_file: Path, names: tuple[str, ...]) -> tuple[int, ...]:
    """Shape of the first of these tensors that the weights have; empty if they have none."""
    if is_onnx(weights_file.name):
        return ()
    shapes = tensor_shapes(weights_file)
    return next((shapes[name] for name in names if name in shapes), ())


def _has_m3_files(folder: Path) -> bool:
    return all((folder / name).is_file() for name in (SPARSE_LINEAR, COLBERT_LINEAR))


def _check_modules(
    folder: Path, kind: ModelKind, modules: list[Module], prompts: PromptConfig, extra: set[str], *, has_prompt: bool
) -> None:
    """Refuse unsupported modules and prompts, instead of leaving them out silently.

    Args:
        folder: Folder of the model.
        kind: Kind of the model.
        modules: Modules of the model.
        prompts: Prompts of the model.
        extra: Supported modules besides those of the kind.
        has_prompt: Whether pairs go through a chat template, which has a place for a prompt.

    Raises:
        ModelError: A module or the default prompt is not supported.
    """
    is_cross_encoder = kind not in _MODULES and prompts.model_type == "CrossEncoder"
    if is_cross_encoder and prompts.default is not None and not has_prompt:
        raise ModelError(
            f"{folder / SENTENCE_TRANSFORMERS_CONFIG}: `default_prompt_name` is {prompts.default!r}, but a prompt "
            "before a pair is not supported",
            "serve the model with sentence-transformers",
        )
    known = _CROSS_ENCODER_MODULES if is_cross_encoder else _MODULES.get(kind)
    for module in modules if known else ():
        if known and module.name not in known | extra:
            file = folder / MODULES
            raise ModelError(
                f"{file}: module {module.name!r} is not supported", f"supported: {', '.join(sorted(known))}"
            )


def _check_splade(folder: Path, modules: list[Module]) -> None:
    """Refuse settings of sentence-transformers' SpladePooling other than the defaults.

    Raises:
        ModelError: A setting is not supported.
    """
    usual = folder / SPLADE_FOLDER
    file = next((module.folder for module in modules if module.name == "SpladePooling"), usual) / CONFIG
    if file.is_file():
        config = ModelConfig(file)
        config.choice("pooling_strategy", {"max": True}, "max")
        config.choice("activation_function", {"relu": True}, "relu")


def _longest(sentence: SentenceConfig, tokenizer: TokenizerConfig, positions: int) -> int:
    """Longest input in tokens: that of sentence-transformers' settings or the tokenizer's, at most ``positions``."""
    stated = sentence.longest if sentence.longest is not None else tokenizer.longest
    return positions if stated is None else min(stated, positions)
