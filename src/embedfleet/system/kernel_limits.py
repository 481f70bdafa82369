"""Limits of the kernel on open files, memory and ports, and the number of clients that fit into the limit of files."""

import errno
import os
import resource
from typing import Final

_OWN_FILES: Final = (
    48  # files for standard streams, the event loop, listeners, the admin socket, clients beyond the limit
)
_CLIENTS, _OF = 3, 4  # clients may use three quarters of the other files; connections to replicas get the rest
_ENDLESS: Final = 1 << 30
_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EADDRNOTAVAIL})


def raise_open_files() -> None:
    """Raise the limit of open files to the hard limit; the soft limit is low only for programs that use select(2)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # a sandbox forbids it
        return


def open_files() -> int:
    """Number of files that this process may have open."""
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def most_open_files() -> int:
    """Hard limit of open files, to which this process or a child may raise its limit."""
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def client_connections(files: int) -> int:
    """Compute the number of client connections that fit into a limit of open files, besides all other files.

    Args:
        files: Number of files that the process may have open.
    """
    return max(1, (files - _OWN_FILES) * _CLIENTS // _OF)


def files_for(connections: int) -> int:
    """Compute the limit of open files that a number of client connections needs."""
    return _OWN_FILES + -(-connections * _OF // _CLIENTS)


def ran_out(error: OSError) -> bool:
    """Whether a connection failed because this process or this machine lacks open files, memory or ports.

    A name lookup needs open files too; without one, it only reports that the name is unknown.
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
