"""Requests in Google Vertex's format, ``{"instances": […]}``, which hold one request per instance.

Every build of TEI accepts them.
"""

from typing import Any

import orjson

from embedfleet.dialects.json_body import Fields
from embedfleet.dialects.serde import tei_structs
from embedfleet.dialects.serde.error_wording import fields_of, is_readable
from embedfleet.dialects.serde.json_reader import Fault
from embedfleet.dialects.serde.structs import Struct
from embedfleet.errors import Validation


class Vertex:
    """Reader of Vertex requests to one model.

    Args:
        model_type: Type of the model as in ``/info``.
    """

    def __init__(self, model_type: dict[str, Any]) -> None:
        self._operation, self._struct = _main_operation(model_type)

    def read(self, instances: list[Any]) -> list[tuple[str, Fields]]:
        """Read each instance's operation and fields; an instance that has a ranking's fields is a ranking.

        Raises:
            Validation: An instance fits neither a ranking nor the model's own operation.
        """
        read = self._read if is_readable(orjson.dumps(instances)) else self._guess
        return [read(instance) for instance in instances]

    def _read(self, instance: object) -> tuple[str, Fields]:
        body = orjson.dumps(instance)
        try:
            return "rerank", Fields(fields_of(body, tei_structs.RERANK))
        except Fault:
            pass
        try:
            return self._operation, Fields(fields_of(body, self._struct))
        except Fault as fault:
            raise Validation(fault.message) from None

    def _guess(self, instance: object) -> tuple[str, Fields]:
        """Read an instance by its keys alone, for a request with too many items to be read as TEI does."""
        if not isinstance(instance, dict):
            raise Validation("an instance is not an object")
        return ("rerank" if "texts" in instance else self._operation), Fields(instance)


def _main_operation(model_type: dict[str, Any]) -> tuple[str, Struct]:
    """The operation of an instance that is not a ranking, and the struct of its fields."""
    embedding = model_type.get("embedding")
    if embedding is None:
        return "predict", tei_structs.PREDICT
    return (
        ("embed_sparse", tei_structs.EMBED_SPARSE) if embedding["pooling"] == "splade" else ("embed", tei_structs.EMBED)
    )
