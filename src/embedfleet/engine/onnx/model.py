"""A model loaded in ONNX Runtime, and its loading into the memory of this process."""

from dataclasses import dataclass
from pathlib import Path

from embedfleet.engine.compute.resource_check import check_disk, require_memory
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.onnx.forward_pass import ForwardPass
from embedfleet.engine.onnx.int8_deviation import Int8Deviation, SampleTexts, deviations_of
from embedfleet.engine.onnx.mapped_file import MappedFile
from embedfleet.engine.onnx.session import OnnxSession

# Measured, as multiples of the weights in float32: the peak of memory when loading into own memory and when packing
# into files, and the peak of disk space when packing, which includes a temporary file.
_MEMORY, _MEMORY_TO_PACK, _DISK_TO_PACK = 2.6, 1.5, 2.8


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A loaded model, ready to compute.

    Attributes:
        forward: Forward pass of the model.
        deviations: Measured distance of each output from float32; empty for a model in float32.
        files: Files that the weights are mapped from; empty if they are in this process' own memory.
    """

    forward: ForwardPass
    deviations: tuple[Int8Deviation, ...] = ()
    files: tuple[MappedFile, ...] = ()


def own_model(spec: ModelSpec, *, int8: bool = False) -> OnnxModel:
    """Load a model with weights packed into this process' own memory.

    Args:
        spec: Model that `read_model` accepted.
        int8: Whether dense layers are computed in int8. The model is then loaded in float32 first, and both versions
            compute the sample texts, to measure the deviations.

    Raises:
        ModelError: A tensor is missing or not of the config's shape, or the runtime refuses the graph.
        errors.OutOfMemory: The memory does not suffice for the weights.
    """
    if not int8:
        return OnnxModel(load_forward_pass(spec))
    sample = SampleTexts(spec)
    exact = sample.rows(load_forward_pass(spec))  # the float32 model is freed before the next one is loaded
    forward = load_forward_pass(spec, int8=True)
    return OnnxModel(forward, deviations_of(exact, sample.rows(forward)))


def load_forward_pass(spec: ModelSpec, *, int8: bool = False, save_to: Path | None = None) -> ForwardPass:
    """Build a model's graph and load it into the runtime.

    Args:
        spec: Model that `read_model` accepted.
        int8: Whether dense layers are computed in int8.
        save_to: File for the graph with packed weights beside it, as `OnnxSession.of_graph` saves it; None for none.

    Raises:
        ModelError: A tensor is missing or not of the config's shape, or the runtime refuses the graph.
        OSError: The disk is too small for the packed weights, or they cannot be written.
        errors.OutOfMemory: The memory does not suffice for the weights.
    """
    from embedfleet.engine.onnx.model_graph import build_graph  # noqa: PLC0415 - memory that packed replicas save

    graph, names = build_graph(spec, int8=int8)
    size = graph.initializers.size_bytes
    least, likely = (size, _MEMORY * size) if save_to is None else (0, _MEMORY_TO_PACK * size)
    require_memory(spec.folder, least, int(likely))
    if save_to is not None:
        check_disk(save_to.parent, int(_DISK_TO_PACK * size))
    return ForwardPass(spec.family, OnnxSession.of_graph(graph, spec.folder, save_to), names)
