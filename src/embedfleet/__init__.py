"""embedfleet: text embeddings and reranking from every device of a machine."""

import os

__version__ = "0.1.0"

# Turn off the telemetry of libraries. They read these variables when they are imported, and no module of ours, and no
# process that it starts, runs before this. Values that a user has set are replaced, so telemetry cannot be turned on.
os.environ.update(
    {
        # ONNX Runtime gives the machine an id, and sends a database that it keeps under ~/.cache. Its own
        # `disable_telemetry_events` does not prevent this (1.32.0).
        "ORT_DISABLE_TELEMETRY": "1",
        # The hub's client sends, when it downloads a model, the installed libraries and the speed.
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_XET_TELEMETRY_ENABLED": "0",
    }
)
