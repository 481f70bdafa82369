"""The compiled wheels that run.sh takes, and those that it refuses with a reason."""

import pytest

from scripts.compiled_wheel import candidates, fault_of, unpack_fitting
from tests.services.compiled_wheel import add_sources, make_wheel


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "clone"
    (root / "wheels").mkdir(parents=True)
    (root / "src/embedfleet").mkdir(parents=True)
    (root / "src/embedfleet/__init__.py").write_text("VERSION = 1\n")
    add_sources(root / "src")
    return root


@pytest.mark.parametrize("place", [".", "wheels", ".."])
def test_a_wheel_of_the_same_source_is_taken(root, place):
    wheel = make_wheel(root / place, root / "src", b"module")
    site = root / "site"
    taken = unpack_fitting(root, site)
    assert taken is not None
    assert taken.resolve() == wheel.resolve()
    assert [path.read_bytes() for path in (site / "embedfleet").glob("metrics.*.so")] == [b"module"]
    assert (site / "embedfleet/__init__.py").read_text() == "VERSION = 1\n"
    assert not list(site.glob("*.dist-info")), "pip does not own it"


def test_wheels_of_other_pythons_and_platforms_are_no_candidates(root):
    wheel = make_wheel(root, root / "src", b"module")
    name = wheel.name
    wheel.rename(root / name.replace("cp3", "cp9"))
    (root / "embedfleet-0.1.0-py3-none-any.whl").touch()
    assert list(candidates(root)) == []


@pytest.mark.parametrize(
    ("changes", "fault"),
    [({"metrics": b"another"}, "is not what its list says"), ({"proxy": b"import os"}, "is not what its list says")],
)
def test_a_damaged_wheel_is_refused(root, changes, fault):
    assert fault in fault_of(make_wheel(root, root / "src", b"module", **changes), root / "src")


@pytest.mark.parametrize("change", ["changed", "added", "removed"])
def test_a_wheel_of_another_source_is_refused_by_name(root, capsys, change):
    wheel = make_wheel(root, root / "src", b"module")
    file = root / "src/embedfleet/http/connection.py"
    match change:
        case "changed":
            file.write_text("import os\n")
        case "added":
            file = file.with_name("added.py")
            file.touch()
        case "removed":
            file.unlink()
    assert unpack_fitting(root, root / "site") is None
    assert f"{wheel} is not used: it was made of another source (for example embedfleet/http/{file.name})" in (
        capsys.readouterr().err
    )
    assert not (root / "site").exists()


def test_a_wheel_that_others_can_write_is_refused(root):
    wheel = make_wheel(root.parent, root / "src", b"module")
    wheel.chmod(0o666)
    assert fault_of(wheel, root / "src") == "another user can write it"


def test_a_file_that_is_no_wheel_is_refused(root):
    wheel = make_wheel(root, root / "src", b"module")
    wheel.write_bytes(b"broken off")
    assert "it is damaged" in fault_of(wheel, root / "src")
