"""From an arm and a target to the models that read it and the rule that joins their answers.

Beside the modes of ``samner.adapt``:

- ``base``, ``expert`` and ``baseline`` (with a ``name``): one model as it is, a baseline times ``lam`` if given.
  ``experts``: each expert, as an arm of its own.
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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from time import perf_counter

import numpy as np

from samner.adaptation import merge_parameters, recipes, select
from samner.benchmark.answers import Model, Reader, TargetTexts
from samner.benchmark.config import Arm, Benchmark
from samner.cache import digest
from samner.errors import SamnerError
from samner.merging.registry import methods
from samner.pool import ExpertPool
from samner.scoring import span_counts, total
from samner.selection import SIGNALS, Selection
from samner.task_model import STRATEGIES, modes

ORACLES = ("oracle", "oracle-single")
"""Modes that look at the test labels."""

Weights = Mapping[str, float]


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


@dataclass(frozen=True, slots=True)
class Selected:
    """What both strategies decide for a target, and the seconds that took."""

    strategies: Mapping[str, Selection]
    seconds: float


class Planner:
    """Decides which experts every arm takes, from the unlabelled texts alone; the oracle excepted.

    Args:
        benchmark: What to measure.
        pool: The experts and their base.
        reader: Has what models answered, for the oracle, and keeps what was selected.
    """

    def __init__(self, benchmark: Benchmark, pool: ExpertPool, reader: Reader) -> None:
        self._settings = benchmark.settings
        self._pool = pool
        self._reader = reader
        self._selected: dict[str, Selected] = {}
        self._best: dict[tuple[str, str], Sequence[str]] = {}
        self.experts = tuple(pool.experts)
        """Names of all experts."""
        self.subsets: dict[str, dict[str, dict[str, float]]] = {}
        """For an oracle and a target, F1 on the first texts of every subset, named like ``legal+news``."""

    def plan(self, arm: Arm, target: TargetTexts, seed: int) -> Plan:
        """The plan of one run; for an oracle, ``search`` must have been before.

        Raises:
            SamnerError: If an argument is out of range or the target's unlabelled texts are all blank.
        """
        models, experts, votes = self._decide(arm, target, seed)
        return Plan(seed, min(arm.texts or len(target.test), len(target.test)), models, experts, votes)

    def _decide(
        self, arm: Arm, target: TargetTexts, seed: int
    ) -> tuple[Mapping[str, Model], Mapping[str, Weights], int]:
        mode = arm.mode
        if mode in ("base", "baseline"):
            name = arm.options.get("name", mode)
            return {name: self._single(mode, arm)}, {name: {}}, 1
        if mode in ("expert", "oracle-single"):
            name = arm.options["name"] if mode == "expert" else self._best[arm.name, target.name][0]
            return {name: self._single("expert", arm, name)}, {name: {name: 1.0}}, 1
        if mode in ("all", "random", "oracle"):
            chosen: Sequence[str] = self.experts
            if mode != "all":
                chosen = self._draw(arm, target, seed) if mode == "random" else self._best[arm.name, target.name]
            return self._merges(arm, {mode: dict.fromkeys(sorted(chosen), 1.0)}, seed)
        selections = self.selected(arm, target, seed).strategies
        if mode in modes():
            needed = {mode: selections[mode]} if mode in SIGNALS else selections
            return self._merges(arm, recipes(needed, mode), seed, len(STRATEGIES) if mode == "intersection" else 1)
        picks = [set(selections[name].chosen) for name in STRATEGIES]
        every, common = sorted(set.union(*picks)), sorted(set.intersection(*picks))
        if mode.startswith("ensemble"):
            models = {name: self._single("expert", arm, name) for name in every}
            votes = len(every) // 2 + 1 if mode == "ensemble-majority" else 1
            return models, {name: {name: 1.0} for name in every}, votes
        if mode == "economy-average":
            models, weights, _ = self._merges(arm, recipes(selections, "union"), seed)
            return {mode: Model("mean", self._threshold(arm), of=tuple(models.values()))}, weights, 1
        chosen = common if mode == "economy-common" and common else every
        return self._merges(arm, {mode: dict.fromkeys(chosen, 1.0)}, seed)

    def selected(self, arm: Arm, target: TargetTexts, seed: int) -> Selected:
        """What both strategies decide, shared by arms that need only one; or another signal, if that is asked."""
        options = {key: arm.options[key] for key in ("samples", "exclude") if key in arm.options}
        count = arm.options.get("experts", self._settings.experts)
        mode = arm.mode if arm.mode in SIGNALS and arm.mode not in STRATEGIES else "union"
        chosen = {"mode": mode, "count": count, "samples": self._settings.samples, "seed": seed, **options}
        key = [chosen, list(target.unlabelled), [t.prompt for t in target.types]]
        memo = digest(key)
        if memo not in self._selected:
            kept = self._reader.kept("selections", key)
            if kept is None:
                begun = perf_counter()
                made = select(self._pool, target.unlabelled, target.types, **chosen)
                kept = {"seconds": perf_counter() - begun, **{name: one.to_dict() for name, one in made.items()}}
                self._reader.keep("selections", key, kept)
            found = {name: Selection.from_dict(one) for name, one in kept.items() if name != "seconds"}
            self._selected[memo] = Selected(found, kept["seconds"])
        return self._selected[memo]

    def to_search(self, arms: Sequence[Arm], targets: Mapping[str, TargetTexts]) -> dict[tuple[Model, str], int]:
        """What has to be read before ``search``.

        Raises:
            SamnerError: If an oracle is asked for more experts than there are.
        """
        for arm in (arm for arm in arms if arm.mode in ORACLES):
            if not 1 <= _size(arm) <= len(self.experts):
                raise SamnerError(f"the arm {arm.name!r} asks for {_size(arm)} of {len(self.experts)} experts")
        return {
            (model, name): min(self._settings.oracle.texts, len(target.test))
            for arm in arms
            for _, model in self._subsets(arm)
            for name, target in targets.items()
        }

    def search(self, arms: Sequence[Arm], targets: Mapping[str, TargetTexts]) -> None:
        """Find the best experts for each oracle and target: strict F1 on the first test texts decides."""
        for arm in (arm for arm in arms if arm.mode in ORACLES):
            self.subsets[arm.name] = {}
            for name, target in targets.items():
                gold = target.scored[: self._settings.oracle.texts]
                f1: dict[Sequence[str], float] = {}
                for subset, model in self._subsets(arm):
                    found = self._reader.answers(model, name, len(gold)).entities
                    f1[subset] = total(span_counts(gold, found)).f1
                self._best[arm.name, name] = max(f1, key=f1.__getitem__)
                self.subsets[arm.name][name] = {"+".join(s): round(value, 4) for s, value in f1.items()}

    def _subsets(self, arm: Arm) -> Iterator[tuple[tuple[str, ...], Model]]:
        for subset in combinations(self.experts, _size(arm)) if arm.mode in ORACLES else ():
            if arm.mode == "oracle-single":
                yield subset, self._single("expert", arm, subset[0])
            else:
                yield subset, self._merge(arm, dict.fromkeys(subset, 1.0), self._settings.seed)

    def _single(self, kind: str, arm: Arm, name: str | None = None) -> Model:
        """A model as it is, or a baseline scaled."""
        name = name or arm.options.get("name")
        experts = ((name, 1.0),) if name else ()
        if "lam" in arm.options:
            return Model(kind, self._threshold(arm), experts, "linear", (("lam", arm.options["lam"]),))
        return Model(kind, self._threshold(arm), experts)

    def _merge(self, arm: Arm, weights: Weights, seed: int) -> Model:
        """A merge by the arm's method. Weights are relative: with the least as 1, equal merges are equal models."""
        method, given = self._settings.merging(arm.options, seed)
        parameters = methods()[method] | merge_parameters(self._pool, method, given)
        least = min(weights.values(), default=1.0)
        experts = tuple((name, weight / least) for name, weight in sorted(weights.items()))
        return Model("merge", self._threshold(arm), experts, method, tuple(sorted(parameters.items())))

    def _merges(
        self, arm: Arm, weights: Mapping[str, Weights], seed: int, votes: int = 1
    ) -> tuple[dict[str, Model], Mapping[str, Weights], int]:
        return {name: self._merge(arm, one, seed) for name, one in weights.items()}, weights, votes

    def _threshold(self, arm: Arm) -> float:
        return float(arm.options.get("threshold", self._pool.backbone.threshold))

    def _draw(self, arm: Arm, target: TargetTexts, seed: int) -> list[str]:
        # another draw for each target, the same whatever other targets there are
        rng = np.random.default_rng([seed, int(digest(target.name)[:8], 16)])
        count = min(int(arm.options.get("experts", self._settings.experts)), len(self.experts))
        return [self.experts[i] for i in rng.choice(len(self.experts), size=count, replace=False)]


def expanded(arms: Sequence[Arm], experts: Sequence[str]) -> list[Arm]:
    """The arms, in the place of ``experts`` one for each of them, which bears its name.

    Raises:
        SamnerError: If two arms have one name now.
    """
    every = []
    for arm in arms:
        each = [
            replace(arm, name=name, title=name, mode="expert", options={**arm.options, "name": name})
            for name in (experts if arm.mode == "experts" else ())
        ]
        every += each if arm.mode == "experts" else [arm]
    names = [arm.name for arm in every]
    if twice := [name for name in names if names.count(name) > 1]:
        raise SamnerError(f"an expert is named {twice[0]!r} as another arm is")
    return every


def _size(arm: Arm) -> int:
    return 1 if arm.mode == "oracle-single" else int(arm.options.get("experts", 1))
