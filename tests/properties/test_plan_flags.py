"""The verbs read the flags of a plan as the same settings, for any values."""

from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.cli.verbs.engine import command as engine
from embedfleet.cli.verbs.gateway import command as gateway
from embedfleet.config.settings import EngineOptions, GatewayOptions
from embedfleet.control.plan.process_flags import changed_flags
from tests.services.settings import records


@given(records(EngineOptions))
def test_engine_options_come_back(options):
    flags = changed_flags(EngineOptions, options)
    assert len({flag.partition("=")[0] for flag in flags}) == len(flags)
    assert read(engine, flags, EngineOptions) == asdict(options)


@given(records(GatewayOptions))
def test_gateway_options_come_back(options):
    assert read(gateway, changed_flags(GatewayOptions, options), GatewayOptions) == asdict(options)


@given(st.sampled_from([(EngineOptions, EngineOptions()), (GatewayOptions, GatewayOptions())]))
def test_defaults_need_no_flag(case):
    assert changed_flags(*case) == ()


def read(verb, flags: tuple[str, ...], record: type) -> dict:
    values = verb.make_context(verb.name, list(flags)).params
    return {name: values[name] for name in asdict(record())}
