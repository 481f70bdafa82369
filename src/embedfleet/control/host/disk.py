"""What a disk refused, in words that say what to do."""

import errno
import os
import pwd
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT}


def is_full(error: OSError) -> bool:
    """Whether it is for want of room."""
    return error.errno in _FULL


def reason_of(error: OSError, path: Path) -> str:
    """Why, and how much room there is if it is for want of that.

    Args:
        error: what was refused.
        path: where.
    """
    reason = error.strerror or str(error)
    return f"{reason} ({room(path)})" if is_full(error) else reason


def hint_for(error: OSError, owner: int) -> str:
    """What to do about a state folder.

    Args:
        error: what was refused.
        owner: the user whose folder it is; -1 if that cannot be seen.
    """
    if is_full(error):
        return "make room there, or set state_dir"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return f"{as_whom(owner)}, or set state_dir"
    if error.errno in {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}:
        return "set state_dir to a folder of a file system that has locks"
    return "set state_dir"


def as_whom(owner: int) -> str:
    """Who may do it."""
    if owner < 0:
        return "run it as the user who started the fleet, or as root"
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"user {owner}"
    return f"run it as {name}" + (" or root" if owner else "")


def free_bytes(path: Path) -> int:
    """What this user may still write to the disk that a path is on, or would be on; 0 if that cannot be seen."""
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
    """The same in words."""
    return f"{free_bytes(path) / 1e6:.1f} MB free"
