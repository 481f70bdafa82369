"""Settings of a fake replica."""

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
        kind: Kind of model in ``/info``; every call is answered, whatever the kind.
        model: Model name in ``/info``.
        served_name: Model name in OpenAI's answers; empty for ``model``.
        revision: Model revision in ``/info``.
        cost: Cost of a batch.
        permits: Maximum number of texts accepted at once.
        client_batch: Maximum number of texts in a call.
        payload_bytes: Size of the largest body.
        longest: Maximum number of tokens in an input (``max_input_length``).
        auto_truncate: Whether texts that are too long are truncated, for calls that do not say.
        prompt_name: Name of the prompt for calls that name none; empty for no prompt.
        api_key: Key needed for everything but health, metrics and pages; empty for none.
        ahead: Whether a batch is formed while another runs.
        fake: The fake model.
        back_s: Seconds without a listener after a text that ends the replica; 0 for until ``heal``, None for the end
            of the whole process, as if it had aborted.
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
        """The settings for reading calls."""
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
