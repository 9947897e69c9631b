"""From an arm and a target to the models that read it and the rule that joins their answers.

Beside the modes of ``samner.adapt``:

- ``base``, ``expert`` and ``baseline`` (with a ``name``): one model as it is, a baseline times ``lam`` if given.
- ``all``: one merge of every expert. ``random``: one merge of experts drawn for each target and seed.
- ``economy-unweighted``: one merge of every expert that either strategy picked, each counting the same.
  ``economy-common``: of those that both picked; of all picks if there are none.
  ``economy-average``: the mean of the two task models' weights.
- ``ensemble-union`` and ``ensemble-majority``: the experts that either strategy picked, each by itself; an entity
  counts if any, or more than half of them, found it.
- ``oracle``: one merge of that subset of experts, of the size asked for, that scores best on the first test texts.
  ``oracle-single``: the one expert that does, as it is. Not a method but a ceiling: they look at the labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from samner.adaptation import merge_parameters, recipes, select
from samner.benchmark.config import SELECTING, WEIGHING, Arm, Benchmark, merging
from samner.benchmark.encoders import ENCODERS, DomainEncoders
from samner.benchmark.models import Model, merged
from samner.cache import Store, digest
from samner.evaluation.target import TargetTexts
from samner.pool import ExpertPool
from samner.selection import Selection
from samner.task_model import MODES, STRATEGIES

Weights = Mapping[str, float]

BestSubsets = Mapping[tuple[str, str, int], Sequence[str]]
"""What the oracle found: for an arm, a target and a number of experts, the best ones."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one run of an arm reads one target.

    Args:
        seed: Of what was drawn.
        texts: How many test texts are read, from the first.
        models: By the name that ``found_by`` gives them.
        experts: For each of them the experts in it and their weights.
        votes: How many models have to find an entity.
    """

    seed: int
    texts: int
    models: Mapping[str, Model]
    experts: Mapping[str, Weights]
    votes: int = 1


_Decision: TypeAlias = tuple[Mapping[str, Model], Mapping[str, Weights], int]


class Planner:
    """Decides which experts every arm takes, from the unlabelled texts alone; the oracle excepted.

    Args:
        benchmark: What to measure.
        pool: The experts and their base.
        state: What of the pool decides a selection, as JSON values.
        store: Where selections are kept.

    Raises:
        SamnerError: If an arm needs texts of an expert's domain, and the configuration names no files of them.
    """

    def __init__(self, benchmark: Benchmark, pool: ExpertPool, state: Any, store: Store) -> None:
        self._benchmark = benchmark
        self._pool = pool
        self._state = state
        self._store = store
        others = any(arm.options.get("encoder", ENCODERS[0]) != ENCODERS[0] for arm in benchmark.arms)
        self._encoders = DomainEncoders(pool, benchmark.domains, store) if others else None
        self._selections: dict[str, dict[str, Selection]] = {}
        self.experts = tuple(pool.experts)
        """Names of all experts."""

    def plan(self, arm: Arm, target: TargetTexts, seed: int, best: BestSubsets) -> Plan:
        """The plan of one run.

        Raises:
            SamnerError: If an argument is out of range or the target's unlabelled texts are all blank.
        """
        models, experts, votes = self._decide(arm, target, seed, best)
        return Plan(seed, min(arm.texts or len(target.test), len(target.test)), models, experts, votes)

    def _decide(self, arm: Arm, target: TargetTexts, seed: int, best: BestSubsets) -> _Decision:
        if arm.mode in ("base", "expert", "baseline"):
            return self._single(arm.mode, arm.options.get("name"), arm)
        if arm.mode == "oracle-single":
            return self._single("expert", best[arm.name, target.name, 1][0], arm)
        if arm.mode == "all":
            return self._merge(arm, {"all": dict.fromkeys(self.experts, 1.0)}, seed)
        if arm.mode in ("random", "oracle"):
            chosen = self._draw(arm, target, seed) if arm.mode == "random" else best[arm.name, target.name, size(arm)]
            return self._merge(arm, {arm.mode: dict.fromkeys(sorted(chosen), 1.0)}, seed)
        return self._adapted(arm, target, seed)

    def selections(self, arm: Arm, target: TargetTexts, seed: int) -> dict[str, Selection]:
        """What both strategies decide: arms that need only one share it with those that need both."""
        chosen: dict[str, Any] = {"experts": self._benchmark.experts, "samples": self._benchmark.samples}
        chosen |= {key: value for key, value in arm.options.items() if key in SELECTING}
        key = [self._state, chosen, seed, list(target.unlabelled), [t.prompt for t in target.types]]
        memo = digest(key)
        if memo not in self._selections:
            kept = self._store.get("selections", key)
            if kept is None:
                rest = {name: value for name, value in chosen.items() if name != "experts"}
                made = select(self._pool, target.unlabelled, target.types, count=chosen["experts"], seed=seed, **rest)
                kept = {name: selection.to_dict() for name, selection in made.items()}
                self._store.put("selections", key, kept)
            self._selections[memo] = {name: Selection.from_dict(values) for name, values in kept.items()}
        found = dict(self._selections[memo])
        encoder = arm.options.get("encoder", ENCODERS[0])
        if encoder != ENCODERS[0] and self._encoders:
            cosine = self._encoders.cosines(encoder, target.unlabelled)
            ranking = tuple(sorted(cosine, key=lambda name: (-cosine[name], name)))
            known = found["similarity"]
            best = ranking[: len(known.chosen)]
            found["similarity"] = replace(known, chosen=best, ranking=ranking, cosine=cosine)
        return found

    def merged(self, arm: Arm, weights: Weights, seed: int) -> Model:
        """A merge by the arm's method."""
        method, given = merging(self._benchmark, arm.options, seed)
        return merged(weights, method, merge_parameters(self._pool, method, given), self.threshold(arm))

    def single(self, kind: str, name: str | None, arm: Arm) -> Model:
        """A model as it is, or a baseline scaled."""
        experts = () if name is None else ((name, 1.0),)
        if "lam" in arm.options and kind == "baseline":
            return Model(kind, self.threshold(arm), experts, "linear", (("lam", arm.options["lam"]),))
        return Model(kind, self.threshold(arm), experts)

    def threshold(self, arm: Arm) -> float:
        """The score from which an entity counts."""
        return float(arm.options.get("threshold", self._pool.backbone.threshold))

    def _single(self, kind: str, name: str | None, arm: Arm) -> _Decision:
        known = name or kind
        experts = {name: 1.0} if kind == "expert" and name else {}
        return {known: self.single(kind, name, arm)}, {known: experts}, 1

    def _merge(self, arm: Arm, weights: Mapping[str, Weights], seed: int, votes: int = 1) -> _Decision:
        return {name: self.merged(arm, one, seed) for name, one in weights.items()}, weights, votes

    def _draw(self, arm: Arm, target: TargetTexts, seed: int) -> list[str]:
        # another draw for each target, the same whatever other targets there are
        rng = np.random.default_rng([seed, int(digest(target.name)[:8], 16)])
        count = min(int(arm.options.get("experts", self._benchmark.experts)), len(self.experts))
        return [self.experts[i] for i in rng.choice(len(self.experts), size=count, replace=False)]

    def _adapted(self, arm: Arm, target: TargetTexts, seed: int) -> _Decision:
        selections = self.selections(arm, target, seed)
        weighing = {key: value for key, value in arm.options.items() if key in WEIGHING}
        if arm.mode in MODES:
            if arm.mode in STRATEGIES:
                selections = {arm.mode: selections[arm.mode]}
            weights = recipes(selections, arm.mode, **weighing)
            return self._merge(arm, weights, seed, len(STRATEGIES) if arm.mode == "intersection" else 1)
        picks = [set(selections[name].chosen) for name in STRATEGIES]
        every = sorted(set.union(*picks))
        if arm.mode.startswith("ensemble"):
            votes = len(every) // 2 + 1 if arm.mode == "ensemble-majority" else 1
            models = {name: self.single("expert", name, arm) for name in every}
            return models, {name: {name: 1.0} for name in every}, votes
        if arm.mode == "economy-average":
            parts = recipes(selections, "union", **weighing)
            of = tuple(self.merged(arm, one, seed) for one in parts.values())
            return {arm.mode: Model("mean", self.threshold(arm), of=of)}, parts, 1
        common = sorted(set.intersection(*picks))
        chosen = common if arm.mode == "economy-common" and common else every
        return self._merge(arm, {arm.mode: dict.fromkeys(chosen, 1.0)}, seed)


def size(arm: Arm) -> int:
    """How many experts an oracle may take."""
    return 1 if arm.mode == "oracle-single" else int(arm.options.get("experts", 1))
