"""Measure one target: adapt to it, let every arm read its test set once, score the answers, and time each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from time import perf_counter

from samner.adaptation import recipes, task_model
from samner.backbones import BASE
from samner.chunking import predict_long
from samner.embedding import embed_domain
from samner.entities import Entity
from samner.errors import SamnerError
from samner.evaluation.config import ARMS, Config
from samner.evaluation.target import TargetTexts
from samner.pool import ExpertPool
from samner.scoring import Report, score
from samner.selection import Selection, select_by_sampling, select_by_similarity
from samner.task_model import STRATEGIES, Merge, combine

Watch = Callable[[str, int], None]
"""Told the arm that reads and how many texts it just finished."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found on one target.

    Args:
        reports: Arm to its scores.
        selections: Strategy to what it decided and why.
        merges: Task model to the experts in it and their weights.
        seconds: Step (``selection``, ``merge``, ``predict``) to what was done to its seconds.
    """

    reports: Mapping[str, Report]
    selections: Mapping[str, Selection]
    merges: Mapping[str, Merge]
    seconds: Mapping[str, Mapping[str, float]]


class Bench:
    """A pool with everything loaded that the arms of an evaluation need.

    Args:
        pool: The pool.
        config: What to measure.

    Raises:
        PoolError: If the pool has no experts, or a part of it is missing, damaged or of another base.
        SamnerError: If two arms would have one name.
    """

    def __init__(self, pool: ExpertPool, config: Config) -> None:
        self.pool = pool
        self.config = config
        self.cards = pool.experts
        names = [*(arm for arm in ARMS if arm not in ("experts", "baselines")), *self.cards, *config.baselines]
        if twice := [name for name in names if names.count(name) > 1]:
            raise SamnerError(f"{config.path}: an expert or baseline is named {twice[0]!r} as another arm is")
        start = perf_counter()
        pool.load_experts(self.cards)
        self.baselines = {name: pool.load_baseline(name) for name in config.baselines}
        for reference in {card.embedding_model for card in self.cards.values()}:
            embed_domain(["warm up"], reference)  # so that no target pays for loading the sentence encoder
        self.load_seconds = perf_counter() - start

    def measure(self, target: TargetTexts, watch: Watch) -> Measured:
        """Run every arm on a target.

        Raises:
            SamnerError: If its unlabelled texts are all blank.
        """
        backbone = self.pool.backbone
        seconds: dict[str, dict[str, float]] = {"selection": {}, "merge": {}, "predict": {}}
        selections = self._select(target, seconds["selection"])
        merges = self._merge(selections, seconds["merge"])
        texts = [example.text for example in target.test]
        answers: dict[str, list[list[Entity]]] = {}
        reading: dict[str, float] = {}
        reports = {}
        try:
            for arm, finders in self._arms(merges).items():
                models = dict.fromkeys(finders.values())
                for model in models:
                    if model not in answers:
                        with _timed(reading, model):
                            found = predict_long(
                                backbone,
                                texts,
                                target.types,
                                [model],
                                backbone.threshold,
                                partial(watch, arm),
                            )
                        answers[model] = found[model]
                predicted = [combine({who: answers[m][i] for who, m in finders.items()}) for i in range(len(texts))]
                seconds["predict"][arm] = sum(reading[model] for model in models)
                reports[arm] = score(target.test, predicted, target.types, seed=self.config.seed)
        finally:
            for merge in merges.values():  # dense task vectors of every target would fill the memory
                backbone.remove(merge.model)
        return Measured(reports, selections, merges, seconds)

    def _select(self, target: TargetTexts, seconds: dict[str, float]) -> dict[str, Selection]:
        """What the strategies choose, as far as an arm needs them. Sampling needs the cosines for ties."""
        arms, config = set(self.config.arms), self.config
        selections: dict[str, Selection] = {}
        if arms & {"similarity", "sampling", "union", "economy"}:
            with _timed(seconds, "similarity"):
                selections["similarity"] = select_by_similarity(self.cards, target.unlabelled, config.experts)
        if arms & {"sampling", "union", "economy"}:
            with _timed(seconds, "sampling"):
                selections["sampling"] = select_by_sampling(
                    self.pool.backbone,
                    selections["similarity"].cosine,
                    target.unlabelled,
                    target.types,
                    count=config.experts,
                    samples=config.samples,
                    seed=config.seed,
                )
        return selections

    def _merge(self, selections: Mapping[str, Selection], seconds: dict[str, float]) -> dict[str, Merge]:
        """The task models that an arm needs."""
        arms = set(self.config.arms)
        needed = {name for name in STRATEGIES if arms & {name, "union"}} | (arms & {"economy"})
        weights = recipes(selections, "union") | recipes(selections, "economy")
        merges: dict[str, Merge] = {}
        for name in (name for name in weights if name in needed):
            with _timed(seconds, name):
                merges[name] = task_model(self.pool, weights[name], self.config.method, self.config.parameters)
        return merges

    def _arms(self, merges: Mapping[str, Merge]) -> dict[str, dict[str, str]]:
        """Each arm with the models whose answers it joins, by the names they go by in ``found_by``."""
        arms: dict[str, dict[str, str]] = {}
        for arm in (arm for arm in ARMS if arm in self.config.arms):
            if arm == "base":
                arms[arm] = {BASE: BASE}
            elif arm == "experts":
                arms |= {name: {name: name} for name in self.cards}
            elif arm == "baselines":
                arms |= {name: {name: model} for name, model in self.baselines.items()}
            elif arm == "union":
                arms[arm] = {name: merges[name].model for name in STRATEGIES}
            else:
                arms[arm] = {arm: merges[arm].model}
        return arms


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    start = perf_counter()
    yield
    seconds[name] = perf_counter() - start
