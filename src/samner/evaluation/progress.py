"""How far an evaluation is: a bar on a terminal, and a line for whatever is finished."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class EvaluationProgress:
    """Writes to standard error. Without a terminal there is no bar, only a line per finished arm and target.

    Args:
        console: Where to; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("", total=None, visible=False)
        self._target, self._arm, self._texts, self._done = "", "", 0, 0

    def __enter__(self) -> EvaluationProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

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
