"""How far an evaluation is: a bar on a terminal, and a line for whatever is finished."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class _Bar:
    """Writes to standard error. Without a terminal there is no bar.

    Args:
        console: Where to; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *self._times())
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("", total=None, visible=False)

    def _times(self) -> Sequence[ProgressColumn]:
        return (TimeElapsedColumn(),)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class EvaluationProgress(_Bar):
    """A bar for every arm on every target; without a terminal a line per finished arm and target."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self._target, self._arm, self._texts, self._done = "", "", 0, 0

    def start(self, target: str, texts: int) -> None:
        """A target begins."""
        self._target, self._arm, self._texts, self._done = target, "", texts, 0

    def read(self, arm: str, texts: int) -> None:
        """An arm finished reading some texts of the target."""
        if arm != self._arm:
            self._arm, self._done = arm, 0
        self._done += texts
        label = f"{self._target}: {arm}"
        self._bar.update(self._task, description=label, total=self._texts, completed=self._done, visible=True)
        if self._done >= self._texts and not self._console.is_terminal:
            self.say(f"{label}: {self._texts} texts read")


class StageProgress(_Bar):
    """A bar for every stage of a long work; without a terminal a line for every tenth of it."""

    def __init__(self, console: Console | None = None) -> None:
        super().__init__(console)
        self._stage, self._total, self._done = "", 0, 0

    def _times(self) -> Sequence[ProgressColumn]:
        return (TimeElapsedColumn(), TimeRemainingColumn())

    def stage(self, name: str, total: int) -> None:
        """A stage of so many steps begins."""
        self._stage, self._total, self._done = name, total, 0
        self._bar.reset(self._task, total=total, description=name, visible=total > 0)

    def step(self, what: str, steps: int = 1) -> None:
        """Some steps are done."""
        tenths = 10 * self._done // max(self._total, 1)
        self._done += steps
        self._bar.update(self._task, description=f"{self._stage}: {what}", completed=self._done)
        if 10 * self._done // max(self._total, 1) > tenths and not self._console.is_terminal:
            self.say(f"{self._stage}: {self._done} of {self._total} ({what})")
