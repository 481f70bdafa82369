"""State of a model folder's files when they were read, to detect later changes."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from embedfleet.engine.files.weights import find_weights, shard_names
from embedfleet.engine.model.modules import Dense, LayerNorm, read_modules
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.errors import ModelChanged
from embedfleet.model_folder.file_names import (
    ADAPTER_CONFIG,
    CHAT_TEMPLATE,
    COLBERT_LINEAR,
    CONFIG,
    LOGIT_SCORE_CONFIG,
    MODULES,
    POOLING_CONFIG,
    SENTENCE_BERT_CONFIGS,
    SENTENCE_TRANSFORMERS_CONFIG,
    SLOW_TOKENIZER_FILES,
    SPARSE_LINEAR,
    SPECIAL_TOKEN_FILES,
    SPLADE_CONFIG,
    TOKENIZER,
    is_index,
    is_onnx,
)

_MODEL_FILES = (MODULES, SENTENCE_TRANSFORMERS_CONFIG, POOLING_CONFIG, SPLADE_CONFIG, LOGIT_SCORE_CONFIG)
_TRANSFORMER_FILES = (
    CONFIG,
    ADAPTER_CONFIG,
    TOKENIZER,
    CHAT_TEMPLATE,
    SPARSE_LINEAR,
    COLBERT_LINEAR,
    *SENTENCE_BERT_CONFIGS,
    *SPECIAL_TOKEN_FILES,
    *SLOW_TOKENIZER_FILES,
)


class FolderState:
    """Inode, size and times of every file on which a model's answers depend.

    The change time (ctime) reveals every write, since programs cannot set it. Even a copy that keeps the size and the
    modification time of its source (``cp -p``) has another change time.

    Args:
        spec: Specification of the model.

    Raises:
        ModelError: An index of shards cannot be read.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._folder = spec.folder
        self._states = {file: _state(file) for file in _files(spec)}

    def check(self) -> None:
        """Check that no file has changed.

        Raises:
            ModelChanged: A file has changed.
        """
        for file, state in self._states.items():
            if _state(file) != state:
                raise ModelChanged(file)

    def digest(self) -> bytes:
        """SHA-256 of the state of all files, 32 bytes."""
        lines = (f"{file.relative_to(self._folder)}\0{state}\n" for file, state in self._states.items())
        return sha256("".join(lines).encode("utf-8", "surrogateescape")).digest()


def _state(file: Path) -> tuple[int, ...]:
    """Inode, size, modification time and change time of a file; empty if there is no such file."""
    try:
        found = file.stat()
    except (OSError, ValueError):
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _files(spec: ModelSpec) -> Iterator[Path]:
    """Every file on which the model's answers depend, present or not."""
    yield from (spec.folder / name for name in _MODEL_FILES)
    yield from (spec.body / name for name in _TRANSFORMER_FILES)
    yield from _weights(spec.weights_file)
    yield from (module.folder / CONFIG for module in read_modules(spec.folder) if module.folder != spec.body)
    for step in spec.steps:
        if isinstance(step, (Dense, LayerNorm)):
            yield from _weights(find_weights(step.folder))


def _weights(file: Path | None) -> Iterator[Path]:
    """A file of weights, and the shards or further files that belong to it."""
    if file is None:
        return
    yield file
    if is_index(file.name):
        yield from (file.parent / name for name in shard_names(file))
    elif is_onnx(file.name):
        yield from sorted(other for other in file.parent.iterdir() if other != file)
