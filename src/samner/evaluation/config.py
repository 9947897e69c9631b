"""What an evaluation measures: a YAML file of targets and settings, checked before any work begins."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samner.errors import SamnerError
from samner.merging.registry import make_method
from samner.pool.card import check_name
from samner.settings import Section, read_yaml

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What an evaluation and a benchmark have in common.

    Args:
        path: The YAML file.
        pool: ``"builtin"``, a folder or a hub id.
        targets: In the order of the tables.
        seed: Of the draw of the sample texts, and of the bootstrap.
        experts: How many experts each strategy picks.
        samples: How many texts selection by sampling draws.
        method: Merge method.
        parameters: Its parameters; what is not named keeps its default.
        baselines: Adapters below ``baselines/`` in the pool's folder.
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
    averages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


SETUP_KEYS = ("data", "pool", "targets", "seed", "experts", "samples", "merge", "baselines", "averages")
"""The keys of a file that ``read_setup`` looks at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config(Setup):
    """An evaluation, as a YAML file describes it.

    Args:
        arms: Which of `ARMS` to measure.
    """

    arms: tuple[str, ...] = ARMS

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
    values = read_yaml(path)
    values.only(*SETUP_KEYS, "arms")
    setup = read_setup(values, path, data_folder(values, path, data))
    return Config(**setup, arms=values.names("arms", ARMS, known=ARMS))


def data_folder(values: Section, path: Path, data: Path | None) -> Path:
    """The folder that a file's paths are relative to; see ``read_config``.

    Raises:
        SamnerError: If there is none.
    """
    root = data or path.parent / values.text("data", ".")
    if not root.is_dir():
        raise values.error("" if data else "data", f"no such folder: {root}")
    return root


def read_setup(values: Section, path: Path, root: Path) -> dict[str, Any]:
    """The fields of a ``Setup``.

    Args:
        values: Of the file.
        path: Of the file.
        root: The data folder.

    Raises:
        SamnerError: As ``read_config``.
    """
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
    return {
        "path": path,
        "pool": str(path.parent / pool) if (path.parent / pool).is_dir() else pool,
        "targets": targets,
        "seed": values.integer("seed", 0, least=0),
        "experts": values.integer("experts", 3, least=1),
        "samples": values.integer("samples", 10, least=1),
        "method": method,
        "parameters": parameters,
        "baselines": baselines,
        "averages": _averages(values.section("averages"), [target.name for target in targets]),
    }


def _targets(section: Section, root: Path) -> list[Target]:
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


def _averages(section: Section, targets: Sequence[str]) -> dict[str, tuple[str, ...]]:
    if "all" in section.values:
        raise section.error("all", "this average is always there; give another title")
    return {title: section.names(title, known=targets) for title in section.values}
