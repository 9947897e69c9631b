"""What a report is made of, whether it becomes HTML or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Tone = Literal["plain", "best", "faint"]
"""How a cell is set: as it is, as the one to look at, as one that matters less."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One value in a table.

    Args:
        text: What it says.
        tone: How it is set.
        note: A second, smaller line: an interval, a p-value.
    """

    text: str
    tone: Tone = "plain"
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows that belong together.

    Args:
        title: Above them; none if the table has one kind of rows.
        rows: Each as long as the header.
    """

    title: str
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Args:
        title: What it shows.
        caption: How to read it, and on what it was measured.
        header: Names of the columns.
        parts: Rows in order.
        words: Columns of words, which are set flush left; the first always is.
        folded: Whether the page shows it only when asked.
    """

    title: str
    caption: str
    header: Sequence[str]
    parts: Sequence[Rows]
    words: frozenset[int] = frozenset({0})
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture.

    Args:
        name: Of its file, without an ending.
        title: What it shows.
        caption: What one should see, and on what it was measured.
        alt: For those who cannot see it.
        figure: Drawn, not yet written.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Finding:
    """A fact computed from the results.

    Args:
        text: One sentence.
        met: For a goal whether it was reached; none for what is only a fact.
        detail: What to know with it.
    """

    text: str
    met: bool | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report.

    Args:
        title: Its heading.
        intro: One paragraph.
        findings: Facts, before everything else.
        blocks: Tables and plots in order.
    """

    title: str
    intro: str = ""
    findings: Sequence[Finding] = ()
    blocks: Sequence[Table | Plot] = field(default_factory=tuple)

    @property
    def anchor(self) -> str:
        """For links to it."""
        return slug(self.title)


def slug(title: str) -> str:
    """A title as a part of an address or a file's name."""
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
