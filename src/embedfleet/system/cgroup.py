"""Limits of this process's control groups (version 1 or 2): CPU quota and memory.

Containers, systemd services and Kubernetes pods are control groups. The limits of a group and of all groups above it
are in files, as far as this process can see them; the tightest limit applies.
"""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path("/")
_UNLIMITED: Final = 1 << 60  # version 1 writes the largest number of whole pages for "no limit"
_GROUP: Final = re.compile(r"^\d+:([^:\n]*):(/.*)$", re.MULTILINE)
_MOUNT: Final = re.compile(r"^\S+ \S+ \S+ (/\S*) (/\S*) .* - (cgroup2?) \S+ (\S+)$", re.MULTILINE)
_STAT: Final = re.compile(r"^(\w+) (\d+)$", re.MULTILINE | re.ASCII)
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_VERSION_2: Final = ""  # name of version 2's only hierarchy, which has all controllers


@dataclass(frozen=True, slots=True)
class Quota:
    """The CPU quota of a group.

    Attributes:
        cores: Number of fully used cores; may be a fraction.
        source: File of the limit.
    """

    cores: float
    source: str


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory limit of a group.

    Attributes:
        limit_bytes: Memory that the group may use.
        left_bytes: Memory that is left, including page cache that no process has mapped, which the kernel can drop.
        source: File of the limit.
    """

    limit_bytes: int
    left_bytes: int
    source: str


@dataclass(frozen=True, slots=True)
class _Mount:
    """A mounted hierarchy of groups.

    Attributes:
        names: Controllers of version 1, or `_VERSION_2`.
        top: Group at the mount point.
        point: Mount point.
    """

    names: frozenset[str]
    top: PurePosixPath
    point: Path


def cores(root: Path = ROOT) -> int:
    """Count the cores that this process can keep busy: its CPU affinity, or a lower quota, rounded up; at least one.

    Args:
        root: Folder that contains ``proc`` and the mounts.
    """
    allowed, quota = len(os.sched_getaffinity(0)), cpu_quota(root)
    return allowed if quota is None else min(allowed, max(1, math.ceil(quota.cores)))


def cpu_quota(root: Path = ROOT) -> Quota | None:
    """Find the tightest CPU quota of this process; None if it has no quota."""
    quotas = (_quota(folder, root) for folder in _groups(root, "cpu"))
    return min((quota for quota in quotas if quota), key=lambda quota: quota.cores, default=None)


def memory_left(root: Path = ROOT) -> int | None:
    """Count the bytes that this process can use before one of its groups is full; None if no group has a limit."""
    return min((memory.left_bytes for memory in memories(root)), default=None)


def memory_limit(root: Path = ROOT) -> int:
    """Find the most memory that this process may use, in bytes: the machine's, or the lowest limit of a group."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(memory.limit_bytes for memory in memories(root))])


def memories(root: Path = ROOT) -> list[Memory]:
    """List the memory limits of this process's groups, its own group first."""
    found = (_memory(folder, root) for folder in _groups(root, "memory"))
    return [memory for memory in found if memory]


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """List the folders of this process's group and the groups above it, in the version that has the controller."""
    mine = dict(_memberships(root))
    mounts = [*_mounts(root)][::-1]  # the latest mount hides earlier ones
    for name in (controller, _VERSION_2):
        if name in mine:
            there = [mount for mount in mounts if name in mount.names]
            yield from _visible(PurePosixPath(mine[name]), there, usual=root / "sys/fs/cgroup")


def _visible(group: PurePosixPath, mounts: list[_Mount], usual: Path) -> list[Path]:
    """List the folders of a group and of the groups above it, the group's own first.

    A container may know its group by the host's name, and yet see the group itself at the usual mount point. The group
    that is mounted there limits this process, unless its name points outside of the visible groups (``/../other``).
    """
    for mount in mounts:
        if group.is_relative_to(mount.top):
            folder = mount.point / group.relative_to(mount.top)
            if folder.is_dir():
                return [folder, *(over for over in folder.parents if over.is_relative_to(mount.point))]
    tops = [mount.point for mount in mounts if mount.point.is_relative_to(usual)]
    return [] if ".." in group.parts else tops[:1]


def _memberships(root: Path) -> Iterator[tuple[str, str]]:
    """List each controller's name with this process's group (cgroups(7), /proc/PID/cgroup)."""
    for names, group in _GROUP.findall(_read(root / "proc/self/cgroup")):
        yield from ((name, group) for name in names.split(","))  # version 2 has an empty name


def _mounts(root: Path) -> Iterator[_Mount]:
    """List the mounted hierarchies (proc(5), /proc/PID/mountinfo)."""
    for top, point, kind, options in _MOUNT.findall(_read(root / "proc/self/mountinfo")):
        names = frozenset(options.split(",") if kind == "cgroup" else {_VERSION_2})
        yield _Mount(names, PurePosixPath(_unescape(top)), root / _unescape(point).lstrip("/"))


def _unescape(text: str) -> str:
    """Decode a path of mountinfo, which writes blanks and some other characters in octal."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 8)), text)


def _quota(folder: Path, root: Path) -> Quota | None:
    file = folder / "cpu.max"
    quota, period = [*_read(file).split(), "", ""][:2]
    if not quota:  # version 1
        file = folder / "cpu.cfs_quota_us"
        quota, period = _read(file).strip(), _read(folder / "cpu.cfs_period_us").strip()
    if not quota.isdecimal() or not period.isdecimal() or int(period) == 0:  # "max" and -1 mean no quota
        return None
    return Quota(int(quota) / int(period), _name(file, root))


def _memory(folder: Path, root: Path) -> Memory | None:
    limits = {name: _number(folder / name) for name in ("memory.max", "memory.high", "memory.limit_in_bytes")}
    set_ = {name: limit for name, limit in limits.items() if limit is not None and limit < _UNLIMITED}
    used = [_number(folder / name) for name in ("memory.current", "memory.usage_in_bytes")]
    if not set_:
        return None
    name = min(set_, key=lambda name: set_[name])  # above memory.high, the kernel throttles a process to a standstill
    left = set_[name] - sum(number or 0 for number in used) + _droppable(folder)
    return Memory(set_[name], max(0, min(left, set_[name])), _name(folder / name, root))


def _droppable(folder: Path) -> int:
    """Count the bytes of page cache that no process has mapped, in a group and those below it."""
    stat = dict(_STAT.findall(_read(folder / "memory.stat")))
    prefix = "total_" if "total_inactive_file" in stat else ""  # in version 1, other names exclude sub-groups
    mapped = "mapped_file" if prefix else "file_mapped"
    inactive, active, held = (int(stat.get(prefix + name, 0)) for name in ("inactive_file", "active_file", mapped))
    return max(0, inactive + active - held)


def _number(file: Path) -> int | None:
    text = _read(file).strip()
    return int(text) if text.isdecimal() else None


def _name(file: Path, root: Path) -> str:
    return f"{file.name} of /{file.parent.relative_to(root)}"


def _read(file: Path) -> str:
    """Read a file; empty if it is missing or unreadable."""
    try:
        return file.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
