"""Paired differences with their intervals, target by target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from samner.benchmark.report.blocks import Plot
from samner.benchmark.report.plots.style import BLUE, INK, MUTED, ORANGE, PAPER, drawing, new_figure
from samner.benchmark.report.view import View, pretty, signed

_PANELS = 3


def differences(view: View) -> Plot | None:
    """The first comparisons of the benchmark, strict F1."""
    pairs: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in view.results.get("comparisons", []):
        if row["score"] == "strict":
            pairs.setdefault((row["a"], row["b"]), {})[row["target"]] = row
    shown = list(pairs.items())[:_PANELS]
    if not shown:
        return None
    names = [*view.targets, *view.groups]
    with drawing():
        figure, panels = new_figure(0.24 * len(names) + 0.9, len(shown), sharex=True, sharey=True)
        for axes, ((first, second), rows) in zip(panels, shown, strict=True):
            _panel(axes, names, rows, len(view.targets))
            axes.set_title(f"{first} \N{MINUS SIGN} {second}")
        labels = [pretty(name) for name in view.targets] + [f"mean {title}" for title in view.groups]
        panels[0].set_yticks(range(len(names)), labels)
        panels[0].invert_yaxis()
        figure.supxlabel(
            "difference in strict F1, points (right of 0: the first is better)", fontsize=8.5, color=MUTED
        )
    more = f" The first {_PANELS} comparisons of {len(pairs)}; the tables have all." if len(pairs) > _PANELS else ""
    return Plot(
        "differences",
        "Paired differences",
        "Dots: difference in strict F1 on the same texts; lines: 95 % intervals by paired bootstrap. Filled where the "
        "interval leaves out 0." + more,
        "; ".join(
            f"{a} minus {b}: {signed(rows[view.headline]['difference'])} points on average"
            for (a, b), rows in shown
            if view.headline in rows
        ),
        figure,
    )


def _panel(axes: Any, names: Sequence[str], rows: Mapping[str, Mapping[str, Any]], targets: int) -> None:
    axes.axvline(0, color=MUTED, lw=0.8)
    axes.axhline(targets - 0.5, color=MUTED, lw=0.7, ls=":")
    for i, name in enumerate(names):
        if name not in rows:
            continue
        row = rows[name]
        low, high = row["ci95"]
        colour = BLUE if row["difference"] >= 0 else ORANGE
        axes.plot([low, high], [i, i], color=colour, lw=1.6 if i >= targets else 1.1, solid_capstyle="round")
        sure = low > 0 or high < 0
        axes.plot(row["difference"], i, "o" if i < targets else "D", ms=5, mec=colour, mfc=colour if sure else PAPER)
        axes.annotate(signed(row["difference"]), (1, i), (2, 0), xycoords=("axes fraction", "data"),
                      textcoords="offset points", va="center", color=INK if sure else MUTED, fontsize=7.5,
                      weight="bold" if sure else "normal")  # fmt: skip
    axes.xaxis.grid(True)
    axes.spines["left"].set_visible(False)
