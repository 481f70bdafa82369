"""Signals that stop a running fleet."""

import asyncio
import signal
from collections.abc import Callable

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def obey_signals(stop: Callable[[], None], kill: Callable[[], None]) -> None:
    """Let the first signal drain and stop the fleet, and the second one end everything at once.

    Args:
        stop: Function that drains and stops the fleet.
        kill: Function that ends everything at once.
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
    """Restore the signals' default, which ends this process, because nothing is left to stop."""
    for number in _SIGNALS:
        asyncio.get_running_loop().remove_signal_handler(number)
