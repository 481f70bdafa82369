"""An alarm to the tenth of a millisecond: event loops count in whole ones, which is too coarse to time others by."""

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable

_CLOCK_MONOTONIC, _NONBLOCK, _ABSOLUTE = 1, os.O_NONBLOCK, 1
_libc = ctypes.CDLL(None, use_errno=True)


class Alarm:
    """Calls at one moment at a time, by Linux's timerfd (Python has it from 3.13 on).

    Args:
        call: what to call.

    Raises:
        OSError: the system has no timer left.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._fd = _libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._loop.add_reader(self._fd, self._ring)

    def set(self, at: float) -> None:
        """Call at this moment (`time.monotonic`), soon if it has passed; what was set before is forgotten."""
        nanoseconds = max(1, int(at * 1e9))
        self._arm(*divmod(nanoseconds, 1_000_000_000))

    def cancel(self) -> None:
        """Call no more."""
        self._arm(0, 0)

    def close(self) -> None:
        """Give the timer back."""
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _arm(self, seconds: int, nanoseconds: int) -> None:
        spec = struct.pack("qqqq", 0, 0, seconds, nanoseconds)
        if _libc.timerfd_settime(self._fd, _ABSOLUTE, spec, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime failed")

    def _ring(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return  # it was set anew since it rang
        self._call()
