"""``python -m scripts.compiled_code STEP``: provides the compiled data path in `.compiled`, of a wheel or by compiling.

`.compiled` is a link to the current folder, `.compiled-run-NUMBER`. A new folder is made beside it, and the link is
changed when the new one is complete and can be imported. So nothing is ever half-made, and a process keeps the modules
that it has begun to import. The stamp in a folder says of which source and for which Python it was made. Each process
locks the stamp of its folder (cli/environment.py); folders that no process has locked are removed later.

Steps:
  prepare     take a wheel that fits; exit with 10 if the compiler should be fetched (run.sh)
  require     exit with 2 if a C compiler or Python's headers are missing (scripts/compile)
  compile     compile now, even if that has failed before (scripts/compile)
  background  compile if need be, at low priority and as a child of a fleet, which reads lines of JSON from stdout
  find        print a line of JSON about the folder that fits, without making one
"""

import argparse
import ctypes
import errno
import json
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NoReturn

from scripts.compiled_folders import LINK, ROOT, current, free_name, library, locked, stamp, sweep
from scripts.compiled_wheel import unpack_fitting

TOOLS = ROOT / ".venv-compile"
LOCK = ROOT / "requirements-compile.lock"
FAILED = ROOT / ".compiled-failed"
UNFETCHED = ROOT / ".compiled-unfetched"
FETCH = 10  # exit code that run.sh knows
MOST_TRIES = 3  # of a compiler that is killed; one that fails is not tried again
FULL_BYTES = 50_000_000  # less free room than this is the reason why a compiler failed
NEEDED_BYTES = 1_000_000_000  # the C compiler takes 0.8 GB
BY_HAND = "scripts/compile tries again, and shows what the compiler says"
SMOKE = """
import embedfleet.gateway.proxy, embedfleet.http.connection, embedfleet.metrics as own
raise SystemExit(own.__file__.endswith(".py"))
"""
_PR_SET_PDEATHSIG = 1  # prctl(2)
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}  # syscalls(2)
_IDLE = 3 << 13  # ioprio_set(2): class idle


class Interpreted(Exception):
    """The data path stays interpreted.

    Args:
        reason: What is missing or went wrong.
        hint: What to do.
        is_news: Whether this has not been said before.
    """

    def __init__(self, reason: str, hint: str, *, is_news: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.hint, self.is_news = reason, hint, is_news


def refuse_missing() -> None:
    """Check that there is a C compiler, and Python's headers.

    Raises:
        Interpreted: One of them is missing.
    """
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        raise Interpreted("Python's headers are not installed", "on Debian or Ubuntu: apt-get install python3-dev")
    asked = os.environ.get("CC", "")
    named = asked or sysconfig.get_config_var("CC") or "cc"
    if shutil.which(shlex.split(named)[0]) is None:
        if asked or shutil.which("cc") is None:
            raise Interpreted(
                f"there is no C compiler: {named}",
                "on Debian or Ubuntu: apt-get install gcc libc6-dev; or set CC; then start ./run.sh again",
            )
        os.environ["CC"] = "cc"  # Python was built with another one


def refuse_failed(wanted: str) -> None:
    """Check that compiling this source has not failed before.

    Raises:
        Interpreted: It has.
    """
    with suppress(OSError, ValueError):
        record = json.loads(FAILED.read_text())
        if record["stamp"] == wanted and record["tries"] >= MOST_TRIES:
            raise Interpreted(record["reason"], BY_HAND)


def refuse_unready() -> None:
    """Check that the packages that compile are there, and enough memory.

    Raises:
        Interpreted: Something is missing.
    """
    if not _has_tools():
        raise Interpreted(
            "no compiler of the lock was fetched by run.sh",
            "scripts/compile fetches it and compiles; it needs a network",
        )
    with suppress(OSError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
        if free < NEEDED_BYTES:
            raise Interpreted(
                f"compiling needs {NEEDED_BYTES // 10**6} MB of memory, and {free // 10**6} MB are available",
                "it is tried again at the next start",
                is_news=True,
            )


def _has_tools() -> bool:
    with suppress(OSError, IndexError):
        return (TOOLS / "stamp").read_text().split()[-1] == library()
    return False


def provide(wanted: str, *, again: bool) -> Path:
    """Return the folder of compiled code that fits; make it if there is none.

    Args:
        wanted: Stamp of the folder.
        again: Whether to compile even if that has failed before.

    Raises:
        Interpreted: There is none, and none could be made.
    """
    with locked():
        if (found := current(wanted)) is not None:
            return found
        sweep()
        if (found := take_wheel(wanted)) is not None:
            return found
        refuse_missing()
        if not again:
            refuse_failed(wanted)
        refuse_unready()
        print(json.dumps({"state": "compiling"}), flush=True)
        return _compile(wanted)


def take_wheel(wanted: str) -> Path | None:
    """Make a folder of a wheel that lies here or beside this folder, and that was made of this source; the lock is held.

    Raises:
        OSError: The folder cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=ROOT, prefix=".compiled-new-") as made:
        site = Path(made) / "site"
        if (wheel := unpack_fitting(ROOT, site)) is None:
            return None
        try:
            folder = _install(site, wanted)
        except Interpreted as fault:
            print(f"{wheel} is not used: {fault.reason}", file=sys.stderr)
            return None
        print(f"using the compiled code of {wheel}", file=sys.stderr)
        return folder


def _compile(wanted: str) -> Path:
    tries = _tries(wanted)
    _record(wanted, tries + 1, "the compiler was killed, or the machine was stopped, three times")
    try:
        with tempfile.TemporaryDirectory(dir=ROOT, prefix=".compiled-new-") as made:
            site = Path(made) / "site"
            _run_compiler(site)
            folder = _install(site, wanted)
    except KeyboardInterrupt:  # stopped by an order, so this try does not count
        _record(wanted, tries, "")
        raise
    except Interpreted as fault:
        full = shutil.disk_usage(ROOT).free < FULL_BYTES
        told = fault
        if full:
            told = Interpreted(f"the disk of {ROOT} is full", "make room, and start ./run.sh again", is_news=True)
        _record(wanted, tries + 1 if full else MOST_TRIES, told.reason)
        raise told from None
    FAILED.unlink(missing_ok=True)
    shutil.rmtree(TOOLS, ignore_errors=True)
    return folder


def _tries(wanted: str) -> int:
    with suppress(OSError, ValueError, KeyError):
        record = json.loads(FAILED.read_text())
        return min(int(record["tries"]), MOST_TRIES - 1) if record["stamp"] == wanted else 0
    return 0


def _record(wanted: str, tries: int, reason: str) -> None:
    with suppress(OSError):  # a full disk; then the next start tries again
        FAILED.write_text(json.dumps({"stamp": wanted, "tries": tries, "reason": reason}))


def _run_compiler(site: Path) -> None:
    """Run scripts.compile; end it with everything that it has started if this process is told to end.

    Raises:
        Interpreted: It failed, or was killed.
    """
    jobs = max(1, min(2, len(os.sched_getaffinity(0)) - 1))
    command = [
        sys.executable,
        "-P",
        "-m",
        "scripts.compile",
        str(site),
        "--python",
        sys.executable,
        "--jobs",
        str(jobs),
    ]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(TOOLS), str(ROOT), _path())))}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=sys.stderr,
        process_group=0,
        preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has no threads
    ) as compiler:
        try:
            code = compiler.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(compiler.pid, signal.SIGKILL)
            raise
    if code < 0:
        raise Interpreted(f"the compiler was ended by signal {-code}", BY_HAND, is_news=True)
    if code:
        raise Interpreted("the source could not be compiled", f"{BY_HAND}; please report that", is_news=True)


def _path() -> str:
    return os.environ.get("PYTHONPATH", "")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _install(site: Path, wanted: str) -> Path:
    """Make a folder of modules the current one, if they can be imported.

    Raises:
        Interpreted: They cannot.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(site), _path())))}
    if stamp() != wanted:
        raise Interpreted("the source changed while it was compiled", "start ./run.sh again", is_news=True)
    tried = subprocess.run(
        [sys.executable, "-P", "-c", SMOKE], env=environment, capture_output=True, text=True, check=False
    )
    if tried.returncode:
        last = (tried.stderr.strip() or "they are not compiled for this Python").splitlines()[-1]
        raise Interpreted(
            f"the compiled modules cannot be imported: {last}", f"{BY_HAND}; please report that", is_news=True
        )
    (site / "stamp").write_text(wanted)
    folder = free_name()
    site.rename(folder)
    link = ROOT / ".compiled-link"
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    os.replace(link, LINK)  # noqa: PTH105 - Path.replace would be the same
    return folder


