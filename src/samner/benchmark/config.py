"""What a benchmark measures: a YAML file of pools, targets and groups of arms, checked before any work begins.

A group holds arms, each a mode with the arguments that it changes. ``vary`` gives one argument several values, and
every arm of the group is measured with each:

    k:
      texts: 200                              # read only the first so many test texts of each target
      vary: {experts: [1, 2, 3]}
      label: k                                # the arms are called "union k=1", ...
      arms: {union: {}, economy: {}}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from samner.display import known_names
from samner.errors import SamnerError
from samner.merging.registry import make_method, methods
from samner.pool import ExpertPool
from samner.settings import Settings, read_yaml_settings
from samner.task_model import modes

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
"""What can be measured beside the modes of ``samner.adapt``; see ``samner.benchmark.arms``."""

_SINGLE = {
    **{mode: {"threshold"} for mode in ("base", "experts", "oracle-single")},
    "expert": {"name", "threshold"},
    "baseline": {"name", "threshold", "lam"},
}
"""What can be said of a model that is read as it is, by mode."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
Positive = Annotated[int, Field(ge=1)]
Seeds = Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1)]


class TargetSettings(Settings):
    """A domain to measure on; paths are relative to the data folder.

    Args:
        test: Labelled texts; read for scoring only.
        unlabeled: Texts to adapt to; if they have labels, these are not looked at.
        seen_types: Types that some training set names: scores are given with and without them.
    """

    test: str
    unlabeled: str
    seen_types: tuple[str, ...] = ()


class ArmSettings(Settings):
    """One way to answer; what it does not say is as the benchmark says. Other keys are parameters of the merge method.

    Args:
        mode: One of ``samner.task_model.modes()`` or `OWN_MODES`; by default the arm's name.
        title: For people; by default the arm's name.
        seeds: Of each run.
        name: Of the expert or baseline, for the modes of these names.
        threshold: Score from which an entity counts; by default the base model's own.
        experts: How many experts a strategy picks, or are drawn or searched for.
        samples: How many texts selection by sampling draws.
        exclude: Experts to leave out.
        method: Merge method.
    """

    model_config = ConfigDict(extra="allow")

    mode: str | None = None
    title: str | None = None
    seeds: Seeds | None = None
    name: str | None = None
    threshold: Annotated[float, Field(gt=0, lt=1)] | None = None
    experts: Positive | Literal["auto"] | None = None
    samples: Positive | None = None
    exclude: tuple[str, ...] = ()
    method: str | None = None

    def options(self) -> dict[str, Any]:
        """The arguments that were given, the parameters of the merge method among them."""
        return self.model_dump(exclude={"mode", "title", "seeds"}, exclude_unset=True)


class GroupSettings(Settings):
    """Arms that one table or plot shows.

    Args:
        arms: By name.
        vary: One argument with the values that every arm is measured with.
        label: What the argument is called in the arms' names.
        seeds: Of each run, unless the arm says otherwise.
        texts: How many test texts are read, from the first; all by default.
    """

    arms: Annotated[dict[str, ArmSettings], Field(min_length=1)]
    vary: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(max_length=1, default_factory=dict)]
    label: str | None = None
    seeds: Seeds | None = None
    texts: Positive | None = None


class PublishedSettings(Settings):
    """Figures of another system, for orientation: where they are from, and target to F1 times 100."""

    source: str
    scores: dict[str, float]


class OracleSettings(Settings):
    """How many of the first test texts the oracle searches on."""

    texts: Positive = 200


