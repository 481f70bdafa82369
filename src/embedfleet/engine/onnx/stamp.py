"""What is written beside a packed model: what its files are, so that they are believed only while they are that."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from embedfleet.engine.compute.output import Output
from embedfleet.engine.onnx.forward_pass import Names
from embedfleet.engine.onnx.int8_error import Int8Error


@dataclass(frozen=True, slots=True)
class FileMark:
    """One file.

    Attributes:
        digest: as `checksum.checksum` gives it.
    """

    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a packed model is.

    Attributes:
        files: all that it has, by name.
        outputs: their names in the graph.
        errors: of int8, as whoever packed it measured them.
    """

    files: Mapping[str, FileMark]
    outputs: Names
    errors: tuple[Int8Error, ...]

    def to_bytes(self) -> bytes:
        """As it is written, with a digest of its own."""
        said = json.dumps(
            {
                "files": {name: asdict(mark) for name, mark in self.files.items()},
                "outputs": dict(self.outputs),
                "errors": [asdict(error) for error in self.errors],
            }
        )
        return json.dumps({"digest": _digest(said), "said": said}).encode()


def read_stamp(file: Path) -> Stamp:
    """What `Stamp.to_bytes` gave and was written to a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is anything else.
    """
    data = file.read_bytes()
    try:
        values = json.loads(_said(json.loads(data)))
        return Stamp(
            {str(name): FileMark(**mark) for name, mark in values["files"].items()},
            {Output(output): str(name) for output, name in values["outputs"].items()},
            tuple(Int8Error(**error | {"output": Output(error["output"])}) for error in values["errors"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file} is not what was written: {type(error).__name__}: {error}") from error


def _said(written: Mapping[str, str]) -> str:
    if _digest(written["said"]) != written["digest"]:
        raise ValueError("its digest is another")
    return written["said"]


def _digest(said: str) -> str:
    return sha256(said.encode()).hexdigest()
