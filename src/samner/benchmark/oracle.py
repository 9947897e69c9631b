"""The ceiling: which experts would have been best, told by the labels of the first test texts."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from samner.benchmark.config import Arm
from samner.benchmark.models import Model
from samner.benchmark.plans import Planner, size
from samner.benchmark.reader import Reader
from samner.errors import SamnerError
from samner.evaluation.target import TargetTexts
from samner.scoring import Counts, span_counts

MODES = ("oracle", "oracle-single")


@dataclass
class Oracle:
    """Searches every subset of experts that an arm allows, by strict F1 on the first test texts of each target.

    Args:
        planner: Knows the experts.
        arms: All arms; those of other modes are passed over.
        texts: How many test texts to search on.
        seed: For a merge method that is random.
    """

    planner: Planner
    arms: Sequence[Arm]
    texts: int
    seed: int
    found: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    """For an arm and a target, F1 on the first texts of every subset, named like ``legal+news``."""

    def __post_init__(self) -> None:
        self.arms = [arm for arm in self.arms if arm.mode in MODES]
        for arm in self.arms:
            if not 1 <= size(arm) <= len(self.planner.experts):
                raise SamnerError(f"the arm {arm.name!r} asks for {size(arm)} of {len(self.planner.experts)} experts")

    def demands(self, targets: Mapping[str, TargetTexts]) -> dict[tuple[Model, str], int]:
        """What has to be read before ``best`` can tell."""
        return {
            (model, name): min(self.texts, len(target.test))
            for arm in self.arms
            for _, model in self._subsets(arm)
            for name, target in targets.items()
        }

    def best(self, targets: Mapping[str, TargetTexts], reader: Reader) -> dict[tuple[str, str, int], tuple[str, ...]]:
        """The best experts for each arm, target and number of them; of equal ones the first in alphabetical order."""
        chosen = {}
        for arm, (name, target) in itertools.product(self.arms, targets.items()):
            scores = {subset: self._f1(model, target, reader) for subset, model in self._subsets(arm)}
            chosen[arm.name, name, size(arm)] = max(scores, key=scores.__getitem__)
            found = {"+".join(subset): round(value, 4) for subset, value in scores.items()}
            self.found.setdefault(arm.name, {})[name] = found
        return chosen

    def _subsets(self, arm: Arm) -> Iterator[tuple[tuple[str, ...], Model]]:
        for subset in itertools.combinations(self.planner.experts, size(arm)):
            if arm.mode == "oracle-single":
                yield subset, self.planner.single("expert", subset[0], arm)
            else:
                yield subset, self.planner.merged(arm, dict.fromkeys(subset, 1.0), self.seed)

    def _f1(self, model: Model, target: TargetTexts, reader: Reader) -> float:
        texts = min(self.texts, len(target.test))
        gold = target.scored[:texts]
        return sum(span_counts(gold, reader.answers(model, target.name, texts).entities), Counts()).f1