class BenchmarkSettings(Settings):
    """A benchmark, as a YAML file describes it.

    Args:
        pool: ``"builtin"``, a folder (relative to the file) or a hub id; or several by title.
        data: The folder that the targets' files are relative to; by default the file's own.
        targets: In the order of the tables.
        groups: Arms, in the order of the tables.
        seed: Of the draw of the sample texts, of random merges, and of the bootstrap.
        experts: How many experts each strategy picks.
        samples: How many texts selection by sampling draws.
        merge: ``method`` and its parameters; what is not named is as the pool or the method says.
        baselines: Adapters below ``baselines/`` in the pool's folder.
        averages: Titles of averages over some targets, with their names; the one over all is always there.
        comparisons: Names of two arms each, to be tested against each other.
        published: Figures of other systems by name.
        oracle: How it searches.
    """

    pool: str | Annotated[dict[Name, str], Field(min_length=1)] = "builtin"
    data: str = "."
    targets: Annotated[dict[Name, TargetSettings], Field(min_length=1)]
    groups: Annotated[dict[str, GroupSettings], Field(min_length=1)]
    seed: Annotated[int, Field(ge=0)] = 0
    experts: Positive = 3
    samples: Positive = 10
    merge: dict[str, Any] = Field(default_factory=dict)
    baselines: tuple[str, ...] = ()
    averages: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(default_factory=dict)
    comparisons: tuple[tuple[str, str], ...] = ()
    published: dict[str, PublishedSettings] = Field(default_factory=dict)
    oracle: OracleSettings = OracleSettings()

    @property
    def method(self) -> str:
        """Merge method of arms that name none."""
        return str(self.merge.get("method", "ties"))

    @model_validator(mode="after")
    def _names(self) -> BenchmarkSettings:
        """Whatever is named has to be there."""
        if "all" in self.averages:
            raise ValueError("averages.all: this average is always there; give another title")
        lists = {f"averages.{title}": names for title, names in self.averages.items()}
        lists |= {f"published.{name}.scores": tuple(one.scores) for name, one in self.published.items()}
        for place, names in lists.items():
            if unknown := [name for name in names if name not in self.targets]:
                there = known_names(unknown[0], self.targets)
                raise ValueError(f"{place}: there is no target {unknown[0]!r}; there are {there}")
        parameters = {key: value for key, value in self.merge.items() if key != "method"}
        _checked("merge", lambda: make_method(self.method, parameters))
        arms: dict[str, Arm] = {}
        for arm in self.arms():
            if arm.name in arms:
                raise ValueError(f"groups.{arm.group}.arms: there is an arm {arm.name!r} already")
            arms[arm.name] = arm
        for pair in self.comparisons:
            if unknown := [name for name in pair if name not in arms]:
                there = known_names(unknown[0], arms)
                raise ValueError(f"comparisons: there is no arm {unknown[0]!r}; there are {there}")
            if arms[pair[0]].texts != arms[pair[1]].texts:
                raise ValueError(f"comparisons: {pair[0]} and {pair[1]} do not read the same texts")
        return self

    def arms(self) -> Iterator[Arm]:
        """Every arm, the ones with a varied argument once for each of its values.

        Raises:
            ValueError: If an argument is not one of its mode or merge method, or out of range.
        """
        for (title, group), arm in ((item, arm) for item in self.groups.items() for arm in item[1].arms):
            for key, value in [(k, v) for k, values in group.vary.items() for v in values] or [("", None)]:
                yield self._arm(title, group, arm, key, value)

    def _arm(self, title: str, group: GroupSettings, name: str, varied: str, value: Any) -> Arm:
        given, place = group.arms[name], f"groups.{title}.arms.{name}"
        options = given.options()
        if varied:
            options = _checked(place, lambda: ArmSettings.model_validate({**options, varied: value}).options())
        mode = given.mode or name
        if mode not in (known := (*modes(), *OWN_MODES)):
            raise ValueError(f"{place}.mode: unknown {mode!r}; known are {', '.join(known)}")
        if mode == "baseline" and options.get("name") not in self.baselines:
            raise ValueError(f"{place}.name: must be one of the baselines of the file, not {options.get('name')!r}")
        if (mode in ("expert", "baseline")) != ("name" in options):
            raise ValueError(f"{place}.name: the modes expert and baseline need one, others have none")
        if mode in _SINGLE and (foreign := set(options) - _SINGLE[mode]):
            takes = ", ".join(sorted(_SINGLE[mode]))
            raise ValueError(f"{place}: unknown argument {min(foreign)!r}; the mode {mode} takes {takes}")
        _checked(place, lambda: make_method(*self.merging(options, self.seed)))
        ending = f" {group.label or varied}={value}" if varied else ""
        seeds = given.seeds or group.seeds or (self.seed,)
        return Arm(name + ending, title, mode, (given.title or name) + ending, seeds, options, value, group.texts)

    def merging(self, options: Mapping[str, Any], seed: int) -> tuple[str, dict[str, Any]]:
        """Merge method and parameters of an arm: its own, and of the benchmark's what the method knows.

        Args:
            options: Of the arm.
            seed: For a method that is random.

        Raises:
            SamnerError: If the method is unknown, or an option is no argument of an arm nor of the method.
        """
        method = options.get("method", self.method)
        if method not in methods():
            raise SamnerError(f"unknown merge method {method!r}; known are {', '.join(methods())}")
        known = methods()[method]
        own = {key: value for key, value in options.items() if key not in ArmSettings.model_fields}
        if unknown := set(own) - set(known):
            raise SamnerError(
                f"unknown argument {min(unknown)!r}; with the method {method!r} there are "
                f"{', '.join(sorted({*known, *ArmSettings.model_fields}))}"
            )
        shared = {key: value for key, value in self.merge.items() if key in known}
        return method, {**shared, **({"seed": seed} if "seed" in known else {}), **own}


