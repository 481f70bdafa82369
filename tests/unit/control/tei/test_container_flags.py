"""The flags of TEI's containers: the same settings, in the form that each release reads."""

import pytest

from embedfleet.cli.verbs.tei import command as tei
from embedfleet.config.settings import EngineOptions
from embedfleet.control.host.gpu import family_of_type
from embedfleet.control.tei.container_flags import arguments, entrypoint, environment, parse_version
from embedfleet.errors import UsageError


def flags(*, version: str = "1.9.3", length: int = 8192, dtype: str = "auto", **options):
    return arguments(
        EngineOptions(**options),
        model="/models/m",
        version=version,
        payload_limit_bytes=2_000_000,
        workers=4,
        max_input_length=length,
        dtype=dtype,
    )


def value(found: tuple[str, ...], name: str) -> str:
    (text,) = (word.removeprefix(f"{name}=") for word in found if word.startswith(f"{name}="))
    return text


def names(found: tuple[str, ...]) -> set[str]:
    return {word.partition("=")[0] for word in found}


def test_everything_that_clients_see_is_stated():
    found = flags()
    assert value(found, "--model-id") == "/models/m"
    assert value(found, "--port") == "80"
    assert value(found, "--max-client-batch-size") == "128"
    assert value(found, "--max-concurrent-requests") == "512"
    assert value(found, "--payload-limit") == "2000000"
    assert value(found, "--tokenization-workers") == "4"
    assert value(found, "--auto-truncate") == "true"


def test_a_batch_is_never_smaller_than_the_longest_input():
    assert value(flags(length=8192), "--max-batch-tokens") == "16384"
    assert value(flags(length=32_768), "--max-batch-tokens") == "32768"


@pytest.mark.parametrize(
    ("version", "wanted", "tail"),
    [
        ("1.9.3", True, ("--auto-truncate=true",)),
        ("1.9.2", False, ("--auto-truncate=false",)),
        ("1.9", False, ("--auto-truncate=false",)),
        ("latest", False, ("--auto-truncate=false",)),
        ("1.9.1", True, ("--auto-truncate",)),
        ("1.8.3", True, ("--auto-truncate",)),
    ],
)
def test_the_flag_for_truncation_has_the_form_of_the_release(version, wanted, tail):
    assert flags(version=version, auto_truncate=wanted)[-len(tail) :] == tail


def test_a_release_that_does_not_truncate_by_default_gets_no_flag():
    assert "--auto-truncate" not in names(flags(version="1.8.3", auto_truncate=False))


def test_a_release_that_always_truncates_is_refused():
    with pytest.raises(UsageError, match=r"TEI 1\.9\.0 has no flag to switch off truncation"):
        flags(version="1.9.0", auto_truncate=False)


def test_options_that_are_left_to_tei_have_no_flag():
    plain = flags()
    assert not names(plain) & {"--dtype", "--pooling", "--default-prompt", "--served-model-name"}
    chosen = flags(dtype="float32", pooling="mean", default_prompt="query: ", served_model_name="m")
    assert value(chosen, "--dtype") == "float32"
    assert value(chosen, "--pooling") == "mean"
    assert value(chosen, "--default-prompt") == "query: "
    assert value(chosen, "--served-model-name") == "m"
    assert "--served-model-name" not in names(flags(version="1.8.3", served_model_name="m"))


@pytest.mark.parametrize("text", ["- x", "--port", "-p 1", "a=b", "=", "query: "])
def test_a_text_is_one_word_with_its_flag_whatever_it_begins_with(text):
    for option in ("default_prompt", "default_prompt_name", "served_model_name"):
        found = flags(**{option: text})
        assert f"--{option.replace('_', '-')}={text}" in found
        assert all(word.startswith("--") for word in found)
        assert tei.make_context("tei", list(found)).params[option] == text


def test_flash_attention_is_off_on_turing_alone():
    assert environment(family_of_type("T4")) == {"USE_FLASH_ATTENTION": "False"}
    assert environment(family_of_type("H100")) == {}


@pytest.mark.parametrize(
    ("version", "driver", "wanted"),
    [
        ("1.9.3", "610.43.02", ("text-embeddings-router",)),
        ("1.8.0", "600.0", ("text-embeddings-router",)),
        ("1.9.3", "550.54.15", ()),
        ("1.9.4", "610.43.02", ()),
        ("latest", "610.43.02", ()),
        ("1.9.3", "", ()),
    ],
)
def test_the_entrypoint_that_misreads_new_drivers_is_replaced(version, driver, wanted):
    assert entrypoint(version, driver) == wanted


@pytest.mark.parametrize("text", ["", "1", "one", "1.9.3.4", "89-1.9"])
def test_an_invalid_release_is_refused(text):
    with pytest.raises(UsageError, match="is not a release of TEI"):
        parse_version(text)
