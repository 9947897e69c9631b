"""The results of a benchmark as a report asks for them: arms by group, means over seeds, averages over targets."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot
from statistics import fmean
from typing import Any

from samner.benchmark.arms import ORACLES
from samner.benchmark.results import FORMAT
from samner.errors import SamnerError

_NEEDED = ("command", "finished", "pool", "settings", "groups", "targets", "arms")


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to answer, with what it scored.

    Args:
        name: Unique.
        group: The table or plot it belongs to.
        title: For people.
        x: The value that was varied, if one was.
        settings: Its mode and the arguments that differ from the benchmark's.
        runs: Target to one run for each seed.
    """

    name: str
    group: str
    title: str
    x: Any
    settings: Mapping[str, Any]
    runs: Mapping[str, Sequence[Mapping[str, Any]]]

    @property
    def mode(self) -> str:
        """How it answers."""
        return str(self.settings.get("mode", self.name))

    @property
    def series(self) -> str:
        """Its name without the value that was varied: ``union`` of ``union k=2``."""
        return re.sub(r" \S+=\S+$", "", self.name) if self.x is not None else self.name

    @property
    def ceiling(self) -> bool:
        """Whether it looks at the test labels."""
        return self.mode in ORACLES

    @property
    def seeds(self) -> int:
        """How many runs there are of every target."""
        return min(len(runs) for runs in self.runs.values())

    def values(self, target: str, score: str = "strict", unseen: bool = False) -> list[float]:
        """F1 of each run, times 100; of unseen types where some types are seen, if asked."""
        runs = self.runs[target]
        return [100 * float((run.get("unseen", run) if unseen else run)[score]["f1"]) for run in runs]

    def mean(self, target: str, score: str = "strict") -> float:
        """F1, the mean over the runs, times 100."""
        return fmean(self.values(target, score))

    def averages(self, targets: Sequence[str], score: str = "strict", unseen: bool = False) -> list[float]:
        """For each run its mean over targets, each target counting the same, times 100."""
        by_target = [self.values(target, score, unseen)[: self.seeds] for target in targets]
        return [fmean(values) for values in zip(*by_target, strict=True)]

    def average(self, targets: Sequence[str], score: str = "strict", unseen: bool = False) -> float:
        """Their mean over the runs, times 100."""
        return fmean(self.averages(targets, score, unseen))

    def interval(self, targets: Sequence[str], score: str = "strict") -> tuple[float, float]:
        """95 % interval of an average by bootstrap over texts, times 100; of several runs the mean of its ends.

        The targets' texts are drawn apart, so the squares of half-widths add up.
        """
        middle = self.average(targets, score)
        below, above = [], []
        for target in targets:
            ends = [run[score]["f1_ci95"] for run in self.runs[target]]
            below.append(self.mean(target, score) - 100 * fmean(low for low, _ in ends))
            above.append(100 * fmean(high for _, high in ends) - self.mean(target, score))
        return middle - hypot(*below) / len(targets), middle + hypot(*above) / len(targets)

    def sum(self, what: str) -> float:
        """``models``, ``seconds``, ``texts`` or ``merging`` over all targets; of several runs the mean."""
        return sum(fmean(run[what] for run in runs) for runs in self.runs.values())


