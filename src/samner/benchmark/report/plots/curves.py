"""What happens to F1 as a number goes up: experts a strategy picks, texts it samples, density, scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from samner.benchmark.report.blocks import Plot
from samner.benchmark.report.plots.heatmap import cells
from samner.benchmark.report.plots.style import (
    BLUE,
    COLOURS,
    GREEN,
    GREY,
    INK,
    MUTED,
    ORANGE,
    PAPER,
    PINK,
    apart,
    drawing,
    new_figure,
)
from samner.benchmark.report.view import Arm, View, best, signed

_SPARE = (BLUE, ORANGE, GREEN, PINK, GREY)

_PARAMETERS = {"density": ("density", "share of values kept (log scale)"), "lam": ("lambda", "scale of the merge")}
"""Parameters of a merge that are numbers: title and axis."""


def k_curve(view: View) -> Plot | None:
    """Average F1 by the number of experts, and each target's own curve for the union."""
    lines = series(view, "k")
    if not lines:
        return None
    title = f"mean of {len(view.judged)} targets ({view.headline}), strict F1 (%)"
    subsets = _subsets(view, lines[0][1][0])
    with drawing():
        figure, (left, right) = new_figure(3.5, 2, width_ratios=[3, 2])
        ends = [_line(left, view, name, arms) for name, arms in lines]
        if len(subsets) > 1:
            _subset_lines(left, subsets)
        references = [arm for arm in view.named("unified", "base") if view.comparable(arm, lines[0][1][0])]
        last = max(x for x, *_ in ends)
        for arm in references:
            height = arm.average(view.judged)
            left.axhline(height, color=COLOURS[arm.name], lw=1, ls="--")
            ends.append((last, height, arm.title, COLOURS[arm.name]))
        _label_ends(left, ends)
        left.set(title=title, xlabel="experts a strategy picks (k)")
        left.set_xticks(sorted({float(arm.x) for _, arms in lines for arm in arms}))
        left.set_xticklabels([f"{x:g}" for x in left.get_xticks()])
        left.yaxis.grid(True)
        name, arms = next((line for line in lines if line[0] == "union"), lines[0])
        _losses(right, view, arms)
        right.set_title(f"best k by target, {name}")
    top = best(arms, lambda arm: arm.average(view.judged))
    return Plot(
        "k",
        "How many experts",
        f"Left: where a curve is flat, k hardly matters. The best fixed k of the {name} is {top.x:g} "
        f"({top.average(view.judged):.1f}). Right: what each k loses against that target's own best k, "
        f"which stands out; were one k best for all, it would be a column. {_run(view, arms[0])}",
        f"F1 by k; {name}: " + ", ".join(f"k={arm.x:g} {arm.average(view.judged):.1f}" for arm in arms),
        figure,
    )


def samples_curve(view: View) -> Plot | None:
    """Average F1 by the number of sampled texts, with the spread over seeds."""
    lines = series(view, "samples")
    if not lines:
        return None
    with drawing():
        figure, (axes, spread) = new_figure(3.3, 2, width_ratios=[3, 2])
        ends, spreads = [], []
        for name, arms in lines:
            ends.append(_line(axes, view, name, arms))
            colour = ends[-1][3]
            runs = [arm.averages(view.judged) for arm in arms]
            xs = [float(arm.x) for arm in arms]
            axes.fill_between(xs, [min(v) for v in runs], [max(v) for v in runs], color=colour, alpha=0.15, lw=0)
            for x, values in zip(xs, runs, strict=True):
                axes.plot([x] * len(values), values, "o", ms=3, mfc="none", mec=colour, mew=0.8, alpha=0.8)
            widths = [fmean(max(v) - min(v) for v in (arm.values(t) for t in view.judged)) for arm in arms]
            spread.plot(xs, widths, color=colour, marker="o", ms=4)
            spreads.append((xs[-1], widths[-1], name, colour))
        for panel in (axes, spread):
            _log(panel, sorted({float(arm.x) for _, arms in lines for arm in arms}))
            panel.yaxis.grid(True)
            panel.set_xlabel("unlabelled texts sampled (log scale)")
        _label_ends(axes, ends)
        axes.set_title(f"mean of {len(view.judged)} targets ({view.headline}), strict F1 (%)")
        spread.set(title="spread over seeds, by target (points)", ylim=(0, None))
        _label_ends(spread, spreads)
    first = lines[0][1][0]
    return Plot(
        "samples",
        "How many texts to sample",
        f"Left: line and band are mean and range over {first.seeds} seeds, a ring is one seed. Right: highest minus "
        f"lowest F1 of the seeds on one target, averaged over targets: how much depends on which texts are drawn. "
        f"{_run(view, first)}",
        "; ".join(
            f"{name}: " + ", ".join(f"{arm.x:g} texts {arm.average(view.judged):.1f}" for arm in arms)
            for name, arms in lines
        ),
        figure,
    )


