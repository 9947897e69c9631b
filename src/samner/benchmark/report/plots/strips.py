"""Variants against a reference, target by target: merge methods, scopes, encoders, the rules beyond the paper."""

from __future__ import annotations

from collections.abc import Sequence

from samner.benchmark.report.blocks import Plot
from samner.benchmark.report.plots.curves import texts_read
from samner.benchmark.report.plots.style import BLUE, GREY, INK, MUTED, ORANGE, drawing, new_figure
from samner.benchmark.report.view import Arm, View, signed


def strip(view: View, name: str, title: str, reference: Arm, arms: Sequence[Arm], hint: str = "") -> Plot | None:
    """Differences to a reference: a small dot for each target, a large one for their mean.

    Args:
        view: The results.
        name: Of the plot's file.
        title: Of the plot.
        reference: What the arms are compared to.
        arms: Those to compare; the ones on other texts are left out, and the rest is ordered by the mean.
        hint: What one should see.
    """
    judged = view.judged
    level = reference.average(judged)
    shown = [arm for arm in arms if arm is not reference and view.comparable(arm, reference)]
    if not shown:
        return None
    shown.sort(key=lambda arm: -arm.average(judged))
    with drawing():
        figure, (axes,) = new_figure(0.27 * len(shown) + 0.95)
        axes.axvline(0, color=MUTED, lw=0.9)
        for i, arm in enumerate(shown):
            points = [arm.mean(target) - reference.mean(target) for target in judged]
            mean = arm.average(judged) - level
            axes.plot(points, [i] * len(points), "o", ms=4, color=GREY, alpha=0.55, mec="none")
            axes.plot(mean, i, "D", ms=6.5, color=BLUE if mean >= 0 else ORANGE, mec="none", zorder=3)
            text = f"{arm.average(judged):.1f}  ({signed(mean)})"
            axes.annotate(text, (1, i), (6, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
                          va="center", color=INK)  # fmt: skip
        axes.set_yticks(range(len(shown)), [_label(arm) for arm in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.xaxis.grid(True)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"strict F1, points against {_label(reference)} ({level:.1f})")
    return Plot(
        name,
        title,
        f"{hint}{' ' if hint else ''}Diamonds: mean of {len(judged)} targets ({view.headline}), given at the "
        f"right as F1 and difference; dots: the targets. Measured on {texts_read(view, shown[0])}.",
        f"Against {_label(reference)}: "
        + ", ".join(f"{_label(arm)} {signed(arm.average(judged) - level)}" for arm in shown),
        figure,
    )


def _label(arm: Arm) -> str:
    """What tells an arm from the others of its series."""
    return arm.title if arm.x is None else str(arm.x)
