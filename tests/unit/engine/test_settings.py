"""Every engine option is a field of the engine's settings, and a running engine reads it."""

import asyncio
from dataclasses import dataclass, fields

import pytest

from embedfleet.config.settings import EngineOptions
from embedfleet.dialects.serving.tei import EmbedRequest, Truncation
from embedfleet.engine.api.info import info, served_name
from embedfleet.engine.api.operations import Operations
from embedfleet.engine.engine import load
from embedfleet.engine.settings import EngineSettings
from embedfleet.metrics import TEI, Registry


@dataclass(frozen=True, slots=True)
class Extended(EngineSettings):
    """Settings with a field that no code reads."""

    unread: int = 0


def recording(read):
    """Settings that add the name of each attribute that is read to a set."""

    class Recording(Extended):
        def __getattribute__(self, name):
            read.add(name)
            return super().__getattribute__(name)

    return Recording()


@pytest.fixture(scope="module")
def read():
    """The settings that an engine reads until it has answered a request and `/info`."""
    read = set()
    settings = recording(read)
    engine = load(settings, Registry(TEI))
    try:
        request = EmbedRequest(("a text",), batch=False, truncation=Truncation(), prompt_name=None)
        asyncio.run(Operations(engine, settings).embed(request))
        info(engine.spec, settings, late_interaction=False, precision=engine.precision)
        served_name(settings)
    finally:
        engine.close()
    return read


@pytest.mark.parametrize("option", [item.name for item in fields(EngineOptions)])
def test_an_engine_reads_every_option(read, option):
    assert option in read


def test_a_field_that_no_code_reads_is_found_out(read):
    assert {item.name for item in fields(Extended)} - read >= {"unread"}
