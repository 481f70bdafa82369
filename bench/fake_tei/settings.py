"""What one replica is told."""

from dataclasses import dataclass, field
from typing import Any

from bench.fake_tei.calls import Reading
from bench.fake_tei.model import FakeModel
from bench.fake_tei.oracle import LABELS
from bench.workload import LONGEST, MEASURED, Cost

_TYPES: dict[str, Any] = {
    "embedding": {"embedding": {"pooling": "cls"}},
    "reranker": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
    "classifier": {
        "classifier": {
            "id2label": {str(n): label for n, label in enumerate(LABELS)},
            "label2id": {label: n for n, label in enumerate(LABELS)},
        }
    },
}
KINDS = tuple(_TYPES)


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """Settings of one replica; the defaults are TEI's.

    Attributes:
        kind: of the model, as ``/info`` tells it; every call is answered whatever it is.
        cost: of a batch.
        permits: texts that are let in at once.
        client_batch: the most texts of one call.
        payload_bytes: the largest body.
        ahead: whether a batch is formed while another runs.
        fake: what stands for the model.
        back_s: how long nobody listens after a text that ends the replica; 0 for until ``heal``, None for the end of
            the whole process, as of one that aborts.
    """

    kind: str = "embedding"
    model: str = "/models/fake"
    revision: str | None = None
    cost: Cost = field(default_factory=lambda: MEASURED)
    permits: int = 512
    client_batch: int = 32
    payload_bytes: int = 2_000_000
    longest: int = LONGEST
    ahead: bool = True
    fake: FakeModel = field(default_factory=FakeModel)
    back_s: float | None = 0.0

    def reading(self) -> Reading:
        """What calls are read with."""
        return Reading(self.longest, self.client_batch, self.fake)

    def info(self) -> dict[str, Any]:
        """Body of ``/info``, fields in TEI's order."""
        return {
            "model_id": self.model,
            "model_sha": self.revision,
            "model_dtype": "float16",
            "served_model_name": self.model,
            "model_type": _TYPES[self.kind],
            "max_concurrent_requests": self.permits,
            "max_input_length": self.longest,
            "max_batch_tokens": self.cost.batch_tokens,
            "max_batch_requests": None,
            "max_client_batch_size": self.client_batch,
            "auto_truncate": True,
            "tokenization_workers": 1,
            "version": "1.9.3",
            "sha": None,
            "docker_label": None,
        }
