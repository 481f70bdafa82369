"""Random changes to the files of a model folder. Pure: the random source is an argument."""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

from bench.fuzz.folders import Files
from bench.fuzz.mutation import odd_value

_NUMBERS = (
    0, -1, 1, 2, 3, 7, 2**15, 10**7, 10**7 + 1, 2**31, 2**32 - 1, 2**63, 2**64, 10**30,
    0.5, 1e-320, 1e308, float("nan"), float("inf"), -float("inf"),
)  # fmt: skip
_WORDS = (
    "", "gelu", "relu", "tanh", "silu", "bert", "jina_bert", "modernbert", "qwen3", "nomic_bert", "t5", "rope", "alibi",
    "absolute", "default", "ntk", "yarn", "full_attention", "cls", "mean", "max", "sentence_embedding", "[UNK]", "##",
    "..", ".", "/", "../config.json", "/etc/passwd", "config.json", "1_Pooling", "a/b", "\x00", "\ud800", "x" * 5000,
    "torch.nn.modules.activation.ReLU", "sentence_transformers.models.Dense", "BertForMaskedLM",
    "BertForSequenceClassification", "F16", "BF16", "F64", "F32", "I64", "F8_E4M3", "BOOL",
)  # fmt: skip
_KEYS = (
    "architectures", "id2label", "layer_types", "rope_scaling", "rope_parameters", "rope_theta", "max_seq_length",
    "pooling_mode", "type_vocab_size", "position_embedding_type", "head_dim", "num_key_value_heads", "attention_bias",
    "use_residual", "bias", "prompts", "include_prompt", "added_tokens", "truncation", "padding", "normalizer",
    "weight_map", "n_embd", "factor", "type", "single", "pair", "ids", "vocab", "merges", "unk_id",
)  # fmt: skip
_RAW = (
    b"", b"\x00", b"\xff" * 8, b"{", b"[" * 5000, b'"', b"NaN", b"PK\x05\x06", b"version https://git-lfs", b"\x80\x02.",
)  # fmt: skip
# Operations of pickles and their results, names that would run code, and huge allocations.
_PROGRAMS = (
    b".", b"(", b"t", b"R", b"Q", b"0", b"2", b"}", b"]", b")", b"\x85", b"\x86", b"u", b"s", b"a", b"e", b"b", b"N",
    b"cos\nsystem\n", b"cbuiltins\neval\n", b"ctorch\nHalfStorage\n", b"ctorch\nLongStorage\n", b"J\xff\xff\xff\xff",
    b"J\xff\xff\xff\x7f", b"\x8a\x09" + b"\xff" * 8 + b"\x7f", b"r\xff\xff\xff\x7f", b"j\xff\xff\xff\x7f", b"h\x00",
    b"q\x00", b"\x94", b"\x93", b"\x81", b"(" * 3000, b"\x85" * 3000, b"G\x7f\xf0" + bytes(6), b"X\xff\xff\xff\x7f",
)  # fmt: skip
_FLOATS = (b"\x00\x00\xc0\x7f", b"\x00\x00\x80\x7f", b"\xff\xff\x7f\x7f", b"\x01\x00\x00\x00", bytes(4))
_WEIGHTS = (".safetensors", ".bin", ".pt", ".onnx")

Change = Callable[[Files, Sequence[Files], Random], str]
"""A function that changes files, maybe with files of another folder, and returns a description of the change."""


def damaged(files: Files, others: Sequence[Files], random: Random) -> tuple[Files, list[str]]:
    """Files with one to three changes, and descriptions of the changes."""
    changed = dict(files)
    done = [
        random.choices(_CHANGES, weights=_ODDS)[0](changed, others, random)
        for _ in range(random.choice((1, 1, 1, 2, 3)))
    ]
    return changed, done


def _value(files: Files, others: Sequence[Files], random: Random) -> str:
    """Change a value in a JSON file."""
    path = random.choice([path for path in files if path.endswith(".json")] or ["config.json"])
    try:
        value = json.loads(_of(files, path))
    except (ValueError, RecursionError):
        return _bytes(files, others, random)
    files[path] = _dumped(_changed(value, random))
    return f"a value in {path}"


