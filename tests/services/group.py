"""A control group with limits, of either cgroup version, and programs in it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PERIOD_US = 100_000


@contextlib.contextmanager
def group(*, cores: float, memory_bytes: int) -> Iterator[list[str]]:
    """Make a group with limits during the block, and yield the beginning of a command line that runs in it.

    Raises:
        OSError: No group can be made here.
    """
    name = f"embedfleet-test-{os.getpid()}"
    quota = str(int(cores * _PERIOD_US))
    if "cpu" in _words(_ROOT / "cgroup.subtree_control"):
        folders = [_ROOT / name]
        limits = {folders[0] / "cpu.max": f"{quota} {_PERIOD_US}", folders[0] / "memory.max": str(memory_bytes)}
    else:
        folders = [_ROOT / controller / name for controller in ("cpu", "memory")]
        limits = {
            folders[0] / "cpu.cfs_period_us": str(_PERIOD_US),
            folders[0] / "cpu.cfs_quota_us": quota,
            folders[1] / "memory.limit_in_bytes": str(memory_bytes),
        }
    try:
        for folder in folders:
            folder.mkdir()
        for file, text in limits.items():
            file.write_text(text)
        enter = "".join(f"echo $$ > {folder}/cgroup.procs && " for folder in folders)
        yield ["sh", "-c", f'{enter}exec "$@"', "sh"]
    finally:
        for folder in folders:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except OSError:
        return []