def _checked(place: str, check: Any) -> Any:
    """What a check gives; what it refuses, as pydantic wants to be told."""
    try:
        return check()
    except (SamnerError, TypeError, ValueError) as error:
        problems = getattr(error, "errors", None)
        reason = problems()[0]["msg"] if problems else str(error)
        raise ValueError(f"{place}: {reason}" if place else reason) from error


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to answer, measured on every target.

    Args:
        name: Unique.
        group: The table or plot it belongs to.
        mode: One of ``samner.task_model.modes()`` or `OWN_MODES`.
        title: For people.
        seeds: Of each run.
        options: The arguments that differ from the benchmark's, method and its parameters among them.
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
class Benchmark:
    """What is to be measured in one run.

    Args:
        path: The YAML file.
        settings: What it says.
        pools: Title to ``"builtin"``, a folder or a hub id.
        targets: Those asked for, their paths resolved.
        arms: Those asked for.
    """

    path: Path
    settings: BenchmarkSettings
    pools: Mapping[str, str]
    targets: Mapping[str, TargetSettings]
    arms: Sequence[Arm]


def read_benchmark(
    path: Path,
    *,
    data: Path | None = None,
    pools: Sequence[str] = (),
    only: Sequence[str] = (),
    groups: Sequence[str] = (),
    arms: Sequence[str] = (),
) -> Benchmark:
    """Read and check a YAML file.

    Args:
        path: Of the file.
        data: The data folder, in place of what the file says.
        pools: In place of what the file says.
        only: Names of targets, to measure these alone.
        groups: Names of groups of arms, to measure these alone.
        arms: Names of arms, to measure these alone; together with ``groups``, what either names.

    Raises:
        SamnerError: If the file cannot be read or a value is not as it must be (the message names the file and the
            field), a file it names is not there, or a name given is not in it.
        PoolError: If one of ``pools`` does not exist.
    """
    settings = read_yaml_settings(path, BenchmarkSettings)
    every = list(settings.arms())
    _known(path, "target", only, settings.targets)
    _known(path, "group", groups, settings.groups)
    _known(path, "arm", arms, [arm.name for arm in every])
    root = data or path.parent / settings.data
    if not root.is_dir():
        raise SamnerError(f"{path}: data: no such folder: {root}" if data is None else f"no such folder: {root}")
    targets = {}
    for name, target in settings.targets.items():
        files = {"test": root / target.test, "unlabeled": root / target.unlabeled}
        for key, file in files.items():
            if not file.exists():
                raise SamnerError(f"{path}: targets.{name}.{key}: no such file: {file}")
        if not only or name in only:
            targets[name] = target.model_copy(update={key: str(file) for key, file in files.items()})
    for pool in pools:
        ExpertPool.load(pool)  # if it is not there, not the file's fault, which a message would blame later
    named = settings.pool if isinstance(settings.pool, dict) else {settings.pool: settings.pool}
    beside = {title: str(path.parent / pool) for title, pool in named.items() if (path.parent / pool).is_dir()}
    return Benchmark(
        path,
        settings,
        {Path(pool).name: pool for pool in pools} if pools else {**named, **beside},
        targets,
        [arm for arm in every if not (groups or arms) or arm.group in groups or arm.name in arms],
    )


def _known(path: Path, what: str, asked: Sequence[str], known: Sequence[str] | Mapping[str, Any]) -> None:
    for name in asked:
        if name not in known:
            raise SamnerError(f"{path}: has no {what} {name!r}; it has: {known_names(name, known)}")
