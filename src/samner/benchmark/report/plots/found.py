"""What is found and what is missed: by both strategies, by one, by none; precision against recall."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from samner.benchmark.report.blocks import Plot
from samner.benchmark.report.plots.style import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    INK,
    MUTED,
    ORANGE,
    PALE,
    drawing,
    label_points,
    new_figure,
)
from samner.benchmark.report.view import View, pretty

PARTS = {"both": ("both", GREEN), "similarity": ("similarity alone", BLUE), "sampling": ("sampling alone", ORANGE)}
"""What is said of an entity that one or both strategies found, and its colour."""


_VARIANTS = ("economy-unweighted", "economy-common", "economy-average")
"""Main arms that are left out where there is no room."""


def complementarity(view: View) -> Plot | None:
    """Gold and false entities by which strategy found them, as shares."""
    found = view.complementarity
    names = list(found)
    if not names:
        return None
    with drawing():
        figure, (left, right) = new_figure(0.27 * len(names) + 1.2, 2, sharey=True)
        _stack(left, [found[name]["gold"] for name in names], {**PARTS, "neither": ("neither", PALE)})
        _stack(right, [found[name]["false"] for name in names], PARTS)
        left.set_title("gold entities found by")
        right.set_title("false entities claimed by")
        left.set_yticks(range(len(names)), [pretty(name) for name in names])
        left.set_ylim(len(names) - 0.4, -0.6)
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, handlelength=1.2)
    return Plot(
        "complementarity",
        "Do the two strategies complement each other?",
        "Shares in percent, n at the right; strict. The union gains the blue and orange parts on the left and "
        "pays with those on the right; the intersection keeps green alone.",
        "; ".join(f"{pretty(name)}: {found[name]['gold']['both']} gold entities found by both" for name in names),
        figure,
    )


def _stack(axes: Axes, counts: list[Mapping[str, int]], parts: Mapping[str, tuple[str, str]]) -> None:
    totals = [sum(count[key] for key in parts) for count in counts]
    left = np.zeros(len(counts))
    for key, (label, colour) in parts.items():
        shares = np.array([100 * count[key] / max(total, 1) for count, total in zip(counts, totals, strict=True)])
        axes.barh(range(len(counts)), shares, 0.72, left=left, color=colour, label=label)
        for i, share in enumerate(shares):
            if share >= 6:
                shade = INK if colour == PALE else "#fffffe"
                axes.text(left[i] + share / 2, i, f"{share:.0f}", ha="center", va="center", fontsize=7, color=shade)
        left += shares
    for i, total in enumerate(totals):
        axes.annotate(
            f"{total:,}", (100, i), (4, 0), textcoords="offset points", va="center", fontsize=7.5, color=MUTED
        )
    axes.set_xlim(0, 100)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set_xticks([])


def precision_recall(view: View) -> Plot | None:
    """Mean precision against mean recall of the main arms, over lines of equal F1."""
    ceilings = [view.best_single(), view.oracles().get(view.k)]
    arms = [arm for arm in view.group("main") if arm.name not in _VARIANTS and (not arm.ceiling or arm in ceilings)]
    if len(arms) < 2:
        return None
    rank = {name: i for i, name in enumerate(COLOURS)}
    arms = sorted(arms, key=lambda arm: (rank.get(arm.name, 99), arm.mode == "expert", arm.ceiling))
    points = []
    for arm in arms:
        x, y = (arm.average(view.judged, "strict", what) for what in ("recall", "precision"))
        points.append((x, y, arm.title, COLOURS.get(arm.name, INK if arm.ceiling else GREY)))
    with drawing():
        figure, (axes,) = new_figure(4.6)
        xs, ys = np.array([p[0] for p in points]), np.array([p[1] for p in points])
        pad_x, pad_y = (max(np.ptp(v) * 0.16, 1.5) for v in (xs, ys))
        axes.set_xlim(max(xs.min() - pad_x, 0), min(xs.max() + pad_x, 100))
        axes.set_ylim(max(ys.min() - pad_y, 0), min(ys.max() + pad_y, 100))
        axes.set(xlabel="recall (%)", ylabel="precision (%)")
        figure.draw_without_rendering()
        _equal_f1(axes)
        for arm, (x, y, _, colour) in zip(arms, points, strict=True):
            shape = "D" if arm.ceiling else "s" if arm.mode == "expert" else "o"
            axes.plot(x, y, shape, ms=6 if arm.name in COLOURS else 4.5, color=colour, mec="none")
        label_points(
            axes,
            [
                (x, y, "" if arm.mode == "expert" else t, MUTED if c in (PALE, GREY) else c)
                for arm, (x, y, t, c) in zip(arms, points, strict=True)
            ],
        )
    return Plot(
        "precision-recall",
        "Precision against recall",
        f"Strict, means of {len(view.judged)} targets ({view.headline}). Squares: the single experts; diamonds: "
        "oracle arms. "
        "Grey lines join points of equal F1, so that what matters is to cross them to the upper right; along a line "
        "precision is traded for recall.",
        "; ".join(f"{title}: precision {y:.1f}, recall {x:.1f}" for x, y, title, _ in points),
        figure,
    )


def _equal_f1(axes: Axes) -> None:
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    corners = [2 * x * y / max(x + y, 1e-9) for x, y in ((left, low), (right, high))]
    step = next(s for s in (1, 2, 5, 10, 20) if (corners[1] - corners[0]) / s <= 9)
    for f1 in range(int(corners[0] // step + 1) * step, int(corners[1]) + 1, step):
        xs = np.linspace(max(left, f1 / 2 + 1e-3), right, 300)
        ys = f1 * xs / (2 * xs - f1)
        axes.plot(xs, ys, color=MUTED, lw=0.6, alpha=0.45, zorder=0)
        inside = (ys >= low) & (ys <= high)
        if inside.any():
            at = int(np.flatnonzero(inside)[-1])
            offset = (3, 0) if at == len(xs) - 1 else (2, 7)
            axes.annotate(f"F1 {f1}", (xs[at], ys[at]), offset, textcoords="offset points", fontsize=7, color=MUTED,
                          va="center", annotation_clip=False)  # fmt: skip
