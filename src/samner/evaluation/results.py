"""What an evaluation found, as plain values: kept between runs, written as JSON, and read by the tables."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from samner.evaluation.measure import Measured
from samner.evaluation.target import TargetTexts
from samner.task_model import versions

SCORES = ("strict", "string")
"""The two scores of a report, see ``samner.scoring``."""


@dataclass(frozen=True, slots=True)
class TargetResult:
    """What was found on one target; every value is a JSON value.

    Args:
        name: Of the target.
        digest: Of everything that decided the numbers; a run with the same digest need not measure again.
        texts: How many test texts were scored.
        unlabelled: How many texts were adapted to.
        labels: The types that were asked for.
        reports: Arm to ``Report.to_dict()``.
        selections: Strategy to ``Selection.to_dict()``, without the sample texts: they are the target's, and may
            not be published with the numbers.
        merges: Task model to the weights of the experts in it.
        seconds: Step to its seconds: ``load`` of the pool, and per strategy, task model or arm the steps
            ``selection``, ``merge`` and ``predict``.
        texts_per_second: Arm to test texts read in a second.
        versions: Of samner and the libraries below it.
        machine: On what it ran.
        finished: When, in UTC.
    """

    name: str
    digest: str
    texts: int
    unlabelled: int
    labels: Sequence[str]
    reports: Mapping[str, Any]
    selections: Mapping[str, Any]
    merges: Mapping[str, Any]
    seconds: Mapping[str, Any]
    texts_per_second: Mapping[str, float]
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    finished: str

    def f1(self, arm: str, kind: str) -> float:
        """F1 of an arm by one of `SCORES`."""
        return float(self.reports[arm][kind]["f1"])

    def interval(self, arm: str, kind: str) -> tuple[float, float]:
        """Its 95 % confidence interval."""
        low, high = self.reports[arm][kind]["f1_ci95"]
        return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Results:
    """What an evaluation found.

    Args:
        command: That made it.
        pool: The pool as the configuration names it.
        settings: See ``Config.settings``.
        averages: Title to the targets averaged over; only those of which every target was measured.
        targets: One result each.
    """

    command: str
    pool: str
    settings: Mapping[str, Any]
    averages: Mapping[str, Sequence[str]]
    targets: Sequence[TargetResult]

    @property
    def arms(self) -> list[str]:
        """Every arm, in the order of the tables."""
        return list(self.targets[0].reports)

    def average(self, title: str, arm: str, kind: str) -> float:
        """Mean F1 of an arm over the targets of an average, each counting the same."""
        values = [target.f1(arm, kind) for target in self.targets if target.name in self.averages[title]]
        return sum(values) / len(values)

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "format": 1,
            "command": self.command,
            "pool": self.pool,
            "settings": self.settings,
            "averages": {
                title: {
                    "targets": list(names),
                    "f1": {arm: {kind: self.average(title, arm, kind) for kind in SCORES} for arm in self.arms},
                }
                for title, names in self.averages.items()
            },
            "targets": {target.name: asdict(target) for target in self.targets},
        }


def target_result(target: TargetTexts, digest: str, measured: Measured, load_seconds: float) -> TargetResult:
    """The result of a target as plain values."""
    seconds: dict[str, Any] = {
        "load": round(load_seconds, 3),
        **{step: {name: round(value, 4) for name, value in parts.items()} for step, parts in measured.seconds.items()},
    }
    result = TargetResult(
        name=target.name,
        digest=digest,
        texts=len(target.test),
        unlabelled=len(target.unlabelled),
        labels=[entity_type.name for entity_type in target.types],
        reports={arm: report.to_dict() for arm, report in measured.reports.items()},
        selections={name: {**found.to_dict(), "sample": []} for name, found in measured.selections.items()},
        merges={name: dict(merge.experts) for name, merge in measured.merges.items()},
        seconds=seconds,
        texts_per_second={
            arm: round(len(target.test) / max(value, 1e-9), 1) for arm, value in measured.seconds["predict"].items()
        },
        versions=versions(),
        machine=machine(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    # tuples become lists, so that a result is the same fresh and read back
    return TargetResult(**json.loads(json.dumps(asdict(result))))


def machine() -> dict[str, Any]:
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
