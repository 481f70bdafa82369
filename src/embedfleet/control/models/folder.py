"""The content of a model folder on the disk: its files, their JSON values, and the shapes of its tensors.

Nothing is judged here; `tei.folder` makes TEI's verdict on it.
"""

import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn, TypeVar

from embedfleet.errors import ModelError
from embedfleet.model_folder.config import parse_json
from embedfleet.model_folder.file_names import (
    ADDED_TOKENS,
    CONFIG,
    SENTENCE_BERT_CONFIGS,
    TOKENIZER,
    VOCABULARY,
    is_git_lfs_pointer,
)
from embedfleet.model_folder.tokenizer_file import tokenizer_text

_ZIP = b"PK\x03\x04"
_BOM = b"\xef\xbb\xbf"
_BEGINNING = 64
_LARGEST_JSON = 32 << 20
_LARGEST_HEADER = 100_000_000  # bytes of a safetensors header, the limit of its own library
_MOST_FILES = 10_000  # files of one folder that are listed
_READ = (".json", ".safetensors", ".bin", ".onnx", ".model", ".txt", ".pt")
_DEEPEST = 2
_NOT_READ = {TOKENIZER, VOCABULARY, ADDED_TOKENS}  # large files whose names alone matter

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """The content of a model folder. Files are named by their paths below it, with slashes.

    Attributes:
        path: Path of the folder.
        sizes: Size of every file in bytes; -1 for a broken link, or a file that may not be read.
        json: Value of each JSON file.
        broken: Reason why a JSON file cannot be read, by file.
        odd: JSON files that Python can read and TEI's Rust reader cannot: with a byte order mark or a repeated key.
        pointers: Files that are git-lfs pointers.
        zipped: Files that begin like a zip file, such as PyTorch's pickles since 1.6.
        outside: Targets of links that lead outside the folder, by file.
        tensors: Shapes by tensor, by safetensors file.
        tokenizer: Text that ``tokenizer.json`` should have; empty if the file is right. `with_tokenizer` sets it.
        no_tokenizer: Reason why no tokenizer can be made; empty if one can.
    """

    path: Path
    sizes: Mapping[str, int] = field(default_factory=dict)
    json: Mapping[str, Any] = field(default_factory=dict)
    broken: Mapping[str, str] = field(default_factory=dict)
    odd: frozenset[str] = frozenset()
    pointers: frozenset[str] = frozenset()
    zipped: frozenset[str] = frozenset()
    outside: Mapping[str, Path] = field(default_factory=dict)
    tensors: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    tokenizer: str = ""
    no_tokenizer: str = ""

    def has(self, name: str) -> bool:
        """Whether the folder has a file of this name."""
        return name in self.sizes

    def values(self, name: str) -> dict[str, Any] | None:
        """Return a copy of the object in a JSON file; None if there is none."""
        value = self.json.get(name)
        return dict(value) if isinstance(value, dict) else None


def read_model_folder(path: Path) -> ModelFolder:
    """Read a folder in Hugging Face layout without its weights; never fails."""
    sizes: dict[str, int] = {}
    outside: dict[str, Path] = {}
    beginnings: dict[str, bytes] = {}
    real = Path(os.path.realpath(path))
    for name, file in _files(path):
        sizes[name], beginnings[name] = _size_and_beginning(file)
        target = _target(file)
        if not target.is_relative_to(real):
            outside[name] = target
    read = {name: _read_json(path / name) for name in sizes if _is_json(name, sizes[name])}
    tensors = {name: _header(path / name) for name in sizes if name.endswith(".safetensors") and sizes[name] >= 0}
    return ModelFolder(
        path,
        sizes,
        json={name: value for name, (value, _, fault) in read.items() if not fault},
        broken={name: fault for name, (_, _, fault) in read.items() if fault},
        odd=frozenset(name for name, (_, is_odd, _) in read.items() if is_odd)
        | {name for name, begins in beginnings.items() if begins.startswith(_BOM)},
        pointers=frozenset(name for name, begins in beginnings.items() if is_git_lfs_pointer(begins)),
        zipped=frozenset(name for name, begins in beginnings.items() if begins.startswith(_ZIP)),
        outside=outside,
        tensors={name: shapes for name, shapes in tensors.items() if shapes is not None},
    )


