"""The headline arms on every target, as bars."""

from __future__ import annotations

from samner.benchmark.report.blocks import Plot
from samner.benchmark.report.plots.style import COLOURS, INK, MUTED, drawing, new_figure, two_lines
from samner.benchmark.report.view import View, pretty, signed

_ARMS = ("base", "unified", "union", "economy")
_SHARE = 0.8  # of the room between two targets that bars take


def domain_bars(view: View) -> Plot | None:
    """Strict F1 by target with 95 % intervals, and the best that a choice of experts could have reached."""
    arms = view.named(*_ARMS)
    if not arms:
        return None
    columns = [(name, [name]) for name in view.targets] + [(f"mean {t}", names) for t, names in view.groups.items()]
    unified, sam = view.arms.get("unified"), view.sam
    ceilings = [*view.oracles().values(), *filter(None, [view.best_single()])]
    width = _SHARE / len(arms)
    with drawing():
        figure, (axes,) = new_figure(3.6)
        tops = [0.0] * len(columns)
        for j, arm in enumerate(arms):
            places = [i + (j - (len(arms) - 1) / 2) * width for i in range(len(columns))]
            heights = [arm.average(names) for _, names in columns]
            ends = [arm.average_interval(names) for _, names in columns]
            whiskers = [
                [max(h - low, 0) for h, (low, _) in zip(heights, ends, strict=True)],
                [max(high - h, 0) for h, (_, high) in zip(heights, ends, strict=True)],
            ]
            axes.bar(places, heights, width * 0.92, color=COLOURS[arm.name], label=arm.title)
            axes.errorbar(places, heights, whiskers, fmt="none", ecolor=MUTED, elinewidth=0.7)
            tops = [max(top, high) for top, (_, high) in zip(tops, ends, strict=True)]
        if ceilings:
            best = [max(arm.average(names) for arm in ceilings) for _, names in columns]
            reach = _SHARE / 2
            label = "best choice of experts, told by test labels"
            axes.hlines(best, [i - reach for i in range(len(columns))], [i + reach for i in range(len(columns))],
                        color=INK, lw=1.2, linestyles=(0, (2, 1.5)), label=label)  # fmt: skip
            tops = [max(pair) for pair in zip(tops, best, strict=True)]
        if unified and sam:
            for i, (_, names) in enumerate(columns):
                text = signed(sam.average(names) - unified.average(names))
                axes.annotate(text, (i, tops[i]), (0, 3), textcoords="offset points", ha="center", va="bottom",
                              color=COLOURS["union"], weight="bold")  # fmt: skip
        labels = [f"{two_lines(name)}\nn = {arms[0].runs[name][0]['texts']:,}" for name in view.targets]
        labels += [f"mean {title}\n{len(names)} targets" for title, names in view.groups.items()]
        axes.set_xticks(range(len(columns)), labels, fontsize=7.5)
        axes.axvline(len(view.targets) - 0.5, color=MUTED, lw=0.7, ls=":")
        axes.set_xlim(-0.55, len(columns) - 0.45)
        axes.set_ylim(0, max(tops) * 1.1 or 1)
        axes.set_ylabel("strict span F1 (%)")
        axes.yaxis.grid(True)
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside upper left", ncols=len(arms) + 1, handlelength=1.4, columnspacing=1.4)
    above = "The figure above a group is union minus unified, in points. " if unified and sam else ""
    return Plot(
        "domains",
        "Strict F1 on every target",
        f"{above}Whiskers: 95 % intervals by bootstrap over the n test texts; where they overlap, see the "
        "paired tests for whether a difference stands."
        + (" Dashed: the best of the oracle arms, a ceiling." if ceilings else ""),
        "Bars of strict F1: " + "; ".join(f"{a.name} {a.average(view.judged):.1f} on average" for a in arms)
        + f" over {pretty(view.headline)}.",
        figure,
    )  # fmt: skip
