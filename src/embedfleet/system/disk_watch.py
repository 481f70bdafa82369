"""Periodic checks of the disk in a separate thread, so that a disk that hangs blocks nothing else."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

EVERY_S = 2.0


class DiskWatch:
    """A thread that calls a function every few seconds, until `stop` is called or the process ends.

    Args:
        look: Check that is called in a thread, one call at a time; its exceptions are logged.
        every_s: Seconds from the end of one call to the next.
    """

    def __init__(self, look: Callable[[], None], every_s: float = EVERY_S) -> None:
        self._look = look
        self._every_s = every_s
        self._over = threading.Event()
        self._said = ""
        threading.Thread(target=self._run, name="disk-watch", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether `stop` was called."""
        return self._over.is_set()

    def stop(self) -> None:
        """Stop the calls; a call in progress is not interrupted."""
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            said = ""
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next call may succeed
                said = str(error) or repr(error)
            if said and said != self._said and not self.is_over:
                log.warning("%s", said)
            self._said = said
