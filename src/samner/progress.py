"""How far a long work is, on standard error: bars on a terminal, elsewhere a line now and then or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class Progress:
    """A bar for each stage of a work, whose stages may become known only on the way; call it to say how far one is.

    Args:
        lines: Where there is no terminal, whether each tenth of a stage gets a line.
        quiet: Nothing at all, for instance because standard output goes to the same terminal.

    Example:
        >>> with Progress() as show:
        ...     show("merging", 3, 10)
        ...     advance = show.counter("texts", total=10)
        ...     advance(4)
    """

    def __init__(self, *, lines: bool = False, quiet: bool = False) -> None:
        self._terminal = not quiet and sys.stderr.isatty()
        self._lines = lines and not quiet and not self._terminal
        self._bars: Bars | None = None
        self._stages: dict[str, TaskID] = {}
        self._tenths: dict[str, int] = {}

    def __enter__(self) -> Self:
        if self._terminal:  # rich takes a while to import
            from rich.console import Console
            from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
            )
            self._bars = Bars(*columns, console=Console(stderr=True), redirect_stdout=False)
            self._bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bars:
            self._bars.stop()

    def __call__(self, stage: str, done: float, total: float | None, note: str = "") -> None:
        """Say that so much of a stage is done, of how much if that is known, and perhaps what of it just was."""
        if self._bars:
            if stage not in self._stages:
                self._stages[stage] = self._bars.add_task(stage, total=total, note=note)
            self._bars.update(self._stages[stage], completed=done, total=total, note=note)
        elif self._lines and total and (tenth := int(10 * done / total)) > self._tenths.get(stage, 0):
            self._tenths[stage] = tenth
            print(f"{stage}: {done:,.0f} of {total:,.0f}{f' ({note})' if note else ''}", file=sys.stderr)

    def counter(self, stage: str, total: int | None) -> Callable[..., None]:
        """For who knows only what was just done: to be called with how much that was, and perhaps a note."""
        done = 0

        def advance(count: int = 1, note: str = "") -> None:
            nonlocal done
            done += count
            self(stage, done, total, note)

        advance(0)
        return advance
