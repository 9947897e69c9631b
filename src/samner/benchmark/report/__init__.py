"""The report of a benchmark: ``report.html``, one page with all in it, and ``report.md`` with ``plots/`` beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samner.benchmark.report import tables
from samner.benchmark.report.document import PLOTS, Plot, Section, Table, check_part, html, markdown, table, write_part
from samner.benchmark.report.view import View, texts_read
from samner.errors import SamnerError
from samner.files import atomic_file

_MAKER = "samner benchmark"


def write_report(results: Mapping[str, Any], folder: Path) -> None:
    """Write the report of a benchmark from its results alone.

    Args:
        results: Of one pool, as ``samner benchmark`` writes them; see ``samner.benchmark.results``.
        folder: Gets ``report.html``, ``report.md`` and ``plots/``.

    Raises:
        SamnerError: If the results are not those of a benchmark, or matplotlib or Jinja is not installed.
    """
    view = View(results)
    try:
        sections = _sections(view)
        counted = f"{len(view.targets)} targets, {len(view.arms)} arms"
        page = html(_MAKER, f"Pool {results['pool']}, {counted}; {results['finished'][:10]}", sections)
    except ImportError as error:
        raise SamnerError(f"a report needs another package: pip install 'samner[benchmark]' ({error})") from error
    plots = [block for section in sections for block in section.blocks if isinstance(block, Plot)]
    files = {f"{PLOTS}/{plot.name}.svg": plot.svg for plot in plots}
    files |= {"report.html": page, "report.md": markdown(_MAKER, sections)}
    for name, text in files.items():
        with atomic_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def write_comparison(results: Mapping[str, Mapping[str, Any]], folder: Path) -> None:
    """Write ``report.md`` of several pools side by side; each has its own report in the folder of its title."""
    section = Section("Pools", [tables.pools({title: View(one) for title, one in results.items()})])
    with atomic_file(folder / "report.md") as temporary:
        temporary.write_text(markdown(_MAKER, [section]), encoding="utf-8")


def check_section(path: Path) -> None:
    """Make sure that ``write_section`` will find its place.

    Raises:
        SamnerError: As ``check_part``.
    """
    check_part(path, _MAKER)


def write_section(path: Path, results: Mapping[str, Mapping[str, Any]]) -> None:
    """Put the main tables of each pool into a Markdown file, between the markers of ``samner benchmark``."""
    views = {title: View(one) for title, one in results.items()}
    parts = [table(tables.pools(views))] if len(views) > 1 else []
    for view in views.values():
        main = [tables.scores(view, view.main, score, title) for score, title in tables.SCORES.items()]
        found = [*main, tables.unseen(view), tables.chosen(view), tables.cost(view), tables.made(view)]
        parts += [table(one) for one in found if one]
    write_part(path, _MAKER, "\n\n".join(parts))


def _sections(view: View) -> list[Section]:
    """All parts that have something to show, in order: what was found, the evidence, how it was made."""
    from samner.benchmark.report import plots  # matplotlib takes a second

    main = [tables.scores(view, view.main, score, title) for score, title in tables.SCORES.items()]
    tests = [tables.comparisons(view, score) for score in tables.SCORES]
    made: dict[str, list[Table | Plot | None]] = {
        "Scores": [tables.headline(view), plots.bars(view), *main, tables.unseen(view)],
        "Paired comparisons": [*tests],
        "Published figures": [tables.published(view)],
        "Selection": [plots.experts(view), tables.chosen(view), tables.oracle(view), tables.complementarity(view)],
    }
    for group in view.ablations:
        arms = view.group(group)
        caption = f"Measured on {texts_read(arms[0])}."
        title = f"{group.capitalize()}, {tables.SCORES['strict']}"
        made[f"Ablation: {group}"] = [
            *plots.ablation(view, group),
            tables.scores(view, arms, "strict", title, caption=caption, folded=True),
        ]
    made["Cost"] = [tables.cost(view)]
    made["Method"] = [tables.made(view), tables.targets(view)]
    present = {title: [block for block in blocks if block is not None] for title, blocks in made.items()}
    return [Section(title, blocks) for title, blocks in present.items() if blocks]
