"""What a report is made of, written as one HTML page or as Markdown, or as a part of a Markdown file of people's."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from samner.errors import SamnerError
from samner.files import atomic_file

if TYPE_CHECKING:
    from markupsafe import Markup

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


PLOTS = "plots"
"""Folder of the plots beside the report."""


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The report as Markdown, its plots files beside it."""
    parts = [f"# {_text(title)}"]
    for section in sections:
        parts.append(f"## {_text(section.title)}")
        parts += [_plot(block) if isinstance(block, Plot) else table(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def table(table: Table) -> str:
    """A table with its title and caption."""
    rule = ["---" if i in table.words else "---:" for i in range(len(table.header))]
    rows = [[_text(name) for name in table.header], rule]
    for title, members in table.parts:
        if title:
            rows.append([f"*{_text(title)}*", *[""] * (len(table.header) - 1)])
        rows += [[_cell(cell) for cell in row] for row in members]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n\n".join(part for part in (f"### {_text(table.title)}", _text(table.caption), "\n".join(lines)) if part)


def _plot(plot: Plot) -> str:
    return f"### {_text(plot.title)}\n\n![{_text(plot.alt)}]({PLOTS}/{plot.name}.svg)\n\n{_text(plot.caption)}"


def _cell(cell: Cell) -> str:
    text = _text(cell.text)
    shown = f"**{text}**" if cell.tone == "best" and text else text
    return "<br>".join(part for part in (shown, _text(cell.note)) if part)


def _text(text: str) -> str:
    """Plain text, with nothing in it that Markdown or HTML would read as markup."""
    for character in "\\`*|":
        text = text.replace(character, "\\" + character)
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").split())


def check_part(path: Path, maker: str) -> None:
    """Make sure that ``write_part`` will find its place; better known before hours of work than after.

    Raises:
        SamnerError: If the file exists but cannot be read or does not hold each marker once, in order.
    """
    if path.exists():
        _around(path, maker)


def write_part(path: Path, maker: str, text: str) -> None:
    """Put ``text`` between the markers of a file, or make the file with a title.

    Args:
        path: Of the file.
        maker: What the part is called in its markers: ``<!-- MAKER: begin -->`` and ``<!-- MAKER: end -->``.
        text: Markdown.

    Raises:
        SamnerError: As ``check_part``.
    """
    before, after = _around(path, maker) if path.exists() else ("# Results\n\n", "\n")
    begin, end = _markers(maker)
    with atomic_file(path) as temporary:
        temporary.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8", newline="")


def _markers(maker: str) -> tuple[str, str]:
    return f"<!-- {maker}: begin -->", f"<!-- {maker}: end -->"


def _around(path: Path, maker: str) -> tuple[str, str]:
    try:
        with path.open(encoding="utf-8", newline="") as file:  # line ends stay as they are
            content = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise SamnerError(f"{path}: cannot be read as UTF-8 text") from error
    begin, end = _markers(maker)
    before, found, rest = content.partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended or begin in rest or end in before or end in after:
        raise SamnerError(f"{path}: must hold the lines {begin!r} and {end!r} once, in this order; or name a new file")
    return before, after


def html(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The report as one page that needs nothing else: style and plots are in it, and it has no scripts."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.jinja").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        is_plot=lambda block: isinstance(block, Plot),
        picture=_inline,
    )


def _inline(plot: Plot) -> Markup:
    """A plot as a part of a page, its ids its own."""
    from markupsafe import Markup, escape

    body = plot.svg[plot.svg.index("<svg") :]
    body = re.sub(r'id="([^"]+)"', rf'id="{plot.name}-\1"', body)
    body = re.sub(r'(url\(|href=")#', rf"\1#{plot.name}-", body)
    return Markup(re.sub(r"<svg ", f'<svg role="img" aria-label="{escape(plot.alt)}" ', body, count=1))
