"""A folder with the files of run.sh and a stand-in for the package, which installs quickly and without a network."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pip

ROOT = Path(__file__).parent.parent.parent
LIMIT_S = 120
# A program that prints its arguments and its environment, and with --serve waits for a line and runs itself again.
STAND_IN = """\
import os, sys
from pathlib import Path
if "--needs-docker" in sys.argv:
    sys.exit(int(os.environ.get("NEEDS", "0")))
if "--needs-compiler" in sys.argv:
    sys.exit(int(os.environ.get("NEEDS_COMPILER", "10")))
print(sys.argv[1:], sys.prefix, flush=True)
if "--serve" in sys.argv:
    from embedfleet.cli.environment import keep_environment
    keep_environment()
    print("serving", flush=True)
    sys.stdin.readline()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "embedfleet", "again"])
"""

# An environment without pip is made much faster; the tests' own pip installs into it.
QUICK = """#!/bin/sh
if [ "$2" = venv ]; then
    shift 2
    exec "{python}" -m venv --without-pip "$@"
fi
exec "{python}" "$@"
"""


class Clone:
    """A clone of the repository whose path has a blank.

    Attributes:
        folder: Folder of run.sh.
        venv: Virtual environment that run.sh makes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "a clone"
        self.folder.mkdir(parents=True)
        shutil.copy(ROOT / "run.sh", self.folder)
        (self.folder / "scripts").mkdir()
        for name in ("sources", "compile", "start", "environment"):
            shutil.copy(ROOT / "scripts" / name, self.folder / "scripts")
        for file in (ROOT / "scripts").glob("compile*.py"):
            shutil.copy(file, self.folder / "scripts")
        (self.folder / "requirements.lock").write_text("# nothing\n")
        for package in ("embedfleet", "embedfleet/cli"):
            (self.folder / "src" / package).mkdir(parents=True)
            (self.folder / "src" / package / "__init__.py").touch()
        shutil.copy(ROOT / "src/embedfleet/cli/environment.py", self.folder / "src/embedfleet/cli")
        (self.folder / "src/embedfleet/__main__.py").write_text(STAND_IN)
        self.venv = self.folder / ".venv"
        self.python = folder / "quick-python"
        self.python.write_text(QUICK.format(python=sys.executable))
        self.python.chmod(0o755)
        (folder / "pip only").mkdir()
        (folder / "pip only/pip").symlink_to(Path(pip.__file__).parent)
        self._env = {"PIP_NO_INDEX": "1", "PYTHONPATH": str(folder / "pip only"), "PYTHON": str(self.python)}

    @property
    def environments(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob(".venv-run-*"))

    @property
    def in_force(self) -> str:
        return str(self.venv.readlink())

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `.venv/bin/embedfleet` in another folder."""
        return self.run_command(Path("/"), *arguments)

    def run_command(self, folder: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `.venv/bin/embedfleet` in any folder."""
        return self._run([str(self.venv / "bin/embedfleet"), *arguments], folder, env)

    def run(self, *arguments: str, by: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        """Run `run.sh`, or a command that leads to it."""
        return self._run([str(by or "./run.sh"), *arguments], self.folder, env)

    def begin(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start `run.sh` without waiting for its end."""
        return subprocess.Popen(
            ["./run.sh", *arguments],
            cwd=self.folder,
            env=os.environ | self._env | env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def execute(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Run any command in the clone's folder."""
        return self._run(list(command), self.folder, env)

    def becomes(self, result: subprocess.CompletedProcess[str], *arguments: str) -> bool:
        """Whether run.sh called the package with these arguments in its environment."""
        return result.stdout == f"{list(arguments)} {self.venv.resolve()}\n"

    def change_lock(self, text: str = "# nothing, again\n") -> None:
        (self.folder / "requirements.lock").write_text(text)

    def need_what_cannot_be_had(self) -> None:
        """Name a package in the lock that cannot be installed."""
        self.change_lock(f"./thing-1-py3-none-any.whl --hash=sha256:{'0' * 64}\n")

    def _run(self, command: list[str], folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=folder,
            env=os.environ | self._env | env,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
