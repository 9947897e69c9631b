"""What a benchmark found, as plain values: the file that reports are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from samner.benchmark.config import Arm, Benchmark
from samner.benchmark.scores import KINDS, Run, compare
from samner.evaluation.results import machine
from samner.evaluation.target import TargetTexts
from samner.selection import Selection
from samner.task_model import versions


@dataclass(frozen=True, slots=True)
class TargetFound:
    """What was found on one target.

    Args:
        texts: Its texts.
        selections: What each strategy decided with the configuration's settings.
        runs: By the name of the arm, one for each of its seeds.
        complementarity: See ``Scorer.complementarity``; none without the arm ``union``.
    """

    texts: TargetTexts
    selections: Mapping[str, Selection]
    runs: Mapping[str, Sequence[Run]]
    complementarity: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Found:
    """What was found on all targets.

    Args:
        benchmark: What was measured.
        threshold: Score from which an entity counted.
        arms: One for each expert, where the benchmark has one for all.
        targets: By name.
        oracle: F1 of every subset of experts that was searched, by arm and target.
    """

    benchmark: Benchmark
    threshold: float
    arms: Sequence[Arm]
    targets: Mapping[str, TargetFound]
    oracle: Mapping[str, Any]


def to_dict(found: Found, command: str) -> dict[str, Any]:
    """Everything, ready for JSON; no text of a target is in it."""
    benchmark = found.benchmark
    groups = {title: list(names) for title, names in benchmark.averages.items() if {*names} <= {*found.targets}}
    groups["all"] = list(found.targets)
    return {
        "format": 1,
        "command": command,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "pool": benchmark.pool,
        "machine": machine(),
        "versions": versions(),
        "settings": {**benchmark.settings(), "threshold": found.threshold},
        "groups": groups,
        "targets": {name: _target(target) for name, target in found.targets.items()},
        "arms": [_arm(arm, found.targets) for arm in found.arms],
        "comparisons": _comparisons(found, groups),
        "complementarity": {
            name: dict(target.complementarity) for name, target in found.targets.items() if target.complementarity
        },
        "published": [
            {"name": one.name, "scores": dict(one.scores), "source": one.source} for one in benchmark.published
        ],
        "oracle": {"texts": benchmark.oracle_texts, "subsets": found.oracle} if found.oracle else {},
    }


def _target(target: TargetFound) -> dict[str, Any]:
    similarity, sampling = target.selections["similarity"], target.selections["sampling"]
    return {
        "texts": len(target.texts.test),
        "unlabelled": len(target.texts.unlabelled),
        "labels": [entity_type.name for entity_type in target.texts.types],
        "similarity": dict(similarity.cosine),
        "sampling": dict(sampling.f1),
        "pseudo_labels": len(sampling.pseudo_labels),
        "note": "; ".join(selection.note for selection in target.selections.values() if selection.note),
        "warning": "; ".join(dict.fromkeys(w for one in target.selections.values() for w in one.warnings)),
    }


def _arm(arm: Arm, targets: Mapping[str, TargetFound]) -> dict[str, Any]:
    return {
        "name": arm.name,
        "group": arm.group,
        "x": arm.x,
        "title": arm.title,
        "settings": {"mode": arm.mode, **arm.options, "seeds": list(arm.seeds), "texts": arm.texts},
        "targets": {name: [run.to_dict() for run in target.runs[arm.name]] for name, target in targets.items()},
    }


def _comparisons(found: Found, groups: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    averaged = {name: [name] for name in found.targets} | dict(groups)
    rows = []
    for first, second in found.benchmark.comparisons:
        runs = [{name: target.runs[arm] for name, target in found.targets.items()} for arm in (first, second)]
        for title, names in averaged.items():
            for kind in KINDS:
                result = compare(runs[0], runs[1], names, kind)
                rows.append({"a": first, "b": second, "score": kind, "target": title, **result})
    return rows
