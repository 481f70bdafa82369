"""TEI's flags are read back with their values, each occurs once, and no release gets a flag that it does not know."""

from hypothesis import given
from hypothesis import strategies as st

from embedfleet.cli.verbs.tei import command as tei
from embedfleet.config.settings import EngineOptions
from embedfleet.control.tei.container_flags import arguments, entrypoint, parse_version
from embedfleet.errors import UsageError
from tests.services.settings import records, words

releases = st.builds("{}.{}.{}".format, st.integers(0, 3), st.integers(7, 11), st.integers(0, 5))


def flags_of(options: EngineOptions, version: str, length: int = 0) -> tuple[str, ...]:
    return arguments(
        options,
        model="/m",
        version=version,
        payload_limit_bytes=1000,
        workers=2,
        max_input_length=length,
        dtype="auto",
    )


@given(records(EngineOptions), st.integers(0, 10**6))
def test_flags_that_clients_notice_are_read_back(options, length):
    flags = flags_of(options, "1.9.3", length)
    names = [flag.partition("=")[0] for flag in flags]
    assert len(set(names)) == len(names)
    found = tei.make_context("tei", list(flags)).params
    assert found["model_id"] == "/m"
    assert found["max_batch_tokens"] == max(options.max_batch_tokens, length)
    assert found["auto_truncate"] == str(options.auto_truncate).lower()
    assert (found["pooling"] or "auto") == options.pooling
    for name in (
        "max_concurrent_requests",
        "max_client_batch_size",
        "default_prompt",
        "default_prompt_name",
        "served_model_name",
    ):
        assert found[name] == getattr(options, name)


@given(releases, st.booleans(), words)
def test_a_release_gets_only_flags_that_it_knows(version, truncates, name):
    release = parse_version(version)
    try:
        flags = flags_of(EngineOptions(auto_truncate=truncates, served_model_name=name), version)
    except UsageError:
        assert not truncates
        assert (1, 9, 0) <= release < (1, 9, 2)
        return
    told = [flag for flag in flags if flag.startswith("--auto-truncate")]
    assert ("--auto-truncate=" in "".join(told)) == (release >= (1, 9, 2))
    assert bool(told) == (truncates or release >= (1, 9, 2))
    assert (f"--served-model-name={name}" in flags) == (release >= (1, 9, 0))


@given(releases, st.integers(300, 900))
def test_the_entrypoint_is_replaced_where_it_misreads_the_driver_alone(version, driver):
    is_replaced = bool(entrypoint(version, f"{driver}.43.02"))
    assert is_replaced == (driver >= 600 and parse_version(version) <= (1, 9, 3))
    assert entrypoint(version, "") == ()
