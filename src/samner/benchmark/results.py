"""Answers in numbers: counts of every text, from them scores, intervals and paired tests, and all of it as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from samner.adaptation import merge_parameters
from samner.benchmark.answers import Model, Reader, TargetTexts
from samner.benchmark.arms import Plan, Selected
from samner.benchmark.config import Arm, Benchmark
from samner.entities import Entity
from samner.pool import ExpertPool
from samner.recogniser import combine
from samner.scoring import (
    INTERVAL,
    Counts,
    count_table,
    f1_of,
    paired_test,
    resample,
    span_counts,
    string_counts,
)
from samner.task_model import STRATEGIES, versions

FORMAT = 2
"""Of the results; the report reads no other."""

KINDS = ("strict", "string")
"""The two scores, see ``samner.scoring``."""

_UNSEEN = "unseen "
"""Before the name of a score: of the types that no training set names."""

_Table: TypeAlias = npt.NDArray[np.int64]
_Answer: TypeAlias = tuple[tuple[Model, ...], int, int]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an arm on one target.

    Args:
        plan: How it read.
        seconds: How long its models took to read the texts, one after the other.
        merging: How long it took to make them.
        tables: For each of `KINDS`, and for each of unseen types if some are seen, texts x 3 counts.
        resampled: For each of these, F1 of every bootstrap sample of the texts.
    """

    plan: Plan
    seconds: float
    merging: float
    tables: Mapping[str, _Table]
    resampled: Mapping[str, npt.NDArray[np.float64]]

    def f1(self, kind: str) -> float:
        """Of all its texts."""
        return self._counts(kind).f1

    def to_dict(self) -> dict[str, Any]:
        """Everything but the texts' own counts, ready for JSON."""
        unseen = {kind: self._score(_UNSEEN + kind) for kind in KINDS if _UNSEEN + kind in self.tables}
        return {
            "seed": self.plan.seed,
            "experts": {name: dict(weights) for name, weights in self.plan.experts.items()},
            **{kind: self._score(kind) for kind in KINDS},
            **({"unseen": unseen} if unseen else {}),
            "texts": self.plan.texts,
            "seconds": round(self.seconds, 3),
            "merging": round(self.merging, 3),
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
        self._tables: dict[_Answer, dict[str, _Table]] = {}

    def runs(self, plans: Sequence[Plan]) -> list[Run]:
        """Score plans, in their order."""
        seconds = {_answer(plan): self._read(plan) for plan in plans}
        resampled: dict[_Answer, dict[str, npt.NDArray[np.float64]]] = {key: {} for key in seconds}
        for texts in {plan.texts for plan in plans}:
            columns = [(key, kind) for key in seconds if key[-1] == texts for kind in self._tables[key]]
            sums = resample(np.hstack([self._tables[key][kind] for key, kind in columns]), seed=self._seed)
            for i, (key, kind) in enumerate(columns):
                resampled[key][kind] = f1_of(*sums[:, 3 * i : 3 * i + 3].T)
        return [
            Run(plan, *seconds[key], self._tables[key], resampled[key]) for plan in plans for key in [_answer(plan)]
        ]

    def complementarity(self, plan: Plan) -> dict[str, Any]:
        """What each of the two task models of a union finds by itself: gold entities, and false ones.

        Strict, each strategy's answer for itself; ready for JSON.
        """
        found = {
            name: _keys(self._reader.answers(plan.models[name], self._target.name, plan.texts).entities)
            for name in STRATEGIES
        }
        gold = _keys(self._target.scored[: plan.texts])
        first, second = (found[name] for name in STRATEGIES)
        return {
            "texts": plan.texts,
            "gold": _shares(first & gold, second & gold) | {"neither": len(gold - first - second)},
            "false": _shares(first - gold, second - gold),
        }

    def _read(self, plan: Plan) -> tuple[float, float]:
        """Counts of the texts, if they are not there; returns the seconds of reading and of merging."""
        key, texts, target = _answer(plan), plan.texts, self._target
        answers = {model: self._reader.answers(model, target.name, texts) for model in set(plan.models.values())}
        if key not in self._tables:
            found = {name: answers[model].entities for name, model in plan.models.items()}
            joined = [combine({name: found[name][i] for name in found}, plan.votes) for i in range(texts)]
            gold = target.scored[:texts]
            self._tables[key] = self._counted("", gold, joined)
            if 0 < len(target.unseen) < len(target.types):
                self._tables[key] |= self._counted(_UNSEEN, self._of_unseen(gold), self._of_unseen(joined))
        return sum(one.seconds for one in answers.values()), sum(one.merging for one in answers.values())

    def _counted(
        self, prefix: str, gold: Sequence[Sequence[Entity]], found: Sequence[Sequence[Entity]]
    ) -> dict[str, _Table]:
        texts = [example.text for example in self._target.test[: len(gold)]]
        return {
            f"{prefix}strict": count_table(span_counts(gold, found)),
            f"{prefix}string": count_table(string_counts(texts, gold, found)),
        }

    def _of_unseen(self, entities: Sequence[Sequence[Entity]]) -> list[list[Entity]]:
        return [[entity for entity in one if entity.label in self._target.unseen] for one in entities]


def _answer(plan: Plan) -> _Answer:
    """What decides the answers on a target: plans that share it are scored once."""
    return tuple(plan.models.values()), plan.votes, plan.texts


def _keys(entities: Sequence[Sequence[Entity]]) -> set[tuple[int, int, int, str]]:
    return {(i, *entity.key) for i, one in enumerate(entities) for entity in one}


def _shares(similarity: set[Any], sampling: set[Any]) -> dict[str, int]:
    """How many only the one has, only the other, and both."""
    both = len(similarity & sampling)
    return {"similarity": len(similarity) - both, "sampling": len(sampling) - both, "both": both}


def compare(
    first: Mapping[str, Sequence[Run]], second: Mapping[str, Sequence[Run]], targets: Sequence[str], kind: str
) -> dict[str, Any]:
    """The difference in F1 points between two arms, averaged over targets, by the paired bootstrap over texts.

    Of an arm with several runs the mean F1 counts. Each target's texts are drawn by themselves, the same for both
    arms. See ``samner.scoring.paired_test``.

    Args:
        first: Of one arm, by target.
        second: Of the other.
        targets: To average over.
        kind: One of `KINDS`.
    """
    observed, samples = [], []
    for name in targets:
        one, other = first[name], second[name]
        observed.append(np.mean([run.f1(kind) for run in one]) - np.mean([run.f1(kind) for run in other]))
        samples.append(
            np.mean([run.resampled[kind] for run in one], axis=0)
            - np.mean([run.resampled[kind] for run in other], axis=0)
        )
    test = paired_test(float(np.mean(observed)), np.mean(samples, axis=0))
    return {"difference": 100 * test["difference"], "ci95": [100 * end for end in test["ci95"]], "p": test["p"]}


@dataclass(frozen=True, slots=True)
class TargetFound:
    """What was found on one target.

    Args:
        texts: Its texts.
        selected: What each strategy decided with the benchmark's settings.
        runs: By the name of the arm, one for each of its seeds.
        complementarity: See ``Scorer.complementarity``; none without the arm ``union``.
    """

    texts: TargetTexts
    selected: Selected
    runs: Mapping[str, Sequence[Run]]
    complementarity: Mapping[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """What is known of the target, ready for JSON; no text is in it."""
        selections = self.selected.strategies
        similarity, sampling = selections["similarity"], selections["sampling"]
        return {
            "texts": len(self.texts.test),
            "unlabelled": len(self.texts.unlabelled),
            "labels": [entity_type.name for entity_type in self.texts.types],
            "unseen": sorted(self.texts.unseen),
            "similarity": dict(similarity.cosine),
            "sampling": dict(sampling.f1),
            "pseudo_labels": len(sampling.pseudo_labels),
            "selection_seconds": round(self.selected.seconds, 3),
            "note": "; ".join(selection.note for selection in selections.values() if selection.note),
            "warning": "; ".join(dict.fromkeys(w for one in selections.values() for w in one.warnings)),
        }


def to_dict(
    benchmark: Benchmark,
    pool: ExpertPool,
    reference: str,
    arms: Sequence[Arm],
    found: Mapping[str, TargetFound],
    subsets: Mapping[str, Any],
    command: str,
) -> dict[str, Any]:
    """Everything, ready for JSON; no text of a target is in it.

    Args:
        benchmark: What was measured.
        pool: On which pool.
        reference: As the benchmark names it.
        arms: One for each expert, where the benchmark has one for all.
        found: By target.
        subsets: F1 of every subset of experts that an oracle searched, by arm and target.
        command: That made it.
    """
    settings = benchmark.settings
    method, parameters = settings.merging({}, settings.seed)
    groups = {title: list(names) for title, names in settings.averages.items() if {*names} <= {*found}}
    groups["all"] = list(found)
    return {
        "format": FORMAT,
        "command": command,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "pool": reference,
        "machine": _machine(),
        "versions": versions(),
        "settings": {
            "experts": settings.experts,
            "samples": settings.samples,
            "seed": settings.seed,
            "seeds": sorted({seed for arm in arms for seed in arm.seeds}),
            "merge": {"method": method, **merge_parameters(pool, method, parameters)},
            "baselines": list(settings.baselines),
            "threshold": pool.backbone.threshold,
        },
        "groups": groups,
        "targets": {name: target.to_dict() for name, target in found.items()},
        "arms": [
            {
                "name": arm.name,
                "group": arm.group,
                "x": arm.x,
                "title": arm.title,
                "settings": {"mode": arm.mode, **arm.options, "seeds": list(arm.seeds), "texts": arm.texts},
                "targets": {name: [run.to_dict() for run in target.runs[arm.name]] for name, target in found.items()},
            }
            for arm in arms
        ],
        "comparisons": _comparisons(benchmark, arms, found, groups),
        "complementarity": {
            name: dict(target.complementarity) for name, target in found.items() if target.complementarity
        },
        "published": [{"name": name, **one.model_dump()} for name, one in settings.published.items()],
        "oracle": {"texts": settings.oracle.texts, "subsets": dict(subsets)} if subsets else {},
    }


def _comparisons(
    benchmark: Benchmark, arms: Sequence[Arm], found: Mapping[str, TargetFound], groups: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    measured = {arm.name for arm in arms}
    averaged = {name: [name] for name in found} | dict(groups)
    rows = []
    for pair in benchmark.settings.comparisons:
        if {*pair} <= measured:
            first, second = ({name: target.runs[arm] for name, target in found.items()} for arm in pair)
            for title, names in averaged.items():
                for kind in KINDS:
                    test = compare(first, second, names, kind)
                    rows.append({"a": pair[0], "b": pair[1], "score": kind, "target": title, **test})
    return rows


def _machine() -> dict[str, Any]:
    """What decides the seconds: cores, threads, kind of system. Nothing that tells whose machine it is."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        cores = os.cpu_count() or 1
    return {
        "cores": cores,
        "torch_threads": torch.get_num_threads(),
        "platform": f"{platform.system()} {platform.machine()}",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
