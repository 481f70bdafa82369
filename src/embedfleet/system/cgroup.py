"""What the control groups of this process allow it, of either version: a share of the cores, and memory.

A container, a service of systemd and a pod of Kubernetes are groups. Their limits are in files of the group and of all
that it is in, as far as they can be seen from here; the tightest holds.
"""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path("/")
_UNLIMITED: Final = 1 << 60  # version 1 says "none" by the largest number of whole pages
_GROUP: Final = re.compile(r"^\d+:([^:\n]*):(/.*)$", re.MULTILINE)
_MOUNT: Final = re.compile(r"^\S+ \S+ \S+ (/\S*) (/\S*) .* - (cgroup2?) \S+ (\S+)$", re.MULTILINE)
_STAT: Final = re.compile(r"^(\w+) (\d+)$", re.MULTILINE | re.ASCII)
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_VERSION_2: Final = ""  # the name of its one hierarchy, which has all controllers


@dataclass(frozen=True, slots=True)
class Quota:
    """The time of processors that a group may use.

    Attributes:
        cores: at full load; not whole, and perhaps less than one.
        source: the file that says so.
    """

    cores: float
    source: str


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory that a group may use.

    Attributes:
        limit_bytes: all of it.
        left_bytes: what is free, and what pages of files take that nobody has mapped: the kernel drops them.
        source: the file that says so.
    """

    limit_bytes: int
    left_bytes: int
    source: str


@dataclass(frozen=True, slots=True)
class _Mount:
    """Where groups can be seen.

    Attributes:
        names: controllers of version 1, or version 2.
        top: the group that is at the mount point.
        point: a folder.
    """

    names: frozenset[str]
    top: PurePosixPath
    point: Path


def cores(root: Path = ROOT) -> int:
    """Cores that this process can keep busy: those that it may run on, or fewer by quota, rounded up; at least one.

    Args:
        root: folder that has ``proc`` and what is mounted.
    """
    allowed, quota = len(os.sched_getaffinity(0)), cpu_quota(root)
    return allowed if quota is None else min(allowed, max(1, math.ceil(quota.cores)))


def cpu_quota(root: Path = ROOT) -> Quota | None:
    """The tightest quota of processor time over this process; None if there is none."""
    quotas = (_quota(folder, root) for folder in _groups(root, "cpu"))
    return min((quota for quota in quotas if quota), key=lambda quota: quota.cores, default=None)


def memory_left(root: Path = ROOT) -> int | None:
    """Bytes that this process can have before a group of it is full; None if no group has a limit."""
    return min((memory.left_bytes for memory in memories(root)), default=None)


def memory_limit(root: Path = ROOT) -> int:
    """Bytes that this process may have at most: the machine's memory, or what a group of it grants."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(memory.limit_bytes for memory in memories(root))])


def memories(root: Path = ROOT) -> list[Memory]:
    """The memory of every group over this process that has a limit, its own first."""
    found = (_memory(folder, root) for folder in _groups(root, "memory"))
    return [memory for memory in found if memory]


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's group and of those that it is in, of whichever version has the controller."""
    mine = dict(_memberships(root))
    mounts = [*_mounts(root)][::-1]  # what was mounted last is on top
    for name in (controller, _VERSION_2):
        if name in mine:
            there = [mount for mount in mounts if name in mount.names]
            yield from _visible(PurePosixPath(mine[name]), there, usual=root / "sys/fs/cgroup")


def _visible(group: PurePosixPath, mounts: list[_Mount], usual: Path) -> list[Path]:
    """The folders of a group and of those over it, the group's own first.

    A container may know its group by the host's name, and see the group itself at the usual place: what is there is
    over this process in any case, unless the name climbs (``/../other``), out of what can be seen here.
    """
    for mount in mounts:
        if group.is_relative_to(mount.top):
            folder = mount.point / group.relative_to(mount.top)
            if folder.is_dir():
                return [folder, *(over for over in folder.parents if over.is_relative_to(mount.point))]
    tops = [mount.point for mount in mounts if mount.point.is_relative_to(usual)]
    return [] if ".." in group.parts else tops[:1]


def _memberships(root: Path) -> Iterator[tuple[str, str]]:
    """The group of this process by the name of each controller (cgroups(7), /proc/PID/cgroup)."""
    for names, group in _GROUP.findall(_read(root / "proc/self/cgroup")):
        yield from ((name, group) for name in names.split(","))  # no name at all is version 2


def _mounts(root: Path) -> Iterator[_Mount]:
    """Where hierarchies are mounted (proc(5), /proc/PID/mountinfo)."""
    for top, point, kind, options in _MOUNT.findall(_read(root / "proc/self/mountinfo")):
        names = frozenset(options.split(",") if kind == "cgroup" else {_VERSION_2})
        yield _Mount(names, PurePosixPath(_unescape(top)), root / _unescape(point).lstrip("/"))


def _unescape(text: str) -> str:
    """A path as it is: blanks and the like are in octal there."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def _quota(folder: Path, root: Path) -> Quota | None:
    file = folder / "cpu.max"
    quota, period = [*_read(file).split(), "", ""][:2]
    if not quota:  # version 1
        file = folder / "cpu.cfs_quota_us"
        quota, period = _read(file).strip(), _read(folder / "cpu.cfs_period_us").strip()
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:  # "max" and -1 are none
        return None
    return Quota(int(quota) / int(period), _name(file, root))


def _memory(folder: Path, root: Path) -> Memory | None:
    limits = {name: _number(folder / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")}
    set_ = {name: limit for name, limit in limits.items() if limit is not None and limit < _UNLIMITED}
    used = [_number(folder / name) for name in ("memory.current", "memory.usage_in_bytes")]
    if not set_:
        return None
    name = min(set_, key=lambda name: set_[name])  # over memory.high a process is slowed down until it stands still
    left = set_[name] - sum(number or 0 for number in used) + _droppable(folder)
    return Memory(set_[name], max(0, min(left, set_[name])), _name(folder / name, root))


def _droppable(folder: Path) -> int:
    """Bytes of pages of files that nobody has mapped, in a group and those in it."""
    stat = dict(_STAT.findall(_read(folder / "memory.stat")))
    prefix = "total_" if "total_inactive_file" in stat else ""  # version 1 has its own apart
    mapped = "mapped_file" if prefix else "file_mapped"
    inactive, active, held = (int(stat.get(prefix + name, 0)) for name in ("inactive_file", "active_file", mapped))
    return max(0, inactive + active - held)


def _number(file: Path) -> int | None:
    text = _read(file).strip()
    return int(text) if text.isdecimal() else None


def _name(file: Path, root: Path) -> str:
    return f"{file.name} of /{file.parent.relative_to(root)}"


def _read(file: Path) -> str:
    """A file's text; empty if there is none, or it may not be read."""
    try:
        return file.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
