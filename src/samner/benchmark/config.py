"""What a benchmark measures: a YAML file of targets and groups of arms, checked before any work begins.

A group holds arms, each a mode with the arguments that it changes. ``vary`` gives one argument several values, and
every arm of the group is measured with each:

    k:
      texts: 200                              # read only the first so many test texts of each target
      vary: {experts: [1, 2, 3]}
      label: k                                # the arms are called "union k=1", ...
      arms: {union: {}, economy: {}}

An argument is one of ``samner.adaptation.select`` or ``recipes`` (``experts``, ``samples``, ``exclude``, ...), a merge
method and its parameters, or ``threshold``, ``encoder`` and ``seeds``.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samner.adaptation import recipes, select
from samner.benchmark.encoders import ENCODERS
from samner.errors import SamnerError
from samner.evaluation.config import SETUP_KEYS, Setup, data_folder, read_setup
from samner.merging.registry import make_method, methods
from samner.settings import Section, read_yaml
from samner.task_model import MODES, check_threshold

OWN_MODES = (
    "base",
    "expert",
    "experts",
    "baseline",
    "all",
    "random",
    "economy-unweighted",
    "economy-common",
    "economy-average",
    "ensemble-union",
    "ensemble-majority",
    "oracle",
    "oracle-single",
)
"""What can be measured beside the modes of ``samner.adapt``; see ``samner.benchmark.plans``."""

_SINGLE = {
    **{mode: {"threshold"} for mode in ("base", "experts", "oracle-single")},
    "expert": {"name", "threshold"},
    "baseline": {"name", "threshold", "lam"},
}
"""What can be said of a model that is read as it is, by mode."""

_RESERVED = {"pool", "texts", "types", "mode", "selections", "count", "seed"}
SELECTING = frozenset(inspect.signature(select).parameters) - _RESERVED | {"experts"}
"""Arguments that go to ``select``, which calls the number of experts ``count``."""
WEIGHING = frozenset(inspect.signature(recipes).parameters) - _RESERVED
"""Arguments that go to ``recipes``."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to answer, measured on every target.

    Args:
        name: Unique.
        group: The table or plot it belongs to.
        mode: One of ``samner.task_model.MODES`` or `OWN_MODES`.
        title: For people.
        seeds: Of each run.
        options: The arguments that differ from the configuration's, method and its parameters among them.
        x: The value that was varied.
        texts: How many test texts are read; all if none.
    """

    name: str
    group: str
    mode: str
    title: str
    seeds: tuple[int, ...]
    options: Mapping[str, Any]
    x: Any = None
    texts: int | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """Published figures, for orientation.

    Args:
        name: Of the model.
        source: Where they are from.
        scores: Target to F1 times 100.
    """

    name: str
    source: str
    scores: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark(Setup):
    """A benchmark, as a YAML file describes it.

    Args:
        arms: In the order of groups and tables.
        comparisons: Names of two arms each, to be tested against each other.
        published: Figures of other models.
        domains: For each expert the files it was trained on, for the encoders that need them.
        oracle_texts: How many of the first test texts the oracle searches on.
    """

    arms: tuple[Arm, ...]
    comparisons: tuple[tuple[str, str], ...] = ()
    published: tuple[Published, ...] = ()
    domains: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    oracle_texts: int = 200

    def settings(self) -> dict[str, Any]:
        """What arms have in common unless they say otherwise; as JSON values."""
        return {
            "experts": self.experts,
            "samples": self.samples,
            "seed": self.seed,
            "seeds": sorted({seed for arm in self.arms for seed in arm.seeds}),
            "merge": {"method": self.method, **self.parameters},
            "baselines": list(self.baselines),
        }


def read_benchmark(path: Path, data: Path | None = None) -> Benchmark:
    """Read and check a YAML file.

    Args:
        path: Of the file. Targets' and domains' files are relative to the data folder, a pool's folder to the file.
        data: The data folder; by default the one that the file names (``data:``), else the file's own folder.

    Raises:
        SamnerError: If the file cannot be read, has an unknown key, a value of the wrong type or out of range, or
            names a file that does not exist; the message names the file and the key.
    """
    values = read_yaml(path)
    values.only(*SETUP_KEYS, "groups", "comparisons", "published", "domains", "oracle")
    root = data_folder(values, path, data)
    setup = Setup(**read_setup(values, path, root))
    oracle = values.section("oracle")
    oracle.only("texts")
    domains = values.section("domains")
    arms = tuple(_arms(values.section("groups"), setup))
    return Benchmark(
        **{name: getattr(setup, name) for name in Setup.__dataclass_fields__},
        arms=arms,
        comparisons=_comparisons(values, {arm.name: arm for arm in arms}),
        published=_published(values.section("published"), [target.name for target in setup.targets]),
        domains={name: domains.files(name, root) for name in domains.values},
        oracle_texts=oracle.integer("texts", 200, least=1),
    )


def _arms(groups: Section, setup: Setup) -> list[Arm]:
    if not groups.values:
        raise groups.error("", "at least one group of arms is needed, for instance {main: {arms: {union: {}}}}")
    arms: list[Arm] = []
    for name in groups.values:
        group = groups.section(name)
        group.only("arms", "vary", "label", "seeds", "texts")
        for arm in _group(name, group, setup):
            if arm.name in {other.name for other in arms}:
                raise group.error("arms", f"there is an arm {arm.name!r} already")
            arms.append(arm)
    return arms


def _group(name: str, group: Section, setup: Setup) -> list[Arm]:
    arms = group.section("arms")
    if not arms.values:
        raise group.error("arms", "at least one arm is needed, for instance {union: {}}")
    vary = group.section("vary")
    if len(vary.values) > 1:
        raise group.error("vary", f"one argument can be varied at a time, not {', '.join(vary.values)}")
    values: list[dict[str, Any]] = [{key: value} for key in vary.values for value in vary.anything(key)]
    label = group.text("label", next(iter(vary.values), name))
    texts = group.integer("texts", 1, least=1) if "texts" in group.values else None
    made = []
    for arm, varied in itertools.product(arms.values, values or [{}]):
        section = arms.section(arm)
        options = {**section.values, **varied}
        mode = section.text("mode", arm)
        title = section.text("title", arm)
        seeds = section.integers("seeds", group.integers("seeds", (setup.seed,), least=0), least=0)
        for key in ("mode", "title", "seeds"):
            options.pop(key, None)
        _check(section, mode, options, setup)
        x = next(iter(varied.values()), None)
        ending = f" {label}={x}" if varied else ""
        made.append(Arm(arm + ending, name, mode, title + ending, seeds, options, x, texts))
    return made


def _check(section: Section, mode: str, options: Mapping[str, Any], setup: Setup) -> None:
    if mode not in (*MODES, *OWN_MODES):
        raise section.error("mode", f"unknown {mode!r}; known are {', '.join((*MODES, *OWN_MODES))}")
    if mode in ("expert", "baseline"):
        section.text("name")
        if mode == "baseline" and options["name"] not in setup.baselines:
            raise section.error("name", f"{options['name']!r} is not among the baselines of the file")
    elif "name" in options:
        raise section.error("name", f"only the modes expert and baseline have one, not {mode}")
    if mode in _SINGLE and (foreign := set(options) - _SINGLE[mode]):
        takes = ", ".join(sorted(_SINGLE[mode]))
        raise section.error("", f"unknown argument {min(foreign)!r}; the mode {mode} takes {takes}")
    if options.get("encoder", ENCODERS[0]) not in ENCODERS:
        raise section.error("encoder", f"unknown {options['encoder']!r}; known are {', '.join(ENCODERS)}")
    try:
        if "threshold" in options:
            check_threshold(options["threshold"])
        method, parameters = merging(setup, options, setup.seed)
        make_method(method, dict(parameters))
    except (SamnerError, TypeError) as error:
        raise section.error("", str(error)) from error


def merging(setup: Setup, options: Mapping[str, Any], seed: int) -> tuple[str, dict[str, Any]]:
    """Merge method and parameters of an arm: its own, and of the configuration's what the method knows.

    Args:
        setup: The configuration.
        options: Of the arm.
        seed: For a method that is random.

    Raises:
        SamnerError: If the method is unknown, or an option is not known to anything that takes options.
    """
    method = options.get("method", setup.method)
    if method not in methods():
        raise SamnerError(f"unknown merge method {method!r}; known are {', '.join(methods())}")
    known = methods()[method]
    given = {key: value for key, value in setup.parameters.items() if key in known}
    elsewhere = {*SELECTING, *WEIGHING, "method", "threshold", "encoder", "name"}
    own = {key: value for key, value in options.items() if key not in elsewhere}
    if unknown := set(own) - set(known):
        listed = ", ".join(sorted({*known, *elsewhere}))
        raise SamnerError(f"unknown argument {min(unknown)!r}; with the method {method!r} there are {listed}")
    seeded = {"seed": seed} if "seed" in known else {}
    return method, {**given, **seeded, **own}


def _comparisons(values: Section, arms: Mapping[str, Arm]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for pair in values.anything("comparisons", []):
        if not isinstance(pair, list) or len(pair) != 2 or pair[0] == pair[1]:
            raise values.error("comparisons", f"each must be a list of two different arms, not {pair!r}")
        for name in pair:
            if name not in arms:
                raise values.error("comparisons", f"there is no arm {name!r}; there are {', '.join(arms)}")
        if arms[pair[0]].texts != arms[pair[1]].texts:
            raise values.error("comparisons", f"{pair[0]} and {pair[1]} do not read the same texts")
        pairs.append((str(pair[0]), str(pair[1])))
    return tuple(pairs)


def _published(section: Section, targets: Sequence[str]) -> tuple[Published, ...]:
    found = []
    for name in section.values:
        one = section.section(name)
        one.only("source", "scores")
        scores = one.section("scores")
        scores.only(*targets)
        found.append(Published(name, one.text("source"), {key: scores.number(key) for key in scores.values}))
    return tuple(found)
