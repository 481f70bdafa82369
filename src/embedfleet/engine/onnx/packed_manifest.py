"""The manifest beside a packed model: the digests of its files, which are trusted only while they match."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from embedfleet.engine.compute.output import Output
from embedfleet.engine.onnx.forward_pass import OutputNames
from embedfleet.engine.onnx.int8_deviation import Int8Deviation


@dataclass(frozen=True, slots=True)
class FileDigest:
    """Size and digest of one file.

    Attributes:
        size: Size of the file, in bytes.
        digest: Digest of the file's content, from `files.checksum.checksum`.
    """

    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class PackedManifest:
    """Content of a packed model.

    Attributes:
        files: Digests of all files of the model, by file name.
        outputs: Names of the outputs in the graph.
        deviations: Distance of each output from float32, as the process that packed the model measured it.
    """

    files: Mapping[str, FileDigest]
    outputs: OutputNames
    deviations: tuple[Int8Deviation, ...]

    def to_bytes(self) -> bytes:
        """Encode the manifest, with a digest of its own text."""
        said = json.dumps(
            {
                "files": {name: asdict(file) for name, file in self.files.items()},
                "outputs": dict(self.outputs),
                "errors": [asdict(deviation) for deviation in self.deviations],
            }
        )
        return json.dumps({"digest": _digest(said), "said": said}).encode()


def read_manifest(file: Path) -> PackedManifest:
    """Read a manifest that `PackedManifest.to_bytes` made.

    Raises:
        OSError: The file cannot be read.
        ValueError: The content is not an intact manifest.
    """
    data = file.read_bytes()
    try:
        values = json.loads(_said(json.loads(data)))
        return PackedManifest(
            {str(name): FileDigest(**digest) for name, digest in values["files"].items()},
            {Output(output): str(name) for output, name in values["outputs"].items()},
            tuple(Int8Deviation(**error | {"output": Output(error["output"])}) for error in values["errors"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file} is not what was written: {type(error).__name__}: {error}") from error


def _said(written: Mapping[str, str]) -> str:
    """Take the text that the manifest's digest covers.

    Raises:
        ValueError: The digest does not match.
    """
    if _digest(written["said"]) != written["digest"]:
        raise ValueError("its digest differs")
    return written["said"]


def _digest(said: str) -> str:
    return sha256(said.encode()).hexdigest()