def work_quietly(parent: int) -> None:
    """Give everything else the processor, the disk and the memory first, and end when the parent ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)
    os.nice(19)
    # A session has a niceness of its own where the kernel groups by session (sched(7)).
    for file, value in (("/proc/self/autogroup", "19"), ("/proc/self/oom_score_adj", "1000")):
        with suppress(OSError):
            Path(file).write_text(value)
    if (number := _IOPRIO_SET.get(platform.machine())) is not None:
        ctypes.CDLL(None).syscall(number, 1, 0, _IDLE)


def _told_to_end(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - signal's signature
    raise KeyboardInterrupt


def _refusal_of(error: OSError) -> Interpreted:
    reason = f"{ROOT} cannot be written: {error.strerror or error}"
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return Interpreted(reason, "make room there" if full else "start ./run.sh once as its owner", is_news=True)


def prepare(wanted: str) -> int:
    """Take a wheel that fits; return the exit code, which says whether the compiler should be fetched."""
    if current(wanted) is not None:
        return 0
    with locked():
        if take_wheel(wanted) is not None:
            return 0
    refuse_missing()
    refuse_failed(wanted)
    is_unfetched = UNFETCHED.exists() and UNFETCHED.read_text().strip() == wanted
    return 0 if not LOCK.exists() or is_unfetched or _has_tools() else FETCH


def take_step(step: str, *, again: bool) -> None:
    """Take a step that reports in JSON, or raise `Interpreted`."""
    wanted = stamp()
    if (found := current(wanted)) is None:
        if step == "find":
            refuse_failed(wanted)
            raise Interpreted("the source has changed since it was compiled", "start ./run.sh once, then reload")
        try:
            found = provide(wanted, again=again)
        except OSError as error:
            raise _refusal_of(error) from error
    print(json.dumps({"state": "compiled", "folder": str(found)}), flush=True)


def main() -> None:
    """Take the step that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("prepare", "require", "compile", "background", "find"))
    parser.add_argument("--parent", type=int, default=0, help="process id of the fleet")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _told_to_end)
    reports = given.step in {"background", "find"}
    try:
        if given.step == "prepare":
            with suppress(Interpreted, OSError):
                sys.exit(prepare(stamp()))
        elif given.step == "require":
            refuse_missing()
        else:
            if given.step == "background":
                work_quietly(given.parent)
            take_step(given.step, again=given.step == "compile")
    except Interpreted as fault:
        if not reports:
            sys.exit(_fail(fault))
        said = {"state": "interpreted", "reason": fault.reason, "hint": fault.hint, "is_news": fault.is_news}
        print(json.dumps(said), flush=True)
    except KeyboardInterrupt:
        sys.exit(1)


def _fail(fault: Interpreted) -> int:
    print(f"error: {fault.reason}\n\nhint: {fault.hint}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    main()
