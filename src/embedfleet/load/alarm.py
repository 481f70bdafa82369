"""A precise timer for measurements. Event loops round their timers to milliseconds, which is too coarse."""

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable

_CLOCK_MONOTONIC, _NONBLOCK, _ABSOLUTE = 1, os.O_NONBLOCK, 1
_libc = ctypes.CDLL(None, use_errno=True)


class Alarm:
    """A timer that calls a function once per setting, with Linux's timerfd (in Python's `os` since 3.13).

    Args:
        call: Function to call when the alarm goes off.

    Raises:
        OSError: The system cannot make a timer.
    """

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._fd = _libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create failed")
        self._loop.add_reader(self._fd, self._ring)

    def set(self, at: float) -> None:
        """Set the alarm, in place of an earlier one.

        Args:
            at: Time by `time.monotonic`, in seconds; for a past time, the call follows at once.
        """
        nanoseconds = max(1, int(at * 1e9))
        self._arm(*divmod(nanoseconds, 1_000_000_000))

    def cancel(self) -> None:
        """Unset the alarm."""
        self._arm(0, 0)

    def close(self) -> None:
        """Release the timer."""
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
            return  # The alarm was set again after it went off.
        self._call()
