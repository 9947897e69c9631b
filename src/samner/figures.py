"""Plots in one style, whatever the user's own is, and the same file for the same figure; needs matplotlib."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samner.errors import SamnerError
from samner.files import atomic_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#1b1f24", "#5c6670", "#dfe3e8"
BLUE, ORANGE, GREEN, PINK, GREY, PALE = "#0b6fb0", "#c05409", "#008060", "#b1487f", "#7b858f", "#bcc4cc"
"""Those of Okabe and Ito, darkened until they stand out from white."""

SUFFIXES = (".svg", ".png", ".pdf")
"""Of the files that ``save`` writes."""

_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_RC: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib and is wide: what fits in it fits in any font of a page
    "font.size": 8.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.color": MUTED,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "samner",
}


@contextmanager
def canvas(height: float, columns: int = 1, width: float = 9.2, **options: Any) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure so many inches high, with axes side by side.

    Args:
        height: In inches.
        columns: How many axes.
        width: In inches; as wide as a page by default.
        **options: As ``Figure.subplots`` takes them.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_RC)
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, list(figure.subplots(1, columns, squeeze=False, **options)[0])


def svg(figure: Figure) -> str:
    """A figure as a file of its own; to be made while its ``canvas`` block lasts."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", buffer.getvalue(), flags=re.DOTALL)
    return re.sub(r"'DejaVu Sans'[^;\"]*", _FONT, text)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as its suffix says, while its ``canvas`` block lasts."""
    check_suffix(path)
    with atomic_file(path) as temporary:
        if path.suffix.lower() == ".svg":
            temporary.write_text(svg(figure), encoding="utf-8")
        else:
            figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=200)


def check_suffix(path: Path) -> None:
    """Refuse a file that ``save`` cannot write, and that matplotlib is missing, before the work.

    Raises:
        SamnerError: If so.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise SamnerError(f"{path}: a plot is written as {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    try:
        import matplotlib  # noqa: F401 - is it there?
    except ImportError as error:
        raise SamnerError(f"{path}: a plot needs matplotlib: pip install 'samner[plot]'") from error
