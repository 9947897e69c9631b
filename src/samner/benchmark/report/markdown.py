"""Markdown: the whole report, or a part of a file between markers, around which people may write."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from samner.benchmark.report.blocks import Cell, Plot, Section, Table
from samner.errors import SamnerError
from samner.files import atomic_file

PLOTS = "plots"
"""Folder of the plots beside the report."""


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The whole report."""
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