def below(folder: ModelFolder, path: str) -> ModelFolder:
    """Return the content of a subfolder, with names below it; the folder itself for an empty path."""
    if not path:
        return folder
    start = f"{path}/"
    return ModelFolder(
        folder.path / path,
        sizes=_from(folder.sizes, start),
        json=_from(folder.json, start),
        broken=_from(folder.broken, start),
        pointers=frozenset(name.removeprefix(start) for name in folder.pointers if name.startswith(start)),
        tensors=_from(folder.tensors, start),
    )


def with_tokenizer(folder: ModelFolder) -> ModelFolder:
    """Add the text of the tokenizer that the libraries would use, where ``tokenizer.json`` is missing or differs."""
    kind = (folder.values(CONFIG) or {}).get("model_type")
    lowers = any((folder.values(name) or {}).get("do_lower_case") is True for name in SENTENCE_BERT_CONFIGS)
    try:
        text = tokenizer_text(folder.path, str(kind or ""), lowercases=lowers) or ""
        if text and folder.has(TOKENIZER) and parse_json(folder.path / TOKENIZER) == json.loads(text):
            text = ""
        return replace(folder, tokenizer=text)
    except ModelError as error:
        return replace(folder, no_tokenizer=error.message)


def _from(values: Mapping[str, Value], start: str) -> dict[str, Value]:
    return {name.removeprefix(start): value for name, value in values.items() if name.startswith(start)}


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files that are not hidden, down to the depth of modules."""
    for above, folders, names in os.walk(path, followlinks=True):
        depth = len(Path(above).relative_to(path).parts)
        folders[:] = sorted(name for name in folders if name[0] != "." and depth < _DEEPEST)
        seen = sorted(name for name in names if name[0] != ".")
        for name in sorted(seen, key=lambda name: not name.endswith(_READ))[
            :_MOST_FILES
        ]:  # the files that are read come first
            file = Path(above, name)
            yield str(PurePosixPath(file.relative_to(path))), file


def _target(file: Path) -> Path:
    """Return the real path of a file; the path itself if it cannot be resolved."""
    try:
        return Path(os.path.realpath(file))
    except OSError:
        return file


def _size_and_beginning(file: Path) -> tuple[int, bytes]:
    """Return the size of a file and its first bytes."""
    try:
        size = file.stat().st_size
        if not file.is_file():
            return -1, b""
        with file.open("rb") as stream:
            return size, stream.read(_BEGINNING)
    except OSError:
        return -1, b""


def _is_json(name: str, size: int) -> bool:
    return name.endswith(".json") and PurePosixPath(name).name not in _NOT_READ and 0 <= size <= _LARGEST_JSON


def _read_json(file: Path) -> tuple[Any, bool, str]:
    """Return the value of a JSON file, whether only Python can read it, and why it cannot be read; empty if it can."""
    twice = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        values = dict(items)
        twice = twice or len(values) != len(items)
        return values

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not a number in JSON")

    try:
        content = file.read_bytes()
        text = content.removeprefix(_BOM).decode("utf-8")
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode()  # fails on half a surrogate pair, which UTF-8 cannot hold
    except (OSError, ValueError, RecursionError) as error:
        return None, False, str(error)
    return value, twice or content.startswith(_BOM), ""


def _header(file: Path) -> dict[str, tuple[int, ...]] | None:
    """Return the shapes in a safetensors file; None if the file is invalid."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _LARGEST_HEADER:
                return None
            rows = json.loads(stream.read(length))
        return {name: tuple(map(int, row["shape"])) for name, row in rows.items() if name != "__metadata__"}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error, OverflowError):
        return None
