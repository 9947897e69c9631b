"""The plots that verbs draw."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from samner.figures import BLUE, GREEN, GREY, MUTED, ORANGE, canvas, save

if TYPE_CHECKING:
    from samner.calibration import Calibrated
    from samner.selection import Selection

_MOST = 30
"""Experts that a plot shows; of a larger pool the first of any ranking."""


def reliability(found: Calibrated, path: Path) -> None:
    """Draw the share of right entities by score, before and after: on the diagonal, a score means what it says."""
    kinds = {"the model's own scores": (found.before, GREY), "calibrated": (found.after, GREEN)}
    with canvas(3.6, 2, width=7.6, sharey=True) as (figure, axes):
        for (title, (its, colour)), ax in zip(kinds.items(), axes, strict=True):
            scores, shares, counts = zip(*its.bins, strict=True)
            most = max(counts)
            ax.plot([0, 1], [0, 1], color=MUTED, lw=0.8, ls=(0, (3, 2)))
            ax.plot(scores, shares, color=colour, lw=1.2)
            ax.scatter(scores, shares, [20 + 180 * count / most for count in counts], color=colour, alpha=0.75, lw=0)
            ax.set_title(f"{title}: calibration error {its.error:.3f}")
            ax.set_xlabel("score")
            ax.set(xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
            ax.grid(True)
        axes[0].set_ylabel("share of entities that are right")
        save(figure, path)


def selection(selections: Mapping[str, Selection], path: Path) -> None:
    """Draw the scores by which experts were selected, those that were chosen in full colour."""
    measures = {"similarity": ("cosine of texts", BLUE), "sampling": ("F1 against what experts agree on", ORANGE)}
    drawn = {name: its for name, its in selections.items() if name in measures}
    names = sorted(
        {expert for its in drawn.values() for expert in its.ranking[:_MOST]},
        key=lambda expert: min(its.ranking.index(expert) for its in drawn.values() if expert in its.ranking),
    )[::-1]
    with canvas(0.27 * len(names) + 1.1, len(drawn), width=7.6, sharey=True) as (figure, axes):
        for (name, its), ax in zip(drawn.items(), axes, strict=True):
            title, colour = measures[name]
            scores = its.cosine if name == "similarity" else its.f1
            values = [scores.get(expert, 0.0) for expert in names]
            alphas = [1.0 if expert in its.chosen else 0.35 for expert in names]
            for place, (value, alpha) in enumerate(zip(values, alphas, strict=True)):
                ax.barh(place, value, 0.72, color=colour, alpha=alpha, lw=0)
                ax.text(max(value, 0), place, f" {value:.2f}", va="center", color=MUTED, fontsize=7.5)
            ax.set_yticks(range(len(names)), names)
            ax.set_title(f"{name}: {title}")
            ax.margins(x=0.12)
            ax.grid(True, axis="x")
        figure.supxlabel("full colour: chosen", x=0.01, ha="left", fontsize=7.5, color=MUTED)
        save(figure, path)
