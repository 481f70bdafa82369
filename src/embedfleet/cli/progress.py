"""Display of the progress of a start: a live table on a terminal, otherwise a line for each change."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from embedfleet.cli.output import say
from embedfleet.types import ReplicaState

_STYLES = {ReplicaState.ACTIVE: "green", ReplicaState.BACKOFF: "red", ReplicaState.EJECTED: "red"}


class Progress:
    """Shows the states of the replicas until it is closed."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, transient=True) if sys.stderr.isatty() else None
        self._states: dict[str, ReplicaState] = {}
        self._started = time.monotonic()
        self._is_open = False

    def __enter__(self) -> Self:
        self._is_open = True
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def show(self, states: Mapping[str, ReplicaState]) -> None:
        """Show the state of every replica, by name."""
        if not self._is_open:
            return
        if self._live:
            self._live.update(self._table(states))
        else:
            for name, state in states.items():
                if self._states.get(name) != state:
                    say(f"{name} is {state}")
        self._states = dict(states)

    def close(self) -> None:
        """Close the display, and print how long the start took if every replica serves."""
        if not self._is_open:
            return
        self._is_open = False
        if self._live:
            self._live.stop()
        if self._states and set(self._states.values()) == {ReplicaState.ACTIVE}:
            say(f"{len(self._states)} replicas serve after {time.monotonic() - self._started:.1f} s")

    def _table(self, states: Mapping[str, ReplicaState]) -> Table:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        for name, state in states.items():
            table.add_row(name, f"[{_STYLES.get(state, 'yellow')}]{state}[/]")
        table.add_row("", f"waiting for every replica to infer … {time.monotonic() - self._started:.0f} s")
        return table
