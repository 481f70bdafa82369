"""A max_connections beyond the limit of open files is reported with its value, the limit and a hint."""

from embedfleet.config.load import load
from embedfleet.control.preflight.open_files import check_open_files
from embedfleet.system.kernel_limits import files_for


def services(**flags):
    return load(None, {}, {key.replace("__", "."): value for key, value in flags.items()}).services


def test_enough_open_files_are_ok():
    assert check_open_files(services(), files_for(10_000)).state == "ok"


def test_too_few_open_files_are_reported_with_service_values_and_remedy():
    check = check_open_files(services(embedder__max_connections="20000"), files_for(10_000))
    assert (check.id, check.state) == ("files", "warn")
    assert "embedder is 20000" in check.message
    assert "lets in 10000 clients" in check.message
    assert str(files_for(20_000)) in check.hint
    assert "reranker" not in check.message
