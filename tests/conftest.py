"""No test asks the hub, and how long the property tests look for a failure: a moment, or a long time when asked."""

import os

from hypothesis import HealthCheck, settings

import embedfleet  # noqa: F401 - before any test imports a library that calls home

# sentence-transformers asks the hub about a model even if that is a folder. The hub's client reads it at its import.
os.environ["HF_HUB_OFFLINE"] = "1"

settings.register_profile("long", max_examples=200_000, deadline=None, suppress_health_check=list(HealthCheck))
# A busy machine must not fail a property. With CI set, Hypothesis has a profile of its own that allows for that.
if "CI" not in os.environ:
    settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("here")
