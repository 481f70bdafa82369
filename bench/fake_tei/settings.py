"""What one replica is told."""

from dataclasses import dataclass, field
from typing import Any

from bench.fake_tei.calls import Kind, Reading
from bench.fake_tei.cost import MEASURED
from bench.fake_tei.model import FakeModel
from bench.fake_tei.oracle import LABELS
from embedfleet.load.workload import LONGEST
from embedfleet.simulation.batch_cost import BatchCost

_TYPES: dict[Kind, Any] = {
    "embedding": {"embedding": {"pooling": "cls"}},
    "splade": {"embedding": {"pooling": "splade"}},
    "reranker": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
    "classifier": {
        "classifier": {
            "id2label": {str(n): label for n, label in enumerate(LABELS)},
            "label2id": {label: n for n, label in enumerate(LABELS)},
        }
    },
}


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """Settings of one replica; the defaults are TEI's.

    Attributes:
        kind: of the model, as ``/info`` tells it; every call is answered whatever it is.
        model: its name in ``/info``.
        served_name: as OpenAI's call tells it; empty for ``model``.
        cost: of a batch.
        permits: texts that are let in at once.
        client_batch: the most texts of one call.
        payload_bytes: the largest body.
        auto_truncate: whether a text that is too long is cut where the call does not say.
        prompt_name: of the prompt where a call names none; empty for none.
        api_key: without which nothing but health, metrics and pages is told; empty for none.
        ahead: whether a batch is formed while another runs.
        fake: what stands for the model.
        back_s: how long nobody listens after a text that ends the replica; 0 for until ``heal``, None for the end of
            the whole process, as of one that aborts.
    """

    kind: Kind = "embedding"
    model: str = "/models/fake"
    served_name: str = ""
    revision: str | None = None
    cost: BatchCost = field(default_factory=lambda: MEASURED)
    permits: int = 512
    client_batch: int = 32
    payload_bytes: int = 2_000_000
    longest: int = LONGEST
    auto_truncate: bool = True
    prompt_name: str = ""
    api_key: str = ""
    ahead: bool = True
    fake: FakeModel = field(default_factory=FakeModel)
    back_s: float | None = 0.0

    def reading(self) -> Reading:
        """What calls are read with."""
        return Reading(
            longest=self.longest,
            client_batch=self.client_batch,
            model=self.fake,
            kind=self.kind,
            auto_truncate=self.auto_truncate,
            prompt_name=self.prompt_name,
            served_name=self.served_name or self.model,
        )

    def info(self) -> dict[str, Any]:
        """Body of ``/info``, fields in TEI's order."""
        return {
            "model_id": self.model,
            "model_sha": self.revision,
            "model_dtype": "float16",
            "served_model_name": self.served_name or self.model,
            "model_type": _TYPES[self.kind],
            "max_concurrent_requests": self.permits,
            "max_input_length": self.longest,
            "max_batch_tokens": self.cost.batch_tokens,
            "max_batch_requests": None,
            "max_client_batch_size": self.client_batch,
            "auto_truncate": self.auto_truncate,
            "tokenization_workers": 1,
            "version": "1.9.3",
            "sha": None,
            "docker_label": None,
        }
