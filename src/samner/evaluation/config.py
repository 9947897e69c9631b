"""What an evaluation measures: a YAML file of targets and settings, checked before any work begins."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from samner.errors import SamnerError
from samner.merging.registry import make_method
from samner.pool.card import check_name

ARMS = ("base", "experts", "baselines", "similarity", "sampling", "union", "economy")
"""What can be measured on a target: the base, each expert and each baseline alone, and what ``adapt`` makes."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")  # a target's name is a file name, too


@dataclass(frozen=True, slots=True)
class Target:
    """A domain to measure on.

    Args:
        name: What tables call it.
        test: Labelled texts; read for scoring only.
        unlabeled: Texts to adapt to; if they have labels, these are not looked at.
    """

    name: str
    test: Path
    unlabeled: Path


@dataclass(frozen=True, slots=True)
class Config:
    """An evaluation, as a YAML file describes it.

    Args:
        path: That file.
        pool: ``"builtin"``, a folder or a hub id.
        targets: In the order of the tables.
        seed: Of the draw of the sample texts, and of the bootstrap.
        experts: How many experts each strategy picks.
        samples: How many texts selection by sampling draws.
        method: Merge method.
        parameters: Its parameters; what is not named keeps its default.
        baselines: Adapters below ``baselines/`` in the pool's folder.
        arms: Which of `ARMS` to measure.
        averages: Titles of averages over some targets, with their names; the one over all is always there.
    """

    path: Path
    pool: str
    targets: tuple[Target, ...]
    seed: int = 0
    experts: int = 3
    samples: int = 10
    method: str = "ties"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    baselines: tuple[str, ...] = ()
    arms: tuple[str, ...] = ARMS
    averages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """What decides the numbers of a target beside its texts and the pool; as JSON values."""
        return {
            "seed": self.seed,
            "experts": self.experts,
            "samples": self.samples,
            "merge": {"method": self.method, **self.parameters},
            "baselines": list(self.baselines),
            "arms": list(self.arms),
        }


def read_config(path: Path, data: Path | None = None) -> Config:
    """Read and check a YAML file.

    Args:
        path: Of the file. A target's files are relative to the data folder, a pool's folder to the file.
        data: The data folder; by default the one that the file names (``data:``), else the file's own folder.

    Raises:
        SamnerError: If the file cannot be read, has an unknown key, a value of the wrong type or out of range, or
            names a file that does not exist; the message names the file and the key.
    """
    values = _Section(path, "", _load(path))
    values.only("data", "pool", "targets", "seed", "experts", "samples", "merge", "baselines", "arms", "averages")
    root = data or path.parent / values.text("data", ".")
    if not root.is_dir():
        raise values.error("" if data else "data", f"no such folder: {root}")
    merge = values.section("merge")
    method, parameters = merge.text("method", "ties"), {k: v for k, v in merge.values.items() if k != "method"}
    try:
        make_method(method, dict(parameters))
    except SamnerError as error:
        raise values.error("merge", str(error)) from error
    baselines = values.names("baselines", ())
    for name in baselines:
        try:
            check_name(name)
        except SamnerError as error:
            raise values.error("baselines", str(error)) from error
    pool = values.text("pool", "builtin")
    targets = tuple(_targets(values.section("targets"), root))
    return Config(
        path=path,
        pool=str(path.parent / pool) if (path.parent / pool).is_dir() else pool,
        targets=targets,
        seed=values.integer("seed", 0, least=0),
        experts=values.integer("experts", 3, least=1),
        samples=values.integer("samples", 10, least=1),
        method=method,
        parameters=parameters,
        baselines=baselines,
        arms=values.names("arms", ARMS, known=ARMS),
        averages=_averages(values.section("averages"), [target.name for target in targets]),
    )


def _targets(section: _Section, root: Path) -> list[Target]:
    if not section.values:
        raise section.error("", "at least one target is needed, for instance {my-domain: {test: ..., unlabeled: ...}}")
    targets = []
    for name in section.values:
        if not _NAME.fullmatch(name):
            raise section.error(name, "a target's name may hold letters, digits, '.', '-' and '_', up to 100")
        one = section.section(name)
        one.only("test", "unlabeled")
        targets.append(Target(name, one.file("test", root), one.file("unlabeled", root)))
    return targets


def _averages(section: _Section, targets: Sequence[str]) -> dict[str, tuple[str, ...]]:
    if "all" in section.values:
        raise section.error("all", "this average is always there; give another title")
    return {title: section.names(title, known=targets) for title in section.values}


class _Section:
    """A mapping of the file; every way to look at it checks the value and names the key where it is wrong."""

    def __init__(self, path: Path, place: str, values: object) -> None:
        self._path = path
        self._place = place
        if not isinstance(values, dict):
            raise self.error("", f"must be a mapping of keys to values, not {_kind(values)}")
        for key in values:
            if not isinstance(key, str):
                raise self.error("", f"the key {key!r} must be a string; put it in quotes")
        self.values: dict[str, Any] = values

    def error(self, key: str, reason: str) -> SamnerError:
        place = ".".join(part for part in (self._place, key) if part)
        return SamnerError(": ".join(part for part in (str(self._path), place, reason) if part))

    def only(self, *keys: str) -> None:
        for key in self.values:
            if key not in keys:
                raise self.error(key, f"unknown key; known are {', '.join(keys)}")

    def section(self, key: str) -> _Section:
        place = ".".join(part for part in (self._place, key) if part)
        return _Section(self._path, place, self.values.get(key, {}))

    def text(self, key: str, default: str | None = None) -> str:
        value = self.values.get(key, default)
        if value is None and key not in self.values:
            raise self.error(key, "is missing")
        if not isinstance(value, str) or not value.strip():
            raise self.error(key, f"must be a string that is not blank, not {_kind(value)}")
        return value

    def integer(self, key: str, default: int, *, least: int) -> int:
        value = self.values.get(key, default)
        # bool is a subclass of int, but true is no number
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.error(key, f"must be a whole number of at least {least}, not {value!r}")
        return value

    def names(self, key: str, default: Sequence[str] = (), known: Sequence[str] | None = None) -> tuple[str, ...]:
        value = self.values.get(key, list(default))
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise self.error(key, f"must be a list of names, not {value!r}")
        if known is not None and not value:
            raise self.error(key, f"must not be empty; known are {', '.join(known)}")
        for name in value:
            if known is not None and name not in known:
                raise self.error(key, f"unknown {name!r}; known are {', '.join(known)}")
            if value.count(name) > 1:
                raise self.error(key, f"{name!r} is given twice")
        return tuple(value)

    def file(self, key: str, root: Path) -> Path:
        path = root / self.text(key)
        if not path.exists():
            raise self.error(key, f"no such file: {path}")
        return path


def _load(path: Path) -> object:
    try:
        # a subclass of yaml's safe loader: it makes plain values only
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        raise SamnerError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise SamnerError(f"{path}: is not UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise SamnerError(f"{place}: not valid YAML ({error.problem})") from error
    except yaml.YAMLError as error:
        raise SamnerError(f"{path}: not valid YAML ({str(error).splitlines()[0]})") from error


class _Loader(yaml.SafeLoader):
    """Refuses a key given twice, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key, (key_node, _) in reversed(list(zip(keys, node.value, strict=True))):
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
        return super().construct_mapping(node, deep)


def _kind(value: object) -> str:
    return "nothing" if value is None else f"{value!r}"
