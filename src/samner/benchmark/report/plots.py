"""The plots of a report, each from the results alone, and none if its arms were not measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from samner.benchmark.report.document import Plot, slug
from samner.benchmark.report.view import Arm, View, pretty, signed, texts_read
from samner.figures import BLUE, GREEN, GREY, INK, MUTED, ORANGE, PALE, PINK, canvas, svg

RAMP = ("#f0f4f9", "#c7dbee", "#94bfe0", "#559cca", "#1f74b1", "#0b4a82")
COLOURS = {"similarity": BLUE, "sampling": ORANGE, "union": GREEN, "economy": PINK, "base": PALE}
"""An arm has the same colour in every plot; baselines are grey."""

_MOST = 15
"""Experts that a heat map shows; of a larger pool those with the highest average F1."""


def _label(arm: Arm) -> str:
    """What tells an arm from the others of its series."""
    return arm.title if arm.x is None else str(arm.x)


def bars(view: View) -> Plot | None:
    """Strict F1 by target with 95 % intervals, and the best that a choice of experts could have reached."""
    arms = [arm for arm in view.main if arm.mode in ("base", "baseline", "union", "economy")][:5]
    if not arms:
        return None
    ceilings, width = [arm for arm in view.main if arm.ceiling], 0.8 / len(arms)
    with canvas(3.6) as (figure, (axes,)):
        for j, arm in enumerate(arms):
            for i, names in enumerate(view.columns.values()):
                height, (low, high) = arm.average(names), arm.interval(names)
                place = i + (j - (len(arms) - 1) / 2) * width
                colour = COLOURS.get(arm.mode, GREY)
                alpha = 0.6 if any(other.mode == arm.mode for other in arms[:j]) else 1.0
                axes.bar(place, height, width * 0.92, color=colour, alpha=alpha, label="" if i else arm.title)
                ends = [[max(height - low, 0)], [max(high - height, 0)]]
                axes.errorbar(place, height, ends, fmt="none", ecolor=MUTED, elinewidth=0.7)
        if ceilings:
            best = [max(arm.average(names) for arm in ceilings) for names in view.columns.values()]
            left, right = [i - 0.4 for i in range(len(best))], [i + 0.4 for i in range(len(best))]
            axes.hlines(best, left, right, color=INK, lw=1.2, ls=(0, (2, 1.5)), label="best oracle")
        axes.set_xticks(range(len(view.columns)), [_two_lines(title) for title in view.columns], fontsize=7.5)
        axes.set_ylabel("strict span F1 (%)")
        axes.yaxis.grid(True)
        figure.legend(loc="outside upper left", ncols=len(arms) + 1)
        drawn = svg(figure)
    return Plot(
        "targets",
        "Strict F1 on every target",
        "Whiskers: 95 % intervals by bootstrap over the test texts; where they overlap, see the paired tests."
        + (" Dashed: the best of the oracle arms, a ceiling." if ceilings else ""),
        "Bars of strict F1: " + "; ".join(f"{a.title} {a.average(view.judged):.1f} on average" for a in arms),
        drawn,
    )


def ablation(view: View, group: str) -> list[Plot]:
    """The arms of a group: as curves where a number was varied, else against the default among them."""
    arms = [arm for arm in view.group(group) if not arm.ceiling]
    series: dict[str, list[Arm]] = {}
    for arm in arms:
        series.setdefault(arm.series if arm.x is not None else "", []).append(arm)
    if arms and all(isinstance(arm.x, int | float) and not isinstance(arm.x, bool) for arm in arms):
        return [_curves(view, group, series)]
    return [plot for name, members in series.items() if (plot := _strip(view, group, name, members))]


def _curves(view: View, group: str, series: Mapping[str, Sequence[Arm]]) -> Plot:
    with canvas(3.2) as (figure, (axes,)):
        for name, arms in series.items():
            arms = sorted(arms, key=lambda arm: float(arm.x))
            xs, runs = [float(arm.x) for arm in arms], [arm.averages(view.judged) for arm in arms]
            colour = COLOURS.get(arms[0].mode, GREY)
            axes.plot(xs, [sum(values) / len(values) for values in runs], color=colour, marker="o", ms=4, label=name)
            axes.fill_between(xs, [min(v) for v in runs], [max(v) for v in runs], color=colour, alpha=0.15, lw=0)
        every = sorted({float(arm.x) for arms in series.values() for arm in arms})
        if every[0] > 0 and every[-1] >= 10 * every[0]:
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(every, [f"{x:g}" for x in every])
        axes.set(xlabel=group, ylabel=f"strict F1 (%), mean {view.headline}")
        axes.yaxis.grid(True)
        figure.legend(loc="outside right upper")
        drawn = svg(figure)
    first = next(iter(series.values()))[0]
    spread = " Bands: from the lowest to the highest seed." if first.seeds > 1 else ""
    told = "; ".join(
        f"{name}: " + ", ".join(f"{arm.x:g} {arm.average(view.judged):.1f}" for arm in arms)
        for name, arms in series.items()
    )
    caption = f"Mean of {len(view.judged)} targets ({view.headline}), measured on {texts_read(first)}.{spread}"
    return Plot(slug(group), group.capitalize(), caption, told, drawn)


def _strip(view: View, group: str, name: str, arms: Sequence[Arm]) -> Plot | None:
    """Differences to a reference: a small dot for each target, a large one for their mean."""
    merge = view.results["settings"]["merge"]
    usual = [arm for arm in arms if arm.x is not None and arm.x == merge.get(group)]
    reference = next(arm for arm in [*usual, *view.named("union"), *arms] if view.comparable(arm, arms[0]))
    shown = [arm for arm in arms if arm is not reference and view.comparable(arm, reference)]
    if not shown:
        return None
    shown.sort(key=lambda arm: -arm.average(view.judged))
    level = reference.average(view.judged)
    with canvas(0.27 * len(shown) + 0.95) as (figure, (axes,)):
        axes.axvline(0, color=MUTED, lw=0.9)
        for i, arm in enumerate(shown):
            gaps = [arm.mean(target) - reference.mean(target) for target in view.judged]
            mean = arm.average(view.judged) - level
            axes.plot(gaps, [i] * len(gaps), "o", ms=4, color=GREY, alpha=0.55, mec="none")
            axes.plot(mean, i, "D", ms=6.5, color=BLUE if mean >= 0 else ORANGE, mec="none", zorder=3)
            said = f"{arm.average(view.judged):.1f}  ({signed(mean)})"
            axes.annotate(said, (1, i), (6, 0), ("axes fraction", "data"), "offset points", va="center")
        axes.set_yticks(range(len(shown)), [_label(arm) for arm in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.xaxis.grid(True)
        axes.set_xlabel(f"strict F1, points against {_label(reference)} ({level:.1f})")
        drawn = svg(figure)
    return Plot(
        slug(f"{group} {name}"),
        group.capitalize() + (f" ({name})" if name else ""),
        f"Diamonds: mean of {len(view.judged)} targets ({view.headline}), at the right as F1 and difference; dots: "
        f"the targets. Measured on {texts_read(shown[0])}.",
        f"Against {_label(reference)}: "
        + ", ".join(f"{_label(arm)} {signed(arm.average(view.judged) - level)}" for arm in shown),
        drawn,
    )


def experts(view: View) -> Plot | None:
    """Expert x target F1 beside the similarity and sampling scores, all coloured by rank within the target."""
    if len(view.singles) < 2:
        return None
    names = sorted(view.singles, key=lambda name: -view.singles[name].average(view.judged))[:_MOST]
    panels: dict[str, Callable[[str], Mapping[str, float]]] = {
        "test F1 (needs labels)": lambda target: {name: view.singles[name].mean(target) for name in names},
        "similarity (cosine x 100)": lambda target: {n: 100 * v for n, v in view.target(target)["similarity"].items()},
        "sampling (F1 on pseudo-labels)": lambda target: {
            n: 100 * v for n, v in view.target(target)["sampling"].items()
        },
    }
    with canvas(0.29 * len(view.targets) + 1.1, len(panels), sharey=True) as (figure, axes):
        for axis, (title, scores) in zip(axes, panels.items(), strict=True):
            for i, target in enumerate(view.targets):
                found = scores(target)
                order = sorted(found, key=lambda name: -found[name])
                for j, name in enumerate(name for name in names if name in found):
                    _cell(axis, i, j, found[name], order.index(name), view.k, len(order))
            axis.set(title=title, xlim=(-0.5, len(names) - 0.5), ylim=(len(view.targets) - 0.5, -0.5))
            axis.set_xticks(range(len(names)), names, fontsize=7.5, rotation=35, ha="left", rotation_mode="anchor")
            axis.xaxis.tick_top()
        axes[0].set_yticks(range(len(view.targets)), [pretty(name) for name in view.targets])
        drawn = svg(figure)
    return Plot(
        "experts",
        "What the experts know, and what the strategies believe",
        f"Colour is the rank within the row; the {min(view.k, len(names))} darkest cells are what a strategy picks, "
        "and in the first panel what the test labels would have picked. Were the strategies right, the panels would "
        "look alike." + (f" The {_MOST} best of {len(view.singles)} experts." if len(view.singles) > _MOST else ""),
        "Heat map of the experts' F1, similarity and sampling score on every target",
        drawn,
    )


def _cell(axes: Axes, row: int, column: int, value: float, place: int, k: int, count: int) -> None:
    """The first k in the dark half of the scale, the others in the light one."""
    depth = 1 - 0.5 * place / max(k, 1) if place < k else 0.49 * (1 - (place - k) / max(count - k - 1, 1))
    step = min(int(depth * len(RAMP)), len(RAMP) - 1)
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fc=RAMP[step], ec="white", lw=1.2))
    colour = "white" if step >= len(RAMP) - 2 else INK
    axes.text(column, row, f"{value:.1f}", ha="center", va="center", fontsize=7, color=colour, in_layout=False)


def _two_lines(name: str) -> str:
    """A name broken at the blank nearest to its middle."""
    breaks = [i for i, c in enumerate(name) if c == " "]
    at = min(breaks, key=lambda i: abs(2 * i - len(name)), default=len(name))
    return f"{name[:at]}\n{name[at + 1 :]}"
