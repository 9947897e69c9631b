"""Which expert knows which target, beside what the two strategies, who see no label, believe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from samner.benchmark.report.blocks import Plot
from samner.benchmark.report.plots.style import PAPER, RAMP, RAMP_INK, drawing, new_figure
from samner.benchmark.report.view import View, pretty

_MOST = 15
"""Experts shown; of a larger pool those with the highest average F1."""


def expert_heatmap(view: View) -> Plot | None:
    """Expert x target F1 with the similarity and sampling scores, all coloured by rank within the target."""
    arms = [arm for arm in view.group("main") if arm.mode == "expert"]
    if not arms:
        return None
    arms = sorted(arms, key=lambda arm: -arm.average(view.judged))[:_MOST]
    names = [arm.settings.get("name", arm.name) for arm in arms]
    known = {
        "test F1 (needs labels)": {t: {n: a.mean(t) for n, a in zip(names, arms, strict=True)} for t in view.targets}
    }
    for key, title in (("similarity", "similarity (cosine x 100)"), ("sampling", "sampling (F1 on pseudo-labels)")):
        scores = {
            t: {n: 100 * view.target(t)[key][n] for n in view.ranking(t, key) if n in names} for t in view.targets
        }
        if any(scores.values()):
            known[title] = scores
    with drawing():
        figure, panels = new_figure(0.29 * len(view.targets) + 1.1, len(known), sharey=True)
        for axes, (title, scores) in zip(panels, known.items(), strict=True):
            _panel(axes, view.targets, names, scores, view.k)
            axes.set_title(title)
        panels[0].set_yticks(range(len(view.targets)), [pretty(name) for name in view.targets])
    return Plot(
        "experts",
        "What the experts know, and what the strategies believe",
        f"Colour is the rank within the row; the {min(view.k, len(names))} cells that stand out most are the highest: "
        "what a strategy picks, and in the first panel what the test labels would have picked. Were the strategies "
        "right, the panels would be coloured alike."
        + (f" The {len(names)} best of {len(view.experts)} experts." if len(view.experts) > len(names) else ""),
        "Heat map; the best expert by test F1 is "
        + ", ".join(
            f"{max(row, key=row.__getitem__)} for {pretty(t)}" for t, row in next(iter(known.values())).items()
        ),
        figure,
    )


def _panel(
    axes: Axes, targets: Sequence[str], names: Sequence[str], scores: Mapping[str, Mapping[str, float]], k: int
) -> None:
    rows = []
    for target in targets:
        found = scores[target]
        order = sorted(found, key=lambda name: -found[name])  # equal ones stay as their strategy ranks them
        depth = {name: _depth(place, k, len(order)) for place, name in enumerate(order)}
        rows.append([(_short(found[name]), depth[name]) if name in found else ("", 0.0) for name in names])
    cells(axes, rows)
    axes.set_xticks(range(len(names)), names, fontsize=7.5, rotation=35, ha="left", rotation_mode="anchor")
    axes.xaxis.tick_top()


def _depth(place: int, k: int, count: int) -> float:
    """How dark a rank is: the first k in the upper half of the scale, the others in the lower."""
    if place < k:
        return 1 - 0.5 * place / max(k - 0.99, 1)
    return 0.49 * (1 - (place - k) / max(count - k - 1, 1))


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.1f}"


def cells(axes: Axes, rows: Sequence[Sequence[tuple[str, float]]]) -> None:
    """A grid of texts on colours.

    Args:
        axes: To draw on.
        rows: From the top; each cell its text and how dark it is, 0 to 1.
    """
    for i, row in enumerate(rows):
        for j, (text, depth) in enumerate(row):
            step = min(int(depth * len(RAMP)), len(RAMP) - 1)
            axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fc=RAMP[step], ec=PAPER, lw=1.2))
            said = axes.text(j, i, text.replace("-", "\N{MINUS SIGN}"), ha="center", va="center", fontsize=7)
            said.set(color=RAMP_INK[step], in_layout=False)
    axes.set_xlim(-0.5, max(len(row) for row in rows) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    for spine in axes.spines.values():
        spine.set_visible(False)
