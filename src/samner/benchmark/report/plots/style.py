"""How plots look: colours that tell apart whatever one's eyes, thin axes, text as text; and how they become SVG.

The colours of arms are those of Okabe and Ito, darkened until they stand out from white. Each colour has a twin for
dark pages: a plot in the HTML page names its colours by CSS variables, one in a file of its own keeps the light ones.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

INK, MUTED, GRID, PAPER = "#1b1f24", "#5c6670", "#dfe3e8", "#ffffff"
BLUE, ORANGE, GREEN, PINK, GREY, PALE = "#0b6fb0", "#c05409", "#008060", "#b1487f", "#7b858f", "#bcc4cc"
RAMP = ("#f0f4f9", "#c7dbee", "#94bfe0", "#559cca", "#1f74b1", "#0b4a82")
"""From least to most."""
RAMP_INK = ("#1b1f25", "#1b1f26", "#1b1f27", "#1b1f28", "#fffffe", "#fffeff")
"""Text on each of them; each a colour of its own, to have a twin of its own."""

TWINS = {
    INK: "#e8ebee",
    MUTED: "#a3adb7",
    GRID: "#333a42",
    PAPER: "#14181c",
    BLUE: "#5ab4f0",
    ORANGE: "#f08c3e",
    GREEN: "#2fc49b",
    PINK: "#e58cbc",
    GREY: "#8f99a3",
    PALE: "#56606a",
    **dict(zip(RAMP, ("#1c2530", "#1d3c59", "#1f5584", "#2f7ab5", "#62a9dc", "#b5dbf7"), strict=True)),
    **dict(zip(RAMP_INK, ("#d7dde3", "#e8ebef", "#fffffc", "#fffffb", "#10151a", "#10151b"), strict=True)),
}
"""Each colour with the one that takes its place on a dark page."""

COLOURS = {
    "similarity": BLUE,
    "sampling": ORANGE,
    "union": GREEN,
    "economy": PINK,
    "unified": GREY,
    "base": PALE,
}
"""An arm has the same colour in every plot."""

WIDTH = 9.2
"""Inches of a plot, at 72 points each."""

_REACHES = (6, 14, 24, 36)
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.8), (-0.8, 0.8), (0.8, -0.8), (-0.8, -0.8))
"""Where a name is tried beside a point: points of distance, and ways to go."""

_FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'

_RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib and is wide: what fits in it fits in any font of a page
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.major.size": 0,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "samner",
}


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the report's style, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        yield


def new_figure(height: float, columns: int = 1, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure as wide as the page, so many inches high, with axes side by side."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, **options)
    return figure, list(axes[0])


def two_lines(name: str) -> str:
    """A name broken at the blank or underscore nearest to its middle."""
    breaks = [i for i, c in enumerate(name) if c in " _"]
    if not breaks:
        return name
    at = min(breaks, key=lambda i: abs(2 * i - len(name)))
    return name[:at].replace("_", " ") + "\n" + name[at + 1 :].replace("_", " ")


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Places as near to the wanted ones as can be, in the same order and at least ``gap`` from each other."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    clusters: list[list[float]] = []  # the sum of what its members want of its lowest place, and how many they are
    for i in order:
        clusters.append([wanted[i], 1])
        while len(clusters) > 1:
            (one, n), (two, m) = clusters[-2:]
            if one / n + n * gap <= two / m:
                break
            clusters[-2:] = [[one + two - m * n * gap, n + m]]
    places = [start / size + j * gap for start, size in clusters for j in range(int(size))]
    back = dict(zip(order, places, strict=True))
    return [back[i] for i in range(len(wanted))]


def label_points(axes: Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Write names beside points, where they cover neither another name nor a point.

    Args:
        axes: With its limits set and its figure laid out.
        points: x, y, name and colour of each; the earlier ones have first choice, one without a name keeps its place.
    """
    pixels = axes.transData.transform([(x, y) for x, y, _, _ in points])
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in pixels]
    frame = axes.get_window_extent()
    for i, (x, y, name, colour) in enumerate(points):
        for reach, (dx, dy) in itertools.product(_REACHES, _DIRECTIONS) if name else ():
            text = _beside(axes, (x, y), (dx * reach, dy * reach), name, colour)
            box = text.get_window_extent().padded(1)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            if inside and not any(box.overlaps(other) for other in taken[:i] + taken[i + 1 :]):
                taken.append(box)
                if reach > _REACHES[0]:
                    _leader(axes, (x, y), (dx * reach, dy * reach))
                break
            text.remove()


def _leader(axes: Axes, at: tuple[float, float], offset: tuple[float, float]) -> None:
    line = {"arrowstyle": "-", "color": MUTED, "lw": 0.5, "shrinkA": 0, "shrinkB": 3}
    axes.annotate("", at, offset, textcoords="offset points", arrowprops=line)


def _beside(axes: Axes, at: tuple[float, float], offset: tuple[float, float], name: str, colour: str) -> Text:
    dx, dy = offset
    horizontal = "left" if dx > 0 else "right" if dx < 0 else "center"
    vertical = "bottom" if dy > 0 else "top" if dy < 0 else "center"
    return axes.annotate(
        name, at, offset, textcoords="offset points", ha=horizontal, va=vertical, color=colour, fontsize=7.5
    )


def svg(figure: Figure) -> str:
    """The figure as an SVG file in the light colours, the same for the same figure."""
    buffer = io.StringIO()
    with drawing():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, facecolor=PAPER)
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    return re.sub(r"'DejaVu Sans'[^;\"]*", _FONT.replace('"', "'"), text)


def inline(text: str, name: str, alt: str) -> str:
    """An SVG file as a part of a page: its ids its own, its colours the page's.

    Args:
        text: Made by `svg`.
        name: Unique in the page.
        alt: For those who cannot see it; escaped already.
    """
    body = text[text.index("<svg") :]
    body = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', body)
    body = re.sub(r'(url\(|href=")#', rf"\1#{name}-", body)
    for colour in TWINS:
        body = body.replace(colour, f"var(--{variable(colour)})")
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{alt}" ', body, count=1)


def variable(colour: str) -> str:
    """Name of the CSS variable of a colour."""
    return f"c{colour.removeprefix('#')}"


def variables(dark: bool) -> Iterable[str]:
    """CSS declarations of all colours."""
    return (f"--{variable(light)}: {TWINS[light] if dark else light};" for light in TWINS)
