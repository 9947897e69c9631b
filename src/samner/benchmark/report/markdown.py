"""The report as Markdown: the same tables, the plots as files beside it."""

from __future__ import annotations

from collections.abc import Sequence

from samner.benchmark.report.blocks import Cell, Finding, Plot, Section, Table

PLOTS = "plots"
"""Folder of the plots beside the report."""


def markdown(title: str, sections: Sequence[Section]) -> str:
    """The whole report."""
    parts = [f"# {_text(title)}"]
    for section in sections:
        parts.append(f"## {_text(section.title)}")
        if section.intro:
            parts.append(_text(section.intro))
        if section.findings:
            parts.append("\n".join(map(_finding, section.findings)))
        parts += [_plot(block) if isinstance(block, Plot) else _table(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _finding(finding: Finding) -> str:
    mark = {True: "**Met.** ", False: "**Missed.** ", None: ""}[finding.met]
    detail = f" {_text(finding.detail)}" if finding.detail else ""
    return f"- {mark}{_text(finding.text)}{detail}"


def _plot(plot: Plot) -> str:
    return f"### {_text(plot.title)}\n\n![{_text(plot.alt)}]({PLOTS}/{plot.name}.svg)\n\n{_text(plot.caption)}"


def _table(table: Table) -> str:
    rule = ["---" if i in table.words else "---:" for i in range(len(table.header))]
    rows = [[_text(name) for name in table.header], rule]
    for part in table.parts:
        if part.title:
            rows.append([f"*{_text(part.title)}*", *[""] * (len(table.header) - 1)])
        rows += [[_cell(cell) for cell in row] for row in part.rows]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n\n".join(part for part in (f"### {_text(table.title)}", _text(table.caption), "\n".join(lines)) if part)


def _cell(cell: Cell) -> str:
    text = _text(cell.text)
    shown = f"**{text}**" if cell.tone == "best" and text else text
    return "<br>".join(part for part in (shown, _text(cell.note)) if part)


def _text(text: str) -> str:
    """Plain text, with nothing in it that Markdown or HTML would read as markup."""
    for character in "\\`*|":
        text = text.replace(character, "\\" + character)
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").split())
