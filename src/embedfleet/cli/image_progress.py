"""Display of the progress of loading images from tar files."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress as Bar
from rich.progress import TaskID

from embedfleet.cli.output import say


class ImageProgress:
    """Shows the progress of loading images from tar files on stderr."""

    def __init__(self) -> None:
        self._bar = Bar(console=Console(stderr=True), transient=True) if sys.stderr.isatty() else None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, name: str, done: int, size: int) -> None:
        """Show how much of a file is loaded; without a terminal, print one line at its beginning and one at its end.

        Args:
            name: Name of the file.
            done: Number of bytes loaded so far.
            size: Size of the file, in bytes.
        """
        first = name not in self._tasks
        if self._bar is None:
            self._tasks[name] = TaskID(0)
            if first or done == size:
                say(f"loading {name} ({size / 1e9:.1f} GB)" if first else f"{name} is loaded")
            return
        if first:
            self._tasks[name] = self._bar.add_task(f"loading {name}", total=size)
        self._bar.update(self._tasks[name], completed=done)
