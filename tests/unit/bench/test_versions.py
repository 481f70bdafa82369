"""Another checkout is found, and what is started for it is of it."""

import subprocess
import sys

import pytest

from bench.measuring.versions import environment, versions


@pytest.fixture
def checkout(tmp_path):
    package = tmp_path / "src" / "embedfleet"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("VERSION = 'before'")
    return tmp_path


def test_python_finds_the_other_version_in_the_other_checkout(checkout):
    mine, other = versions(checkout)
    assert other == checkout / "src"
    command = [sys.executable, "-c", "import embedfleet; print(getattr(embedfleet, 'VERSION', 'now'))"]
    said = [
        subprocess.run(command, env=environment(path), stdout=subprocess.PIPE, check=True) for path in (mine, other)
    ]
    assert [done.stdout for done in said] == [b"now\n", b"before\n"]


def test_a_folder_without_the_project_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        versions(tmp_path)
    assert ended.value.code == 2
    assert f"{tmp_path} is not a checkout of this project" in capsys.readouterr().err
