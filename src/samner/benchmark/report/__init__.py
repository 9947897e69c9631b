"""The report of a benchmark: ``report.html``, one page with all in it, and ``report.md`` with ``plots/`` beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from samner.benchmark.report.view import View
from samner.errors import SamnerError
from samner.files import atomic_file


def write_report(results: dict[str, Any], folder: Path) -> None:
    """Write the report of a benchmark from its results alone.

    Args:
        results: As ``samner benchmark`` writes them; see ``samner.benchmark.results``.
        folder: Gets ``report.html``, ``report.md`` and ``plots/``.

    Raises:
        SamnerError: If the results are not those of a benchmark, or matplotlib or Jinja is not installed.
    """
    view = View(results)
    try:
        from samner.benchmark.report.html import html
        from samner.benchmark.report.plots.style import svg
        from samner.benchmark.report.sections import sections
    except ImportError as error:
        raise SamnerError(f"a report needs another package: pip install 'samner[benchmark]' ({error})") from error
    from samner.benchmark.report.blocks import Plot
    from samner.benchmark.report.markdown import PLOTS, markdown

    parts = sections(view)
    plots = {block.name: svg(block.figure) for part in parts for block in part.blocks if isinstance(block, Plot)}
    title = "samner benchmark"
    subtitle = (
        f"Pool {results['pool']}, {len(view.targets)} targets, {len(view.arms)} arms; {results['finished'][:10]}"
    )
    files = {f"{PLOTS}/{name}.svg": text for name, text in plots.items()}
    files |= {"report.html": html(title, subtitle, parts, plots), "report.md": markdown(title, parts)}
    for name, text in files.items():
        with atomic_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
