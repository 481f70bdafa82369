"""Engines of the built-in model, shared by the tests of this folder."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.services.engine import BUILTIN, Client, serving


@pytest.fixture(scope="session")
def embedder() -> Iterator[Client]:
    """The built-in model as an embedder."""
    with serving(BUILTIN) as client:
        yield client


@pytest.fixture(scope="session")
def reranker() -> Iterator[Client]:
    """The built-in model as a late-interaction reranker."""
    with serving(replace(BUILTIN, task="rerank")) as client:
        yield client
