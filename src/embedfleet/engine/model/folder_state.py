"""What the files of a model folder were when they were read, so that it shows when they no longer are."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from embedfleet.engine.files.weights import INDEX_SUFFIX, find_weights, shard_names
from embedfleet.engine.model.chat_template import TEMPLATE_FILE
from embedfleet.engine.model.modules import Dense, LayerNorm, read_modules
from embedfleet.engine.model.spec import COLBERT_FILE, SPARSE_FILE, ModelSpec
from embedfleet.engine.model.unweighted_tokens import NAMING_FILES
from embedfleet.errors import ModelChanged
from embedfleet.model_folder.sentence_files import LENGTH_FILES
from embedfleet.model_folder.slow_tokenizer import SLOW_FILES

_CONFIGS = (
    "modules.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "1_SpladePooling/config.json",
    "1_LogitScore/config.json",
)
_OF_TRANSFORMER = (
    "config.json",
    "adapter_config.json",
    "tokenizer.json",
    TEMPLATE_FILE,
    SPARSE_FILE,
    COLBERT_FILE,
    *LENGTH_FILES,
    *NAMING_FILES,
    *SLOW_FILES,
)


class FolderState:
    """Of every file that decides what is served: which it is, its size, and when it was written.

    That it was written shows in the time of its change, which nobody can set: a copy that brings the size and the time
    of what it was copied from (``cp -p``) is told from what was there before.

    Args:
        spec: of the model.

    Raises:
        ModelError: an index of shards cannot be read.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._folder = spec.folder
        self._states = {file: _state(file) for file in _files(spec)}

    def check(self) -> None:
        """See that all files are what they were.

        Raises:
            ModelChanged: one is not.
        """
        for file, state in self._states.items():
            if _state(file) != state:
                raise ModelChanged(file)

    def digest(self) -> bytes:
        """The whole in 32 bytes (SHA-256)."""
        lines = (f"{file.relative_to(self._folder)}\0{state}\n" for file, state in self._states.items())
        return sha256("".join(lines).encode("utf-8", "surrogateescape")).digest()


def _state(file: Path) -> tuple[int, ...]:
    """Empty where there is no such file."""
    try:
        found = file.stat()
    except (OSError, ValueError):
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _files(spec: ModelSpec) -> Iterator[Path]:
    yield from (spec.folder / name for name in _CONFIGS)
    yield from (spec.body / name for name in _OF_TRANSFORMER)
    yield from _weights(spec.weights_file)
    yield from (module.folder / "config.json" for module in read_modules(spec.folder) if module.folder != spec.body)
    for step in spec.steps:
        if isinstance(step, (Dense, LayerNorm)):
            yield from _weights(find_weights(step.folder))


def _weights(file: Path | None) -> Iterator[Path]:
    """A file of weights, and those that it names or that belong to it."""
    if file is None:
        return
    yield file
    if file.name.endswith(INDEX_SUFFIX):
        yield from (file.parent / name for name in shard_names(file))
    elif file.suffix == ".onnx":
        yield from sorted(other for other in file.parent.iterdir() if other != file)
