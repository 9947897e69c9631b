"""The report as one HTML page that needs nothing else: style and plots are in it, and it has no studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from samner.benchmark.report.blocks import Plot, Section
from samner.benchmark.report.plots.style import (
    BLUE,
    GREEN,
    GRID,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    inline,
    variable,
    variables,
)

_ROLES = {
    "ink": INK,
    "muted": MUTED,
    "line": GRID,
    "paper": PAPER,
    "link": BLUE,
    "good": GREEN,
    "bad": ORANGE,
}
"""What the style sheet calls colours of the plots."""


def html(title: str, subtitle: str, sections: Sequence[Section], plots: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        title: Of the page.
        subtitle: One line below it.
        sections: In order.
        plots: Name of each plot to its SVG file.
    """
    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def picture(plot: Plot) -> Markup:
        return Markup(inline(plots[plot.name], plot.name, str(escape(plot.alt))))

    return environment.get_template("report.html.jinja").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        is_plot=lambda block: isinstance(block, Plot),
        picture=picture,
        light=Markup(" ".join(variables(dark=False))),
        roles=Markup(" ".join(f"--{role}: var(--{variable(colour)});" for role, colour in _ROLES.items())),
        dark=Markup(" ".join(variables(dark=True))),
    )
