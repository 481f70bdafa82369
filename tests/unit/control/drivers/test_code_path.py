"""The code that the processes of a fleet import."""

from pathlib import Path

from embedfleet.control.drivers.code_path import CodePath

ROOT = Path("/clone")
FITS = "/clone/.compiled-run-2"


def test_a_fleet_that_runs_compiled_starts_compiled_processes():
    code = CodePath({"PYTHONPATH": f"{FITS}:/others", "A": "b"}, ROOT)
    assert code.compiled == Path(FITS)
    assert code.environment() == {"PYTHONPATH": f"{FITS}:/others", "A": "b"}
    assert code.plain() == {"PYTHONPATH": "/others", "A": "b"}


def test_processes_import_compiled_code_once_it_is_there():
    code = CodePath({"PYTHONPATH": "/others"}, ROOT)
    assert code.environment() == {"PYTHONPATH": "/others"}
    code.compiled = Path(FITS)
    assert code.environment() == {"PYTHONPATH": f"{FITS}:/others"}
    code.compiled = Path("/clone/.compiled-run-3")
    assert code.environment() == {"PYTHONPATH": "/clone/.compiled-run-3:/others"}


def test_without_permission_compiled_code_is_taken_out():
    code = CodePath({"PYTHONPATH": FITS, "A": "b"}, ROOT, may_be_compiled=False)
    assert (code.compiled, code.environment(), code.reason) == (None, {"A": "b"}, "compile is off")


def test_folders_of_others_stay():
    given = {"PYTHONPATH": "/elsewhere/.compiled:/clone/src"}
    assert CodePath(given, ROOT).environment() == given
    assert CodePath(given, None, may_be_compiled=False).environment() == given
