"""A model folder as it lies on the disk, looked at from outside: files, their JSON, the shapes of its tensors.

Nothing is judged here: `tei.folder` says what TEI makes of it.
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
_LARGEST_HEADER = 100_000_000  # of a safetensors file, as its own library has it
_MOST_FILES = 10_000  # of one folder
_READ = (".json", ".safetensors", ".bin", ".onnx", ".model", ".txt", ".pt")
_DEEPEST = 2
_NOT_READ = {TOKENIZER, VOCABULARY, ADDED_TOKENS}  # large, and only what they are called counts

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What lies in a folder, by names below it with slashes.

    Attributes:
        path: of the folder.
        sizes: of every file in bytes; -1 of a link that leads nowhere.
        json: values of JSON files.
        broken: JSON files that cannot be read → why.
        odd: JSON files that Python reads and Rust does not, for their BOM or a key that is there twice.
        pointers: files that are git-lfs pointers.
        zipped: files that begin as a zip does, as PyTorch's pickles since 1.6.
        outside: files that are links to outside the folder → where they lead.
        tensors: safetensors files → tensor → shape.
        tokenizer: text of the ``tokenizer.json`` that there should be, if it is not there so; see `with_tokenizer`.
        no_tokenizer: why none can be made.
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
        """Whether there is such a file."""
        return name in self.sizes

    def values(self, name: str) -> dict[str, Any] | None:
        """A JSON file's object, to be changed at will; None if there is none."""
        value = self.json.get(name)
        return dict(value) if isinstance(value, dict) else None


def read_model_folder(path: Path) -> ModelFolder:
    """Look at a folder in Hugging Face layout; never fails, and reads no weights."""
    sizes: dict[str, int] = {}
    outside: dict[str, Path] = {}
    beginnings: dict[str, bytes] = {}
    real = Path(os.path.realpath(path))
    for name, file in _files(path):
        sizes[name], beginnings[name] = _look(file)
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
    """What lies in one folder of a folder, with names from there; the same for an empty path."""
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
    """The same with the tokenizer that the libraries use: made of slow files, or as other files want it."""
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
    """Its files, as deep as modules lie; what is hidden is nobody's."""
    for above, folders, names in os.walk(path, followlinks=True):
        depth = len(Path(above).relative_to(path).parts)
        folders[:] = sorted(name for name in folders if name[0] != "." and depth < _DEEPEST)
        seen = sorted(name for name in names if name[0] != ".")
        for name in sorted(seen, key=lambda name: not name.endswith(_READ))[
            :_MOST_FILES
        ]:  # those that count come first
            file = Path(above, name)
            yield str(PurePosixPath(file.relative_to(path))), file


def _target(file: Path) -> Path:
    """Where a file is in truth; itself where that cannot be found out."""
    try:
        return Path(os.path.realpath(file))
    except OSError:
        return file


def _look(file: Path) -> tuple[int, bytes]:
    """A file's size, and how it begins."""
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
    """A file's value, whether Rust could not read what Python can, and why it cannot be read at all."""
    twice = False

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal twice
        values = dict(items)
        twice = twice or len(values) != len(items)
        return values

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is no number in JSON")

    try:
        content = file.read_bytes()
        text = content.removeprefix(_BOM).decode("utf-8")
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=refuse)
        json.dumps(value, ensure_ascii=False).encode()  # half a character can be written in JSON, but be in no answer
    except (OSError, ValueError, RecursionError) as error:
        return None, False, str(error)
    return value, twice or content.startswith(_BOM), ""


def _header(file: Path) -> dict[str, tuple[int, ...]] | None:
    """The shapes in a safetensors file; None if it is none."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > _LARGEST_HEADER:
                return None
            rows = json.loads(stream.read(length))
        return {name: tuple(map(int, row["shape"])) for name, row in rows.items() if name != "__metadata__"}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, struct.error, OverflowError):
        return None
