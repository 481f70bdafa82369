"""Any content of a file, a variable or a flag is a value or a fault with a message, and never crashes a verb."""

from dataclasses import fields
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from embedfleet.config.environment import sort_variables, variable
from embedfleet.config.file import parse, salvage
from embedfleet.config.load import load_valid
from embedfleet.config.option import options_of
from embedfleet.config.settings import SERVICE_RECORDS, FleetOptions
from tests.services.kubernetes import of_service

OPTIONS = [option for record in (FleetOptions, *SERVICE_RECORDS) for option in options_of(record).values()]
KEYS = [f"fleet.{item.name}" for item in fields(FleetOptions)]
KEYS += [f"embedder.{item.name}" for record in SERVICE_RECORDS for item in fields(record)]

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.dates(),
    st.times(),
    st.integers(10**400, 10**401),
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=5)
texts = (
    st.text() | st.integers().map(str) | st.floats().map(str) | st.sampled_from(["", "auto", "true", "\udcff", "~x/y"])
)


@given(st.sampled_from(OPTIONS), values)
def test_a_value_is_taken_or_refused_with_words(option, value):
    problem = option.check(value)
    assert problem or (type(value) in option.types or isinstance(value, list | int))
    assert len(problem) < 600


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), texts), st.booleans())
def test_texts_are_values_or_faults_that_name_where_they_came_from(given_texts, by_flag):
    env = {} if by_flag else {variable(key): text for key, text in given_texts.items()}
    found, faults = load_valid(None, env, given_texts if by_flag else {})
    assert found.services or faults
    assert all(fault.key and fault.message for fault in faults)


@given(st.binary())
@example(b"\xef\xbb\xbf[fleet]\nstate_dir='x'\r\n[")
def test_bytes_are_a_table_or_a_fault(content):
    table, faults = parse(content, "fleet.toml")
    assert not (table and faults)
    assert all(fault.hint for fault in faults)
    assert isinstance(salvage(content)["fleet"], dict)


@given(st.sets(st.from_regex(r"EMBEDFLEET(_[A-Z]{1,5}){0,2}", fullmatch=True)), st.sampled_from(["tcp", "udp", "sctp"]))
def test_variables_of_kubernetes_services_are_never_taken_for_ours(names, protocol):
    env = {name: text for service in names for name, text in of_service(service, protocol).items()}
    known = {variable(key) for key in KEYS}
    sorted_ = sort_variables(env, known)
    assert (sorted_.texts, sorted_.stray) == ({}, ())
    assert set(sorted_.services) == set(env)


def test_the_default_settings_are_sound():
    assert load_valid(Path("/dev/null"), {}, {})[1] == []
