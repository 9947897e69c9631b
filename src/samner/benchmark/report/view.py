"""The results of a benchmark as a report asks for them: arms by group, means over seeds, averages over targets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import hypot
from statistics import fmean
from typing import Any

from samner.errors import SamnerError

FORMAT = 1
"""Of the results that this reads."""

SAM = "union"
"""The arm that is SaM as the paper has it."""

ORACLES = ("oracle", "oracle-single")
"""Modes that look at the test labels: ceilings, not methods."""

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

    def values(self, target: str, score: str = "strict", what: str = "f1") -> list[float]:
        """Precision, recall or F1 of each run, times 100."""
        return [100 * float(run[score][what]) for run in self.runs[target]]

    def mean(self, target: str, score: str = "strict", what: str = "f1") -> float:
        """Their mean over the runs, times 100."""
        return fmean(self.values(target, score, what))

    def interval(self, target: str, score: str = "strict") -> tuple[float, float]:
        """95 % interval of F1 by bootstrap over texts, times 100; of several runs the mean of its ends."""
        ends = [run[score]["f1_ci95"] for run in self.runs[target]]
        return 100 * fmean(low for low, _ in ends), 100 * fmean(high for _, high in ends)

    def averages(self, targets: Sequence[str], score: str = "strict", what: str = "f1") -> list[float]:
        """For each run its mean over targets, each target counting the same, times 100."""
        by_target = [self.values(target, score, what)[: self.seeds] for target in targets]
        return [fmean(values) for values in zip(*by_target, strict=True)]

    def average(self, targets: Sequence[str], score: str = "strict", what: str = "f1") -> float:
        """Their mean over the runs, times 100."""
        return fmean(self.averages(targets, score, what))

    def average_interval(self, targets: Sequence[str], score: str = "strict") -> tuple[float, float]:
        """95 % interval of the average: the targets' texts are drawn apart, so the squares of half-widths add up."""
        middle = self.average(targets, score)
        ends = [(self.mean(target, score), *self.interval(target, score)) for target in targets]
        below = hypot(*(mean - low for mean, low, _ in ends)) / len(ends)
        above = hypot(*(high - mean for mean, _, high in ends)) / len(ends)
        return middle - below, middle + above


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
            if key not in self.results:
                raise SamnerError(f"the results lack {key!r}; they are not those of samner benchmark")
        for key in ("arms", "targets", "groups"):
            if not self.results[key]:
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
                arm["name"],
                arm["group"],
                arm.get("title") or arm["name"],
                arm.get("x"),
                arm["settings"],
                arm["targets"],
            )
            for arm in self.results["arms"]
        }

    @cached_property
    def experts(self) -> list[str]:
        """Names of the pool's experts, those with an arm of their own first."""
        named = [arm.name for arm in self.arms.values() if arm.mode == "expert"]
        known = [name for target in self.targets for name in self.target(target).get("similarity", {})]
        return list(dict.fromkeys([*named, *known]))

    @cached_property
    def complementarity(self) -> dict[str, Mapping[str, Mapping[str, int]]]:
        """Target to how many ``gold`` and ``false`` entities both strategies found, one alone, or neither."""
        found = self.results.get("complementarity") or {}
        return {name: found[name] for name in self.targets if name in found}

    @cached_property
    def k(self) -> int:
        """How many experts a strategy picks unless an arm says otherwise."""
        return int(self.results["settings"]["experts"])

    @property
    def sam(self) -> Arm | None:
        """The arm that is SaM."""
        return self.arms.get(SAM)

    def target(self, name: str) -> Mapping[str, Any]:
        """What is known of a target."""
        found: Mapping[str, Any] = self.results["targets"][name]
        return found

    def ranking(self, target: str, strategy: str) -> list[str]:
        """The experts as a strategy ranks them for a target, best first; equal sampling scores go by similarity."""
        scores, similarity = self.target(target).get(strategy, {}), self.target(target).get("similarity", {})
        return sorted(scores, key=lambda name: (-scores[name], -similarity.get(name, 0.0), name))

    def group(self, name: str) -> list[Arm]:
        """The arms of a group."""
        return [arm for arm in self.arms.values() if arm.group == name]

    def named(self, *names: str) -> list[Arm]:
        """Those of these arms that there are."""
        return [self.arms[name] for name in names if name in self.arms]

    def methods(self) -> list[Arm]:
        """The main arms that do not look at test labels."""
        return [arm for arm in self.group("main") if not arm.ceiling]

    def oracles(self) -> dict[int, Arm]:
        """Best merges of each size, told by test labels."""
        found = [arm for arm in self.arms.values() if arm.mode == "oracle"]
        return {int(arm.settings.get("experts", self.k)): arm for arm in found}

    def best_single(self) -> Arm | None:
        """The best expert of each target, told by test labels."""
        return next((arm for arm in self.arms.values() if arm.mode == "oracle-single"), None)

    def comparable(self, *arms: Arm) -> bool:
        """Whether they were measured on the same gold entities, that is on the same texts."""
        return len({tuple(_gold(arm, name) for name in self.targets) for arm in arms}) == 1

    def wins(self, first: Arm, second: Arm, targets: Iterable[str], margin: float = 0.0) -> list[str]:
        """The targets on which the first is ahead of the second by more than so many points of strict F1."""
        return [name for name in targets if first.mean(name) - second.mean(name) > margin]


def best(arms: Sequence[Arm], value: Callable[[Arm], float]) -> Arm:
    """The arm with the highest value, of equal ones the first."""
    return max(arms, key=value)


def pretty(name: str) -> str:
    """A name for people: ``crossner_ai`` as ``crossner ai``."""
    return name.replace("_", " ")


def signed(value: float, digits: int = 1) -> str:
    """With its sign; the minus as wide as the plus."""
    text = f"{value:+.{digits}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def place(difference: float) -> str:
    """Where one score is beside another: so many points above or below it."""
    points = f"{abs(difference):.1f}"
    return "level with" if float(points) == 0 else f"{points} points {'above' if difference > 0 else 'below'}"


def _gold(arm: Arm, target: str) -> int:
    score = arm.runs[target][0]["strict"]
    return int(score["tp"]) + int(score["fn"])
