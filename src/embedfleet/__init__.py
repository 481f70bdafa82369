"""embedfleet: text embeddings and reranking from every device of a machine."""

import os

__version__ = "0.1.0"

# Libraries that call home are told not to: here, for they read it when they are imported, and nothing of ours, nor a
# process that it starts, runs before this. What a person has set is replaced: there is no way to turn it on.
os.environ.update(
    {
        # ONNX Runtime gives the machine an id, keeps a database under ~/.cache and sends it. Its own
        # `disable_telemetry_events` changes nothing of that (1.32.0).
        "ORT_DISABLE_TELEMETRY": "1",
        # The hub's client, while it downloads a model: what else is installed here, and how fast it went.
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_XET_TELEMETRY_ENABLED": "0",
    }
)
