"""How long the property tests look for a failure: usually a moment, a long time when asked."""

from hypothesis import HealthCheck, settings

import embedfleet  # noqa: F401 - before any test imports a library that calls home

settings.register_profile("long", max_examples=200_000, deadline=None, suppress_health_check=list(HealthCheck))
