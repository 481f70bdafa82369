"""What the kernel allows this process: open files above all, how they are shared out, and whether they ran out."""

import errno
import os
import resource
from typing import Final

_OWN_FILES: Final = 48  # standard streams, the event loop's, listeners, the admin socket, clients that are turned away
_CLIENTS, _OF = 3, 4  # the share of the others that clients may have; what is left is for replicas
_ENDLESS: Final = 1 << 30
_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL})


def raise_open_files() -> None:
    """Take all the open files that the hard limit grants: the soft one is for programs that use select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # forbidden by whoever confines this process
        return


def open_files() -> int:
    """The most that this process may have now."""
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def most_open_files() -> int:
    """The most that it, or a child of it, may come to have: the hard limit."""
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def client_connections(files: int) -> int:
    """How many clients a server may let in, so that files are left for all else.

    Args:
        files: that it may have open.
    """
    return max(1, (files - _OWN_FILES) * _CLIENTS // _OF)


def files_for(connections: int) -> int:
    """How many open files it takes to let in so many clients."""
    return _OWN_FILES + -(-connections * _OF // _CLIENTS)


def ran_out(error: OSError) -> bool:
    """Whether a connection could not be made because this process, or this machine, lacks files, memory or ports.

    Looking up a name takes files as well; without one left it says merely that there is no such name.
    """
    if error.errno in _SHORTAGES:
        return True
    return (error.errno is None or error.errno < 0) and _has_no_file()


def _has_no_file() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in _SHORTAGES
    return False


def _number(limit: int) -> int:
    return _ENDLESS if limit == resource.RLIM_INFINITY else limit