def _changed(value: Any, random: Random) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict) and random.random() < 0.9:
        kind, key = random.random(), random.choice(list(value) or [""])
        if kind < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if kind < 0.25 or not value:
            return value | {random.choice((*_KEYS, *value)): _leaf(random.choice(list(value.values()) or [0]), random)}
        return value | {key: _changed(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.9:
        place = random.randrange(len(value))
        if random.random() < 0.2:
            return [*value[:place], *random.choice(((), value[place:], value[:place], value * 3)), *value[place + 1 :]]
        return [*value[:place], _changed(value[place], random), *value[place + 1 :]]
    return _leaf(value, random)


def _leaf(value: Any, random: Random) -> Any:  # noqa: ANN401 - JSON
    """A changed value: near the old one, or any other."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    match random.randrange(4):
        case 0 if is_number:
            return random.choice((value + 1, value - 1, value * 2, -value, value * 1000, str(value), [value]))
        case 1 if is_number or random.random() < 0.3:
            return random.choice(_NUMBERS)
        case 2:
            return random.choice(_WORDS)
        case _:
            return odd_value(random)


def _bytes(files: Files, _: Sequence[Files], random: Random) -> str:
    """Remove, flip, insert or zero bytes of a file."""
    path = random.choice(list(files))
    files[path] = _blotted(_of(files, path), _RAW, random)
    return f"bytes of {path}"


def _blotted(content: bytes, raw: Sequence[bytes], random: Random) -> bytes:
    data, place = bytearray(content), random.randrange(len(content) + 1)
    match random.randrange(5):
        case 0:
            del data[place:]
        case 1:
            del data[place : place + random.randrange(64)]
        case 2 if data:
            for _ in range(random.choice((1, 1, 4, 32))):
                data[random.randrange(len(data))] = random.randrange(256)
        case 3:
            data[place : place + random.randrange(16)] = random.choice(raw)
        case _:
            data[place:place] = random.choice(raw)
    return bytes(data)


def _header(files: Files, others: Sequence[Files], random: Random) -> str:
    """Change the header of a safetensors file and leave its tensors."""
    paths = [path for path in files if path.endswith(".safetensors")]
    if not paths:
        return _program(files, others, random)
    path = random.choice(paths)
    content = _of(files, path)
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        name, other = random.choice(list(header)), random.choice(list(header))
    except (struct.error, ValueError, IndexError, TypeError, OverflowError, RecursionError):
        return _bytes(files, others, random)
    match random.randrange(4):
        case 0:
            header[name], header[other] = header[other], header[name]
        case 1:
            header[name + random.choice((".weight", "x"))] = header.pop(name)
        case _:
            header[name] = _changed(header[name], random)
    text = _dumped(header)
    stated = random.choice((len(text),) * 8 + (0, 2**32, 2**63, len(text) - 1, len(text) + 1))
    files[path] = struct.pack("<Q", max(0, stated)) + text + content[8 + length :]
    return f"the header of {path}"


def _program(files: Files, others: Sequence[Files], random: Random) -> str:
    """Change a member of a pickle's archive or its storage."""
    paths = [path for path in files if path.endswith((".bin", ".pt"))]
    if not paths:
        return _value(files, others, random)
    path = random.choice(paths)
    try:
        with zipfile.ZipFile(io.BytesIO(_of(files, path))) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
    except Exception:  # noqa: BLE001 - a file that was broken before; zipfile raises errors of many kinds
        return _bytes(files, others, random)
    name = random.choice(list(members))
    kind = zipfile.ZIP_STORED
    if random.random() < 0.6:
        name = next((name for name in members if name.endswith("data.pkl")), name)
        members[name] = _blotted(members[name], _PROGRAMS, random)
    elif random.random() < 0.3:
        kind = zipfile.ZIP_DEFLATED
    elif random.random() < 0.5:
        members[random.choice(("archive/data.pkl", "x/data.pkl", "archive/data/0", "data.pkl"))] = members.pop(name)
    else:
        members[name] = random.choice((b"", members[name] * 2, members[name][: len(members[name]) // 2], b"big"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content, kind)
    files[path] = stream.getvalue()
    return f"{name} in {path}"


def _numbers(files: Files, others: Sequence[Files], random: Random) -> str:
    """Set weights to NaN, infinity or the largest number."""
    paths = [path for path in files if path.endswith(_WEIGHTS) and files[path]]
    if not paths:
        return _bytes(files, others, random)
    path = random.choice(paths)
    content = _of(files, path)
    start = random.randrange(len(content) // 8, len(content)) // 4 * 4
    blot = random.choice(_FLOATS) * random.choice((1, 16, 4096))
    files[path] = (content[:start] + blot + content[start + len(blot) :])[: len(content)]
    return f"numbers in {path}"


def _file(files: Files, others: Sequence[Files], random: Random) -> str:
    """Remove, empty, rename or replace a file, or make it a folder."""
    path = random.choice(list(files))
    match random.randrange(6):
        case 0:
            del files[path]
            return f"{path} is gone"
        case 1:
            files[path] = random.choice((b"", None, b"version https://git-lfs.github.com/spec/v1\n", b"\x00" * 64))
            return f"{path} is empty, a folder or a pointer"
        case 2:
            name = random.choice(("model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "modules.json"))
            files[name] = files[path]
            return f"{path} as {name} too"
        case 3:
            other = random.choice(list(files))
            files[path], files[other] = files[other], files[path]
            return f"{path} and {other} exchanged"
        case _:
            other_files = random.choice(others)
            name = random.choice(list(other_files))
            files[name] = other_files[name]
            return f"{name} of another model"


def _tokenizer(files: Files, others: Sequence[Files], random: Random) -> str:
    """Use another model's tokenizer, or one with more tokens than the model or with far larger ids."""
    if random.random() < 0.3:
        files["tokenizer.json"] = random.choice(others).get("tokenizer.json", b"")
        return "another tokenizer"
    try:
        value = json.loads(_of(files, "tokenizer.json"))
        vocabulary = value["model"]["vocab"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return _bytes(files, others, random)
    count, far = random.choice((1, 10, 1000)), random.choice((0, 1, 320, 2**20, 2**31, 2**32 - 1, 2**32, -1))
    if isinstance(vocabulary, dict) and random.random() < 0.6:
        for number in range(count):
            vocabulary[f"more{number}"] = len(vocabulary) + far
    elif isinstance(vocabulary, list):
        vocabulary += [[f"more{number}", -1.0] for number in range(count)]
    else:
        added = {"id": far, "content": "more", "special": random.random() < 0.5}
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        value["added_tokens"] = [*(value.get("added_tokens") or []), added | flags]
    files["tokenizer.json"] = _dumped(value)
    return "a tokenizer with more tokens"


def _of(files: Mapping[str, bytes | None], path: str) -> bytes:
    return files.get(path) or b""


def _dumped(value: object) -> bytes:
    return json.dumps(value).encode()


_CHANGES: Sequence[Change] = (_value, _bytes, _header, _program, _numbers, _file, _tokenizer)
_ODDS = (10, 4, 5, 4, 2, 3, 2)
