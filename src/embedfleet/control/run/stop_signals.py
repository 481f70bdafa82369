"""Signals that stop a running fleet."""

import asyncio
import signal
from collections.abc import Callable

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def obey_signals(stop: Callable[[], None], kill: Callable[[], None]) -> None:
    """Have the first signal drain and stop the fleet, and the second end everything at once.

    Args:
        stop: Drains and stops.
        kill: Ends everything.
    """
    was_told = False

    def obey() -> None:
        nonlocal was_told
        if was_told:
            kill()
        else:
            stop()
        was_told = True

    for number in _SIGNALS:
        if number == signal.SIGHUP and signal.getsignal(number) == signal.SIG_IGN:  # under nohup
            continue
        asyncio.get_running_loop().add_signal_handler(number, obey)


def restore_signals() -> None:
    """Let a signal end this process, as it does by default, because nothing is left to be stopped."""
    for number in _SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(number)
