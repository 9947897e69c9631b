"""What a report is made of, whether it becomes HTML or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "best", "faint"]
"""How a cell is set: as it is, as the one to look at, as one that matters less."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One value in a table.

    Args:
        text: What it says.
        note: A second, smaller line: an interval, a p-value.
        tone: How it is set.
    """

    text: str
    note: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Args:
        title: What it shows.
        caption: How to read it, and on what it was measured.
        header: Names of the columns.
        parts: A title (empty if there is one part) and its rows, each as long as the header.
        words: Columns of words, which are set flush left; the first always is.
        folded: Whether a page shows it only when asked.
    """

    title: str
    caption: str
    header: Sequence[str]
    parts: Sequence[tuple[str, Sequence[Sequence[Cell]]]]
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
        svg: As a file of its own.
    """

    name: str
    title: str
    caption: str
    alt: str
    svg: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report: its heading, and tables and plots in order."""

    title: str
    blocks: Sequence[Table | Plot]

    @property
    def anchor(self) -> str:
        """For links to it."""
        return slug(self.title)


def slug(title: str) -> str:
    """A title as a part of an address or a file's name."""
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
