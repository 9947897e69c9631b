"""From which score an entity counts, by label, and what a calibration makes of a model's scores.

There is one score: what a threshold is compared with is what is shown. Where a model is calibrated, both are the
calibrated score.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from samner import arguments
from samner.display import known_names
from samner.entities import Entity, EntityType
from samner.errors import SamnerError

ThresholdLike: TypeAlias = "float | Mapping[str, float]"
"""What callers may pass as a threshold: one for all labels, or a mapping from label to threshold."""


def by_label(
    given: ThresholdLike | None, types: Sequence[EntityType], default: float, own: Mapping[str, float]
) -> dict[str, float]:
    """The threshold of each label.

    Args:
        given: One number for all, or a mapping that names some of the labels.
        types: The labels.
        default: Where none is given.
        own: By label, where none is given.

    Raises:
        SamnerError: If a number does not lie between 0 and 1, or a label is none of those.
    """
    limits = {t.name: own.get(t.name, default) for t in types}
    if given is None:
        return limits
    if not isinstance(given, Mapping):
        return dict.fromkeys(limits, arguments.probability(given, "threshold"))
    if unknown := [name for name in given if name not in limits]:
        there = known_names(unknown[0], limits)
        raise SamnerError(f"threshold names the label {unknown[0]!r}; the labels are {there}")
    return limits | {name: arguments.probability(value, f"threshold of {name!r}") for name, value in given.items()}


@dataclass(frozen=True, slots=True)
class Curve:
    """How often entities of a score are right: straight lines between points, never falling.

    Args:
        scores: The model's scores, rising. Below the first nothing is known.
        shares: The share of entities of each score that are right.
    """

    scores: tuple[float, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        numbers = [arguments.share(value, "a calibration's number") for value in (*self.scores, *self.shares)]
        scores, shares = numbers[: len(self.scores)], numbers[len(self.scores) :]
        if len(scores) != len(shares) or len(scores) < 2 or shares != sorted(shares) or scores != sorted({*scores}):
            raise SamnerError("a calibration needs scores that rise, and as many shares that do not fall")

    def __call__(self, score: float) -> float:
        """The share that a score stands for."""
        place = bisect_right(self.scores, score)
        if not 0 < place < len(self.scores):
            return self.shares[max(place - 1, 0)]
        (x, right), (y, top) = self.scores[place - 1 : place + 1], self.shares[place - 1 : place + 1]
        return y + (top - y) * (score - x) / (right - x)

    def score_of(self, share: float) -> float | None:
        """The least score that stands for so high a share; none if no score does."""
        place = bisect_left(self.shares, share)
        if place == len(self.shares):
            return None
        if not place:
            return self.scores[0]
        (x, right), (y, top) = self.scores[place - 1 : place + 1], self.shares[place - 1 : place + 1]
        return x + (right - x) * (share - y) / (top - y)


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns a model's scores into the share of entities that are right.

    Args:
        curve: Of all labels together, for those that have none of their own.
        curves: By label.
        record: How it was made: method, number of texts, figures; JSON values.
    """

    curve: Curve
    curves: Mapping[str, Curve] = field(default_factory=dict)
    record: Mapping[str, Any] = field(default_factory=dict)

    def of(self, label: str) -> Curve:
        """The curve that holds for a label."""
        return self.curves.get(label, self.curve)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        curves = {"": self.curve, **self.curves}
        points = {name: [list(point) for point in zip(c.scores, c.shares, strict=True)] for name, c in curves.items()}
        return {"curve": points.pop(""), "curves": points, "record": dict(self.record)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """Read what ``to_dict`` wrote."""

        def curve(points: Iterable[tuple[float, float]]) -> Curve:
            scores, shares = zip(*points, strict=True)
            return Curve(scores, shares)

        curves = {str(label): curve(points) for label, points in values["curves"].items()}
        return cls(curve(values["curve"]), curves, dict(values["record"]))


def least_score(limits: Mapping[str, float], calibration: Calibration | None) -> float:
    """The score from which a model is to be asked for candidates, so that none is missing that counts."""
    if calibration is None:
        return min(limits.values())
    scores = [calibration.of(label).score_of(limit) for label, limit in limits.items()]
    # a little less, against rounding there and back; where no score is high enough, as little as can be is asked for
    return max(min((score for score in scores if score is not None), default=1.0) - 1e-6, 1e-6)


def counting(
    candidates: Iterable[Entity], limits: Mapping[str, float], calibration: Calibration | None
) -> list[Entity]:
    """The candidates that count, with the score that is shown.

    Args:
        candidates: With the scores of a model that was asked from ``least_score``.
        limits: Threshold by label.
        calibration: Of the model; none if its own scores are shown.
    """
    if calibration is None:  # models compare so many digits as they have
        asked = {label: _float32(limit) for label, limit in limits.items()}
        return [e for e in candidates if _float32(e.score) >= asked[e.label]]
    shown = (replace(e, score=calibration.of(e.label)(e.score)) for e in candidates)
    return [e for e in shown if e.score >= limits[e.label]]


def _float32(value: float) -> float:
    return array("f", [value])[0]