def parameter_curves(view: View) -> Plot | None:
    """Density and lambda side by side."""
    groups = [(name, series(view, name)) for name in _PARAMETERS]
    groups = [(name, lines) for name, lines in groups if lines]
    if not groups:
        return None
    with drawing():
        figure, panels = new_figure(2.9, len(groups), sharey=True)
        ends = [[_line(axes, view, *line) for line in lines] for axes, (_, lines) in zip(panels, groups, strict=True)]
        for axes, (name, lines) in zip(panels, groups, strict=True):
            xs = sorted({float(arm.x) for _, arms in lines for arm in arms})
            if name == "density" and xs[0] > 0:
                _log(axes, xs)
            axes.set_xticks(xs, [f"{x:g}" for x in xs])
            axes.set(title=_PARAMETERS[name][0], xlabel=_PARAMETERS[name][1])
            axes.yaxis.grid(True)
        for axes, one in zip(panels, ends, strict=True):
            if len(one) > 1:
                _label_ends(axes, one)
        panels[0].set_ylabel(f"strict F1 (%), mean {view.headline}")
    arms = groups[0][1][0][1]
    return Plot(
        "parameters",
        "Density and scale of the merge",
        f"Mean strict F1 of {len(view.judged)} targets ({view.headline}); everything else as in the main arms. "
        + _run(view, arms[0]),
        "; ".join(
            f"{one} by {name}: " + ", ".join(f"{arm.x:g} {arm.average(view.judged):.1f}" for arm in arms)
            for name, lines in groups
            for one, arms in lines
        ),
        figure,
    )


def _subsets(view: View, arm: Arm) -> dict[int, tuple[float, float]]:
    """Best and mean F1 of all merges of each size, if the oracle searched on the texts that this arm read."""
    oracle = view.results.get("oracle") or {}
    if not oracle or arm.settings.get("texts") != oracle["texts"]:
        return {}
    found = {}
    for k, one in sorted(view.oracles().items()):
        scores = [list(oracle["subsets"][one.name][target].values()) for target in view.judged]
        found[k] = 100 * fmean(map(max, scores)), 100 * fmean(map(fmean, scores))
    return found


def series(view: View, group: str) -> list[tuple[str, list[Arm]]]:
    """The arms of a group whose x is a number, by series, each in the order of x."""
    found: dict[str, list[Arm]] = {}
    for arm in view.group(group):
        if isinstance(arm.x, int | float) and not isinstance(arm.x, bool):
            found.setdefault(arm.series, []).append(arm)
    return [(name, sorted(arms, key=lambda arm: float(arm.x))) for name, arms in found.items()]


def texts_read(view: View, arm: Arm) -> str:
    """On how many texts an arm was measured."""
    limit = arm.settings.get("texts")
    return f"the first {limit} test texts of each target" if limit else "all test texts"


def _run(view: View, arm: Arm) -> str:
    return f"Measured on {texts_read(view, arm)}."


def _subset_lines(axes: Axes, subsets: Mapping[int, tuple[float, float]]) -> None:
    """Best and mean of all subsets, named where they begin: at the right end they are one."""
    names = ("best subset (oracle)", "mean of all subsets")
    for j, (name, style, rise) in enumerate(zip(names, ((0, (4, 2)), (0, (1, 1.5))), (5, -11), strict=True)):
        heights = [found[j] for found in subsets.values()]
        axes.plot(list(subsets), heights, color=INK, lw=1.2, ls=style)
        axes.annotate(name, (min(subsets), heights[0]), (7, rise), textcoords="offset points", color=INK,
                      bbox={"fc": PAPER, "ec": "none", "pad": 0.5, "alpha": 0.85})  # fmt: skip


def _line(axes: Axes, view: View, name: str, arms: Sequence[Arm]) -> tuple[float, float, str, str]:
    """Draw a series; returns where it ends, what it is called and its colour."""
    colour = COLOURS.get(name) or _SPARE[len(axes.lines) % len(_SPARE)]
    xs = [float(arm.x) for arm in arms]
    ys = [arm.average(view.judged) for arm in arms]
    axes.plot(xs, ys, color=colour, lw=1.8, marker="o", ms=4.5)
    return xs[-1], ys[-1], name, colour


def _label_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names at the right ends of lines, apart from each other."""
    figure = cast(Figure, axes.figure)
    axes.margins(y=0.12)
    figure.draw_without_rendering()
    low, high = axes.get_ylim()
    gap = (high - low) * 13 / (axes.get_window_extent().height * 72 / figure.dpi)  # 13 points
    places = apart([y for _, y, _, _ in ends], gap)
    for (x, y, name, colour), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            (x, y),
            (1.03, place),
            xycoords="data",
            textcoords=axes.get_yaxis_transform(),
            va="center",
            color=MUTED if colour in (COLOURS["base"], COLOURS["unified"]) else colour,
            arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.6, "shrinkA": 0, "shrinkB": 4},
        )
    axes.set_ylim(low, high)


def _log(axes: Axes, xs: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(xs, [f"{x:g}" for x in xs])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def _losses(axes: Axes, view: View, arms: Sequence[Arm]) -> None:
    """For each target and value, points below that target's best."""
    rows: list[list[tuple[str, float]]] = []
    for name in view.targets:
        values = [arm.mean(name) for arm in arms]
        losses = [round(value - max(values), 1) for value in values]
        deepest = min(losses) or 1.0
        rows.append(
            [
                (f"{value:.1f}", 1.0) if value == max(values) else (signed(loss), 0.8 * (1 - loss / deepest))
                for value, loss in zip(values, losses, strict=True)
            ]
        )
    cells(axes, rows)
    axes.set_xticks(range(len(arms)), [f"{arm.x:g}" for arm in arms])
    axes.set_yticks(range(len(view.targets)), [name.replace("_", " ") for name in view.targets])
    axes.set_xlabel("k")
