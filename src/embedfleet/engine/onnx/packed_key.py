"""The name of a packed model: it differs whenever the packed weights could differ."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from embedfleet.engine.compute.output_heads import outputs_of
from embedfleet.engine.model.folder_state import FolderState
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.onnx.session import runtime

_ENGINE = Path(__file__).parents[1]
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class PackedKey:
    """The name of a packed model, in three digests.

    Attributes:
        place: Digest of the model folder's path.
        contents: Digest of the model's files, the runtime, the processor and the engine's code.
        graph: Digest of the choices that decide the graph.
    """

    place: str
    contents: str
    graph: str

    @property
    def name(self) -> str:
        """The name of the folder that holds the packed model."""
        return f"{self.place}-{self.contents}-{self.graph}"

    def is_outdated(self, name: str) -> bool:
        """Whether a folder of that name was packed from earlier contents of the same model folder."""
        return name.startswith(f"{self.place}-") and not name.startswith(f"{self.place}-{self.contents}-")


def packed_key(spec: ModelSpec, state: FolderState, *, int8: bool) -> PackedKey:
    """Make the key of a model's packed weights.

    Args:
        spec: Model to pack.
        state: State of the model's files.
        int8: Whether dense layers are computed in int8.
    """
    graph = (spec.kind, spec.max_input_length, outputs_of(spec), *(("int8", spec.pooling) if int8 else ()))
    return PackedKey(
        _digest(bytes(spec.folder.resolve())),
        _digest(state.digest() + runtime().encode() + code_digest()),
        _digest(repr(graph).encode()),
    )


def code_digest(folder: Path = _ENGINE) -> bytes:
    """Digest of all Python files below a folder, by default of the engine's own, which decide the graph."""
    digest = sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.digest()


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:_DIGITS]
