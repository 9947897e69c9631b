"""From a few labelled texts: scores that say how often an entity is right, and from which of them one counts.

A model's scores rank its entities well and say little of how often they are right. Here a curve from score to the
share of entities that are right is fitted to the entities that it finds in labelled texts: Platt's (a logistic
regression on the score's log-odds) or isotonic regression, both of scikit-learn. The threshold is the calibrated score
above which F1 is best on these texts. What that gains is measured by cross-validation: on texts that the curve was not
fitted to.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from samner import arguments
from samner.data.validation import declines
from samner.entities import Entity, Example
from samner.errors import SamnerError
from samner.recogniser import combine
from samner.scoring import best_threshold, micro_f1
from samner.task_model import TaskModel
from samner.thresholds import Calibration, Curve, counting

METHODS = ("platt", "isotonic")
LEAST = 10
"""Right entities, and wrong ones, that a curve or a threshold of its own needs."""

_BINS = 10
_POINTS = 65

Floats = npt.NDArray[np.float64]
Candidates = Mapping[str, Sequence[Entity]]


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far scores are from the share of entities that are right.

    Args:
        brier: Mean squared difference of score and rightness (0 or 1).
        error: Expected calibration error: mean difference of a bin's score and share, by ten bins of equal width.
        bins: Of each bin with entities: their mean score, the share that is right, and how many they are.
    """

    brier: float
    error: float
    bins: tuple[tuple[float, float, int], ...]

    @classmethod
    def of(cls, scores: Floats, right: Floats) -> Reliability:
        """Of entities with their scores, and whether each is right."""
        place = np.minimum((scores * _BINS).astype(int), _BINS - 1)
        groups = [(scores[place == i], right[place == i]) for i in range(_BINS) if (place == i).any()]
        bins = tuple((float(s.mean()), float(r.mean()), len(s)) for s, r in groups)
        error = sum(abs(score - share) * count for score, share, count in bins) / max(len(scores), 1)
        return cls(float(np.mean((scores - right) ** 2)), error, bins)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibrated model, and what that changes on texts that it was not calibrated on.

    Args:
        model: The model, with calibration and thresholds.
        before: Reliability of the model's own scores, by cross-validation as ``after``.
        after: Reliability of the calibrated scores.
        f1_before: Strict micro-F1 with the model's own threshold.
        f1_after: Strict micro-F1 with the thresholds found.
        texts: How many labelled texts there were.
        entities: How many candidates the curves were fitted to.
    """

    model: TaskModel
    before: Reliability
    after: Reliability
    f1_before: float
    f1_after: float
    texts: int
    entities: int

    def figures(self) -> dict[str, Any]:
        """All but the model, as plain JSON values."""
        values = {name: getattr(self, name) for name in ("f1_before", "f1_after", "texts", "entities")}
        return {"before": asdict(self.before), "after": asdict(self.after), **values}


def calibrate(
    model: TaskModel,
    examples: Iterable[Example],
    *,
    method: str = "platt",
    floor: float | None = None,
    folds: int = 5,
    seed: int = 0,
    on_done: Callable[[int], None] | None = None,
) -> Calibrated:
    """Fit curves and thresholds to labelled texts.

    Args:
        model: The model; what it was calibrated by before does not matter, and it stays as it is.
        examples: Texts with the true entities of the model's labels; those that decline their labels are left out.
        method: ``"platt"`` for some dozens of texts, ``"isotonic"`` for a thousand entities or more.
        floor: The model's own score from which an entity is a candidate: none below can count afterwards. A quarter
            of the base model's threshold by default.
        folds: Of the cross-validation.
        seed: Of the folds.
        on_done: Called with the number of texts just read.

    Raises:
        SamnerError: If scikit-learn is missing, an argument is not valid, there are fewer texts than folds, or too few
            right and wrong entities to fit anything to.
    """
    if method not in METHODS:
        raise SamnerError(f"method must be {' or '.join(METHODS)}, not {method!r}")
    try:
        import sklearn  # noqa: F401 - is it there?
    except ImportError as error:
        raise SamnerError("calibrating needs scikit-learn: pip install 'samner[calibrate]'") from error
    folds, seed = arguments.whole(folds, "folds", 2), arguments.whole(seed, "seed", 0)
    lowest = model.backbone.threshold / 4 if floor is None else arguments.probability(floor, "floor")
    names = [t.name for t in model.types]
    labelled = [example for example in examples if not declines(example.meta)]
    gold = [[e for e in example.entities if e.label in names] for example in labelled]
    if not any(gold):
        there = ", ".join(sorted({label for example in labelled for label in example.labels()})) or "none"
        raise SamnerError(f"no text has an entity of the model's labels ({', '.join(names)}); there are: {there}")
    if len(labelled) < folds:
        raise SamnerError(
            f"calibrating by {folds} folds needs at least {folds} labelled texts, and there are {len(labelled)}"
        )

    bare = replace(model, calibration=None)
    texts = [example.text for example in labelled]
    found, votes = bare.candidates(texts, model.types, dict.fromkeys(names, lowest), on_done=on_done)
    data = _Data(found, gold, votes, names, lowest, method)

    order = list(range(len(texts)))
    random.Random(seed).shuffle(order)
    parts = [order[i::folds] for i in range(folds)]
    raw, shown, correct = [], [], []
    own = {name: model.thresholds.get(name, model.threshold) for name in names}
    before: list[list[Entity]] = [[] for _ in texts]
    after: list[list[Entity]] = [[] for _ in texts]
    for part in parts:
        calibration, (threshold, thresholds) = data.fit([i for i in order if i not in set(part)])
        limits = {name: thresholds.get(name, threshold) for name in names}
        for i in part:
            for entity in data.answers[i]:
                raw.append(entity.score)
                shown.append(calibration.of(entity.label)(entity.score))
                correct.append(float(entity.key in data.keys[i]))
            before[i] = data.answer(i, own, model.calibration)
            after[i] = data.answer(i, limits, calibration)
    calibration, (threshold, thresholds) = data.fit(order)
    right = np.array(correct)
    report = Calibrated(
        model,
        Reliability.of(np.array(raw), right),
        Reliability.of(np.array(shown), right),
        micro_f1(gold, before, names),
        micro_f1(gold, after, names),
        len(texts),
        len(right),
    )
    record = {"method": method, "folds": folds, "seed": seed, **report.figures()}
    calibration = replace(calibration, record=record)
    return replace(report, model=replace(model, threshold=threshold, thresholds=thresholds, calibration=calibration))


class _Data:
    """What the models found in the labelled texts, and which of it is right."""

    def __init__(
        self,
        found: Sequence[Candidates],
        gold: Sequence[Sequence[Entity]],
        votes: int,
        names: Sequence[str],
        lowest: float,
        method: str,
    ) -> None:
        self.found = found
        self.keys = [{e.key for e in its} for its in gold]
        self.votes = votes
        self.names = names
        self.lowest = lowest
        self.curve = _isotonic if method == "isotonic" else _platt
        self.answers = [combine(its, votes) for its in found]

    def answer(self, place: int, limits: Mapping[str, float], calibration: Calibration | None) -> list[Entity]:
        """What would be found in a text."""
        found = {name: counting(its, limits, calibration) for name, its in self.found[place].items()}
        return combine(found, self.votes)

    def fit(self, places: Sequence[int]) -> tuple[Calibration, tuple[float, dict[str, float]]]:
        """Curves, and thresholds for all and for some labels, from some of the texts."""
        pairs = [(e.label, e.score, e.key in self.keys[i]) for i in places for e in self.answers[i]]

        def of(label: str | None) -> tuple[Floats, npt.NDArray[np.bool_]]:
            its = [(score, right) for name, score, right in pairs if label in (None, name)]
            return np.array([score for score, _ in its]), np.array([right for _, right in its], dtype=bool)

        scores, right = of(None)
        if min(right.sum(), (~right).sum()) < LEAST or (common := self.curve(scores, right, self.lowest)) is None:
            raise SamnerError(
                f"too little to calibrate on: {int(right.sum())} right and {int((~right).sum())} wrong entities were "
                f"found in {len(places)} of the texts; {LEAST} of each are needed, and right ones must score higher"
            )
        curves = {}
        for name in self.names:
            its, correct = of(name)
            if min(correct.sum(), (~correct).sum()) >= LEAST and (curve := self.curve(its, correct, self.lowest)):
                curves[name] = curve
        calibration = Calibration(common, curves)
        shown = [(label, calibration.of(label)(score), right) for label, score, right in pairs]
        gold = {name: sum(key[2] == name for i in places for key in self.keys[i]) for name in self.names}
        threshold = best_threshold([(score, right) for _, score, right in shown], sum(gold.values()))
        own = {
            name: best_threshold([(score, right) for label, score, right in shown if label == name], gold[name])
            for name in curves
            if gold[name] >= LEAST
        }
        return calibration, (threshold, own)


def _platt(scores: Floats, right: npt.NDArray[np.bool_], lowest: float) -> Curve | None:
    """Logistic regression of rightness on the score's log-odds; none if it falls."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression().fit(_log_odds(scores)[:, None], right)
    if fitted.coef_[0, 0] <= 0:
        return None
    odds = np.linspace(_log_odds(np.array([lowest]))[0], _log_odds(np.array([1.0]))[0], _POINTS)
    points = 1 / (1 + np.exp(-odds))
    return _curve(points, fitted.predict_proba(odds[:, None])[:, 1])


def _isotonic(scores: Floats, right: npt.NDArray[np.bool_], lowest: float) -> Curve | None:
    """The best curve that does not fall; none if it is level."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, right)
    points = np.unique([lowest, *fitted.X_thresholds_, 1.0])
    values = fitted.predict(points)
    return _curve(points, values) if values[0] < values[-1] else None


def _curve(points: Floats, values: Floats) -> Curve:
    return Curve(tuple(map(float, points)), tuple(map(float, np.maximum.accumulate(values))))


def _log_odds(scores: Floats) -> Floats:
    clipped = np.clip(scores, 1e-4, 1 - 1e-4)
    return np.log(clipped / (1 - clipped))