@dataclass(frozen=True)
class View:
    """Results, checked as far as a report depends on it.

    Args:
        results: See ``samner.benchmark.results``.

    Raises:
        SamnerError: If they are of another format or lack what every report needs.
    """

    results: Mapping[str, Any]

    def __post_init__(self) -> None:
        if self.results.get("format") != FORMAT:
            raise SamnerError(f"results of format {self.results.get('format')!r} cannot be read, only format {FORMAT}")
        for key in _NEEDED:
            if not self.results.get(key):
                raise SamnerError(f"the results have no {key}, so there is nothing to report")
        for arm in self.arms.values():
            if missing := [name for name in self.targets if not arm.runs.get(name)]:
                raise SamnerError(f"the results have no run of the arm {arm.name!r} on {missing[0]}")

    @cached_property
    def targets(self) -> list[str]:
        """Names of the targets."""
        return list(self.results["targets"])

    @cached_property
    def groups(self) -> dict[str, list[str]]:
        """What is averaged: title to names of targets."""
        return {title: list(names) for title, names in self.results["groups"].items()}

    @cached_property
    def columns(self) -> dict[str, list[str]]:
        """Of tables by target: title to the targets that are averaged over, the averages first."""
        averages = {f"mean {title} ({len(names)})": names for title, names in self.groups.items()}
        return averages | {pretty(name): [name] for name in self.targets}

    @cached_property
    def headline(self) -> str:
        """Title of the average that conclusions are drawn from: the first."""
        return next(iter(self.groups))

    @cached_property
    def judged(self) -> list[str]:
        """The targets of the headline average."""
        return self.groups[self.headline]

    @cached_property
    def arms(self) -> dict[str, Arm]:
        """Every arm by its name."""
        return {
            arm["name"]: Arm(
                arm["name"], arm["group"], arm.get("title") or arm["name"], arm["x"], arm["settings"], arm["targets"]
            )
            for arm in self.results["arms"]
        }

    @cached_property
    def k(self) -> int:
        """How many experts a strategy picks unless an arm says otherwise."""
        return int(self.results["settings"]["experts"])

    def target(self, name: str) -> Mapping[str, Any]:
        """What is known of a target."""
        found: Mapping[str, Any] = self.results["targets"][name]
        return found

    def ranking(self, target: str, strategy: str) -> list[str]:
        """The experts as a strategy ranks them for a target, best first; equal sampling scores go by similarity."""
        scores, similarity = self.target(target).get(strategy, {}), self.target(target).get("similarity", {})
        return sorted(scores, key=lambda name: (-scores[name], -similarity.get(name, 0.0), name))

    def taken(self, target: str, strategy: str) -> list[str]:
        """The experts that a strategy chose, best first: those in an arm's task models, else the k highest."""
        ranking = self.ranking(target, strategy)
        for arm in self.named("union", strategy):
            if found := arm.runs[target][0]["experts"].get(strategy):
                return sorted(found, key=lambda name: ranking.index(name) if name in ranking else len(ranking))
        return ranking[: self.k]

    def group(self, name: str) -> list[Arm]:
        """The arms of a group."""
        return [arm for arm in self.arms.values() if arm.group == name]

    def named(self, *names: str) -> list[Arm]:
        """Those of these arms that there are."""
        return [self.arms[name] for name in names if name in self.arms]

    @cached_property
    def main(self) -> list[Arm]:
        """The arms of the first group."""
        return self.group(next(iter(self.arms.values())).group)

    @cached_property
    def ablations(self) -> list[str]:
        """The other groups."""
        return [name for name in dict.fromkeys(a.group for a in self.arms.values()) if name != self.main[0].group]

    @cached_property
    def singles(self) -> dict[str, Arm]:
        """The arms that are one expert, by the expert."""
        return {arm.settings.get("name", arm.name): arm for arm in self.main if arm.mode == "expert"}

    def comparable(self, *arms: Arm) -> bool:
        """Whether they were measured on the same gold entities, that is on the same texts."""
        gold = {tuple(r[0]["strict"]["tp"] + r[0]["strict"]["fn"] for r in arm.runs.values()) for arm in arms}
        return len(gold) == 1


def pretty(name: str) -> str:
    """A name for people: without underscores."""
    return name.replace("_", " ")


def signed(value: float) -> str:
    """With its sign and one digit; the minus as wide as the plus."""
    text = f"{value:+.1f}"
    return text[1:] if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def texts_read(arm: Arm) -> str:
    """On how many texts an arm was measured."""
    limit = arm.settings.get("texts")
    return f"the first {limit} test texts of each target" if limit else "all test texts"
