"""Runs in numbers: the counts of every text, and from them scores, intervals and paired tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from samner.benchmark.models import Model
from samner.benchmark.plans import Plan
from samner.benchmark.reader import Reader
from samner.entities import Entity
from samner.evaluation.target import TargetTexts
from samner.scoring import (
    INTERVAL,
    Counts,
    count_table,
    f1_of,
    resample,
    span_counts,
    string_counts,
)
from samner.task_model import STRATEGIES, combine

KINDS = ("strict", "string")

Table: TypeAlias = npt.NDArray[np.int64]
_Answer: TypeAlias = tuple[tuple[Model, ...], int, int]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an arm on one target.

    Args:
        plan: How it read.
        seconds: How long its models took to read them, one after the other.
        tables: For each of `KINDS`, texts x 3 counts.
        resampled: For each of `KINDS`, F1 of every bootstrap sample of the texts.
    """

    plan: Plan
    seconds: float
    tables: Mapping[str, Table]
    resampled: Mapping[str, npt.NDArray[np.float64]]

    def f1(self, kind: str) -> float:
        """Of all its texts."""
        return self._counts(kind).f1

    def to_dict(self) -> dict[str, Any]:
        """Everything but the texts' own counts, ready for JSON."""
        return {
            "seed": self.plan.seed,
            "experts": {name: dict(weights) for name, weights in self.plan.experts.items()},
            **{kind: self._score(kind) for kind in KINDS},
            "texts": self.plan.texts,
            "seconds": round(self.seconds, 3),
            "models": len(set(self.plan.models.values())),
        }

    def _counts(self, kind: str) -> Counts:
        return Counts(*map(int, self.tables[kind].sum(axis=0)))

    def _score(self, kind: str) -> dict[str, Any]:
        low, high = np.quantile(self.resampled[kind], INTERVAL)
        return {**self._counts(kind).to_dict(), "f1_ci95": [float(low), float(high)]}


class Scorer:
    """Scores the runs on one target.

    Args:
        target: Its texts.
        reader: Has read what is asked for.
        seed: Of the bootstrap. All runs over as many texts are scored on the same draws, so that they are paired.
    """

    def __init__(self, target: TargetTexts, reader: Reader, seed: int) -> None:
        self._target = target
        self._reader = reader
        self._seed = seed
        self._texts = [example.text for example in target.test]
        self._gold = target.scored
        self._tables: dict[_Answer, dict[str, Table]] = {}

    def runs(self, plans: Sequence[Plan]) -> list[Run]:
        """Score plans, in their order."""
        seconds = {_answer(plan): self._read(plan) for plan in plans}
        resampled: dict[_Answer, dict[str, npt.NDArray[np.float64]]] = {key: {} for key in seconds}
        for texts in {plan.texts for plan in plans}:
            columns = [(key, kind) for key in seconds if key[-1] == texts for kind in KINDS]
            sums = resample(np.hstack([self._tables[key][kind] for key, kind in columns]), seed=self._seed)
            for i, (key, kind) in enumerate(columns):
                resampled[key][kind] = f1_of(*sums[:, 3 * i : 3 * i + 3].T)
        keys = map(_answer, plans)
        return [
            Run(plan, seconds[key], self._tables[key], resampled[key]) for key, plan in zip(keys, plans, strict=True)
        ]

    def complementarity(self, plan: Plan) -> dict[str, Any]:
        """What each of the two task models of a union finds by itself: gold entities, and false ones.

        Strict, each strategy's answer for itself; ready for JSON.
        """
        found = {name: self._answers(plan, name) for name in STRATEGIES}
        gold = {(i, *e.key) for i, entities in enumerate(self._gold[: plan.texts]) for e in entities}
        first, second = (
            {(i, *e.key) for i, entities in enumerate(found[name]) for e in entities} for name in STRATEGIES
        )
        return {
            "texts": plan.texts,
            "gold": _shares(first & gold, second & gold) | {"neither": len(gold - first - second)},
            "false": _shares(first - gold, second - gold),
        }

    def _read(self, plan: Plan) -> float:
        """Counts of the texts, if they are not there; returns the seconds of reading."""
        key, texts = _answer(plan), plan.texts
        answers = {model: self._reader.answers(model, self._target.name, texts) for model in set(plan.models.values())}
        if key not in self._tables:
            found = {name: answers[model].entities for name, model in plan.models.items()}
            joined = [combine({name: found[name][i] for name in found}, plan.votes) for i in range(texts)]
            gold = self._gold[:texts]
            self._tables[key] = {
                "strict": count_table(span_counts(gold, joined)),
                "string": count_table(string_counts(self._texts[:texts], gold, joined)),
            }
        return sum(answer.seconds for answer in answers.values())

    def _answers(self, plan: Plan, name: str) -> Sequence[Sequence[Entity]]:
        return self._reader.answers(plan.models[name], self._target.name, plan.texts).entities


def _answer(plan: Plan) -> _Answer:
    """What decides the answers on a target: plans that share it are scored once."""
    return tuple(plan.models.values()), plan.votes, plan.texts


def _shares(similarity: set[Any], sampling: set[Any]) -> dict[str, int]:
    """How many only the one has, only the other, and both."""
    both = len(similarity & sampling)
    return {"similarity": len(similarity) - both, "sampling": len(sampling) - both, "both": both}


def compare(
    first: Mapping[str, Sequence[Run]], second: Mapping[str, Sequence[Run]], targets: Sequence[str], kind: str
) -> dict[str, Any]:
    """The difference in F1 points between two arms, averaged over targets, by the paired bootstrap over texts.

    Of an arm with several runs the mean F1 counts. Each target's texts are drawn by themselves, the same for both
    arms. The p value is two-sided: twice the share of samples in which the difference has not the sign
    that the one observed has, and at least that of one sample (Efron and Tibshirani, 1993, chapter 16).

    Args:
        first: Of one arm, by target.
        second: Of the other.
        targets: To average over.
        kind: One of `KINDS`.
    """
    observed, samples = [], []
    for name in targets:
        observed.append(_mean(first[name], kind) - _mean(second[name], kind))
        samples.append(_samples(first[name], kind) - _samples(second[name], kind))
    drawn = np.mean(samples, axis=0)
    low, high = np.quantile(drawn, INTERVAL)
    beyond = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return {
        "difference": 100 * float(np.mean(observed)),
        "ci95": [100 * float(low), 100 * float(high)],
        "p": min(1.0, 2 * (beyond + 1) / (len(drawn) + 1)),
    }


def _mean(runs: Sequence[Run], kind: str) -> float:
    return float(np.mean([run.f1(kind) for run in runs]))


def _samples(runs: Sequence[Run], kind: str) -> npt.NDArray[np.float64]:
    return np.asarray(np.mean([run.resampled[kind] for run in runs], axis=0))
