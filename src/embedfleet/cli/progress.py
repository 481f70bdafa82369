"""What `up` shows while replicas load: a live table on a terminal, a line per change elsewhere."""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress import Progress as Bar
from rich.progress import TaskID
from rich.table import Table

from embedfleet.cli.output import say

_STYLES = {"active": "green", "backoff": "red", "ejected": "red"}


class Transfer:
    """Shows how far the loading of image tars has come."""

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
        """So many bytes of a file are loaded; off a terminal one line tells that it began and one that it is done."""
        first = name not in self._tasks
        if self._bar is None:
            self._tasks[name] = TaskID(0)
            if first or done == size:
                say(f"loading {name} ({size / 1e9:.1f} GB)" if first else f"{name} is loaded")
            return
        if first:
            self._tasks[name] = self._bar.add_task(f"loading {name}", total=size)
        self._bar.update(self._tasks[name], completed=done)


class Progress:
    """Shows replicas and their states until closed."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, transient=True) if sys.stderr.isatty() else None
        self._states: dict[str, str] = {}
        self._started = time.monotonic()
        self._open = False

    def __enter__(self) -> Self:
        self._open = True
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, states: dict[str, str]) -> None:
        """Replica → state."""
        if not self._open:
            return
        if self._live:
            self._live.update(self._table(states))
        else:
            for name, state in states.items():
                if self._states.get(name) != state:
                    say(f"{name} is {state}")
        self._states = dict(states)

    def close(self) -> None:
        """Stop showing."""
        if not self._open:
            return
        self._open = False
        if self._live:
            self._live.stop()
        if self._states and set(self._states.values()) == {"active"}:
            say(f"{len(self._states)} replicas serve after {time.monotonic() - self._started:.1f} s")

    def _table(self, states: dict[str, str]) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, state in states.items():
            table.add_row(name, f"[{_STYLES.get(state, 'yellow')}]{state}[/]")
        table.add_row("", f"waiting for every replica to infer … {time.monotonic() - self._started:.0f} s")
        return table
