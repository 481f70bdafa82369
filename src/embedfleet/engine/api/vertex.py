"""Google Vertex's shape, ``{"instances": […]}``, of which TEI has a route in every build: a request each."""

from typing import Any, Literal

import orjson

from embedfleet.dialects.body import Fields
from embedfleet.dialects.serde import forms
from embedfleet.dialects.serde.reader import Fault
from embedfleet.dialects.serde.reading import fields_of, is_readable
from embedfleet.dialects.serde.shapes import Struct
from embedfleet.errors import Validation

Task = Literal["embed", "sparse", "rerank", "predict"]


class Vertex:
    """What instances ask of a model.

    Args:
        model_type: as ``/info`` tells it.
    """

    def __init__(self, model_type: dict[str, Any]) -> None:
        self._task, self._struct = _main(model_type)

    def read(self, instances: list[Any]) -> list[tuple[Task, Fields]]:
        """Each instance's task, and its fields; what can be a ranking is one.

        Raises:
            Validation: one is neither that, nor what the model is for.
        """
        read = self._read if is_readable(orjson.dumps(instances)) else self._guess
        return [read(instance) for instance in instances]

    def _read(self, instance: object) -> tuple[Task, Fields]:
        body = orjson.dumps(instance)
        try:
            return "rerank", Fields(fields_of(body, forms.RERANK))
        except Fault:
            pass
        try:
            return self._task, Fields(fields_of(body, self._struct))
        except Fault as fault:
            raise Validation(fault.message) from None

    def _guess(self, instance: object) -> tuple[Task, Fields]:
        """As `_read`, where there is too much to be read as TEI does."""
        if not isinstance(instance, dict):
            raise Validation("an instance is no object")
        return ("rerank" if "texts" in instance else self._task), Fields(instance)


def _main(model_type: dict[str, Any]) -> tuple[Task, Struct]:
    """What is neither a ranking nor refused."""
    embedding = model_type.get("embedding")
    if embedding is None:
        return "predict", forms.PREDICT
    return ("sparse", forms.EMBED_SPARSE) if embedding["pooling"] == "splade" else ("embed", forms.EMBED)
