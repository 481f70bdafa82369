"""``python no_sockets.py FOLDER COMMAND…``: run a command that can make Unix sockets only in FOLDER (landlock(7)).

The exit code is 77 if the kernel cannot restrict a process in this way.
"""

import ctypes
import os
import sys

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls
_MAKE_SOCKET = 1 << 9
_BENEATH = 1
_NO_NEW_PRIVILEGES = 38  # prctl(2)


class Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def main() -> None:
    libc = ctypes.CDLL(None)
    handled = ctypes.c_uint64(_MAKE_SOCKET)
    rules = libc.syscall(_CREATE, ctypes.byref(handled), ctypes.sizeof(handled), 0)
    if rules < 0:
        sys.exit(77)
    allowed = Beneath(_MAKE_SOCKET, os.open(sys.argv[1], os.O_PATH))
    libc.syscall(_ADD, rules, _BENEATH, ctypes.byref(allowed), 0)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if libc.syscall(_RESTRICT, rules, 0) < 0:
        sys.exit(77)
    os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
