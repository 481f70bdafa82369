"""Descriptions of disk errors, with the free space and a hint."""

import errno
import os
import pwd
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT}


def is_full(error: OSError) -> bool:
    """Whether the disk is full, or the quota of the user is used up."""
    return error.errno in _FULL


def reason_of(error: OSError, path: Path) -> str:
    """Return the reason of an error, with the free space if the disk is full.

    Args:
        error: Error of the disk.
        path: Path on the disk.
    """
    reason = error.strerror or str(error)
    return f"{reason} ({room(path)})" if is_full(error) else reason


def hint_for(error: OSError, owner: int) -> str:
    """Return a hint for an error in the state folder.

    Args:
        error: Error of the disk.
        owner: User id of the folder's owner; -1 if unknown.
    """
    if is_full(error):
        return "make room there, or set state_dir"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"{run_as_hint(owner)}, or set state_dir"
    if error.errno in {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}:
        return "set state_dir to a folder of a file system that has locks"
    return "set state_dir"


def run_as_hint(owner: int) -> str:
    """Return a hint that names the user who may run the verb, by the owner's id; -1 if unknown."""
    if owner < 0:
        return "run it as the user who started the fleet, or as root"
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"user {owner}"
    return f"run it as {name}" + (" or root" if owner else "")


def free_bytes(path: Path) -> int:
    """Return the bytes that this user may still write to the disk of a path; 0 if unknown. The path need not exist."""
    while True:
        try:
            found = os.statvfs(path)
        except FileNotFoundError:
            path = path.parent
        except OSError:
            return 0
        else:
            return found.f_bavail * found.f_frsize


def room(path: Path) -> str:
    """Return the free space on the disk of a path, in words."""
    return f"{free_bytes(path) / 1e6:.1f} MB free"
