"""A model as an ONNX graph over its own tensors.

This module loads `onnx`, which a replica on packed weights does not need.
"""

from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import compute_outputs, outputs_of
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.onnx.graph import Graph
from embedfleet.engine.onnx.ops import OnnxOps


def build_graph(spec: ModelSpec, *, int8: bool = False) -> tuple[Graph, dict[Output, str]]:
    """Build the graph of a model.

    Args:
        spec: Model that `read_model` accepted.
        int8: Whether dense layers are computed in int8, as `OnnxOps.dense` describes.

    Returns:
        The graph, and the names of its outputs.

    Raises:
        ModelError: A tensor is missing or not of the shape that the config asks for.
    """
    weights = Weights(spec.weights_file, spec.family.anchor)
    ops = OnnxOps(int8=int8)
    outputs = compute_outputs(spec, ops, weights, outputs_of(spec))
    return ops.build(list(outputs.values())), outputs
