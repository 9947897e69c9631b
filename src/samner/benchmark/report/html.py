"""The report as one HTML page that needs nothing else: style and plots are in it, and it has no scripts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from samner.benchmark.report.blocks import Plot, Section


def html(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole page."""
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
    body = plot.svg[plot.svg.index("<svg") :]
    body = re.sub(r'id="([^"]+)"', rf'id="{plot.name}-\1"', body)
    body = re.sub(r'(url\(|href=")#', rf"\1#{plot.name}-", body)
    return Markup(re.sub(r"<svg ", f'<svg role="img" aria-label="{escape(plot.alt)}" ', body, count=1))
