"""Looking at the disk now and then, in a thread that nobody waits for: a disk that hangs must hold up nobody."""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

EVERY_S = 2.0


class Lookout:
    """Calls a function every few seconds until it is told to stop, or the process ends.

    Args:
        look: called in a thread; whether it is called while the last call hangs does not arise.
        every_s: seconds from the end of one call to the next.
    """

    def __init__(self, look: Callable[[], None], every_s: float = EVERY_S) -> None:
        self._look = look
        self._every_s = every_s
        self._over = threading.Event()
        self._said = ""
        threading.Thread(target=self._look_on, name="lookout", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether it was told to stop."""
        return self._over.is_set()

    def stop(self) -> None:
        """Look no more; a call under way may still end."""
        self._over.set()

    def _look_on(self) -> None:
        while not self._over.wait(self._every_s):
            said = ""
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the next look may find better times
                said = str(error) or repr(error)
            if said and said != self._said and not self.is_over:
                log.warning("%s", said)
            self._said = said
