"""A model as an ONNX graph over its own tensors. Loads `onnx`, which a replica on packed weights has no need of."""

from embedfleet.engine.compute.output import Output
from embedfleet.engine.compute.output_heads import compute_outputs, outputs_of
from embedfleet.engine.files.weights import Weights
from embedfleet.engine.model.spec import ModelSpec
from embedfleet.engine.onnx.graph import Graph
from embedfleet.engine.onnx.ops import OnnxOps


def build_graph(spec: ModelSpec, *, int8: bool = False) -> tuple[Graph, dict[Output, str]]:
    """The graph of a model, and the names in it of what can be asked.

    Args:
        spec: of the model.
        int8: whether its dense layers are computed in bytes, see `OnnxOps.dense`.

    Raises:
        ModelError: a tensor is missing or not of the shape that the config asks for.
    """
    weights = Weights(spec.weights_file, spec.family.anchor)
    ops = OnnxOps(int8=int8)
    outputs = compute_outputs(spec, ops, weights, outputs_of(spec))
    return ops.build(list(outputs.values())), outputs
