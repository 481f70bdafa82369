"""A model folder with an ONNX file as exporters write it: padded inputs with a mask, named outputs."""

import json
import shutil
import warnings
from pathlib import Path

_NAMES = {"Model": "last_hidden_state", "ForMaskedLM": "logits", "ForSequenceClassification": "logits"}


def to_onnx(folder: Path, *, output: str = "", keep: bool = False) -> Path:
    """Trace the folder's model into ``onnx/model.onnx``, and remove its other weights unless they are kept.

    The attention mask and the positions are computed outside of the traced model, which would otherwise contain those
    of the example.
    """
    import torch
    import transformers

    config = json.loads((folder / "config.json").read_text())
    (architecture,) = config["architectures"]
    options = {"add_pooling_layer": False} if architecture.endswith("Model") else {}
    first = config["pad_token_id"] + 1 if config["model_type"] == "xlm-roberta" else 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = getattr(transformers, architecture)
        model = kind.from_pretrained(folder, attn_implementation="eager", **options).eval()

        class Exported(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.model = model

            def forward(self, input_ids, attention_mask, token_type_ids):
                blocked = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(torch.float32).min
                places = torch.cumsum(torch.ones_like(input_ids), dim=1) - 1 + first
                return self.model(
                    input_ids=input_ids, attention_mask=blocked, token_type_ids=token_type_ids, position_ids=places
                )[0]

        (folder / "onnx").mkdir()
        example = torch.ones(2, 5, dtype=torch.int64)
        inputs = ["input_ids", "attention_mask", "token_type_ids"]
        name = output or next(name for end, name in _NAMES.items() if architecture.endswith(end))
        torch.onnx.export(
            Exported(),
            (example, example, torch.zeros_like(example)),
            str(folder / "onnx" / "model.onnx"),
            input_names=inputs,
            output_names=[name],
            dynamic_axes={key: {0: "batch", 1: "length"} for key in (*inputs, name)},
            dynamo=False,
        )
    if not keep:
        (folder / "model.safetensors").unlink()
    return folder


def give_as(folder: Path, target: Path, kind: str, *, factor: float = 1.0) -> Path:
    """Scale the outputs of the exported model and convert them to another type.

    Args:
        folder: Folder that `to_onnx` returned.
        target: Folder to write.
        kind: Type as ONNX names it, such as ``FLOAT16``.
        factor: Factor, applied before the conversion in float32, or in float64 if that is the type.
    """
    import onnx

    shutil.copytree(folder, target)
    file = target / "onnx" / "model.onnx"
    model = onnx.load(file)
    (given,) = model.graph.output
    for node in model.graph.node:
        node.output[:] = ["before" if name == given.name else name for name in node.output]
        node.input[:] = ["before" if name == given.name else name for name in node.input]
    wide = onnx.TensorProto.DOUBLE if kind == "DOUBLE" else onnx.TensorProto.FLOAT
    wanted = getattr(onnx.TensorProto, kind)
    model.graph.initializer.append(onnx.helper.make_tensor("factor", wide, [], [factor]))
    model.graph.node.extend(
        [
            onnx.helper.make_node("Cast", ["before"], ["wide"], to=wide),
            onnx.helper.make_node("Mul", ["wide", "factor"], ["scaled"]),
            onnx.helper.make_node("Cast", ["scaled"], [given.name], to=wanted),
        ]
    )
    given.type.tensor_type.elem_type = wanted
    onnx.save(model, file)
    return target
