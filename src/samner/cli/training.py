"""What ``samner train`` is given: data sets on disk, dev splits, options."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samner.cli.output import say
from samner.data import read_examples
from samner.data.formats.datasets import is_dataset
from samner.data.formats.registry import FORMATS
from samner.entities import Example
from samner.errors import DataError, SamnerError

if TYPE_CHECKING:
    from samner.backbones import TrainingData

_SUFFIXES = {suffix for format in FORMATS.values() for suffix in format.suffixes} - {".txt"}
_DEV_SHARE = 0.1
_DEV_TEXTS = 20
"""Fewer held-out texts tell too little, and so many must be left to learn from."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data set as it lies on disk."""

    name: str
    train: Path
    dev: Path | None = None


@dataclass(frozen=True, slots=True)
class Labelled:
    """A data set that was read."""

    name: str
    train: list[Example]
    dev: list[Example] | None = None


def find_sources(paths: Sequence[Path], dev: Sequence[Path]) -> list[Source]:
    """The data sets that were named: files, or folders with a file ``train`` and maybe one ``dev``.

    Args:
        paths: Files and folders with training data.
        dev: One dev file for each of them, in their order; or none.

    Raises:
        SamnerError: If one is missing, or the dev files do not fit them.
    """
    if dev and len(dev) != len(paths):
        raise SamnerError(
            f"there are {len(dev)} --dev files for {len(paths)} data sets; give one for each, in their order, or none"
        )
    sources = [_find(path) for path in paths]
    if dev:
        sources = [Source(source.name, source.train, file) for source, file in zip(sources, dev, strict=True)]
    names = Counter(source.name for source in sources)
    sources = [
        s if names[s.name] == 1 else Source(str(path), s.train, s.dev) for s, path in zip(sources, paths, strict=True)
    ]
    if twice := next((name for name, count in Counter(s.name for s in sources).items() if count > 1), None):
        raise SamnerError(f"{twice} is given twice")
    return sources


def _find(path: Path) -> Source:
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir() and not is_dataset(path):
        train = _split(path, "train")
        if train is None:
            raise DataError(f"{path}: holds no train.jsonl (or {', '.join(sorted(_SUFFIXES - {'.jsonl'}))})")
        return Source(path.resolve().name, train, _split(path, "dev", "valid", "validation"))
    stem = path.name if path.is_dir() else path.stem
    return Source(path.resolve().parent.name if stem == "train" else stem, path)


def _split(folder: Path, *names: str) -> Path | None:
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.stem in names and (path.suffix.lower() in _SUFFIXES if path.is_file() else is_dataset(path))
    ]
    if len(found) > 1:
        raise DataError(f"{folder}: holds both {found[0].name} and {found[1].name}; name one of them instead")
    return found[0] if found else None


def read_sources(sources: Sequence[Source], format: str | None) -> list[Labelled]:
    """Read the data sets.

    Raises:
        DataError: If one cannot be read.
    """
    return [
        Labelled(s.name, read_examples(s.train, format), None if s.dev is None else read_examples(s.dev, format))
        for s in sources
    ]


def training_data(data: Sequence[Labelled], seed: int, foreign: Sequence[str], *, quiet: bool = False) -> TrainingData:
    """What to train on; part of the training texts is held out where there is no dev split.

    Args:
        data: The data sets.
        seed: Of the draw of what is held out.
        foreign: Prompts of types of other data sets.
        quiet: Say nothing of what is held out.

    Raises:
        SamnerError: If nothing is labelled in one.
    """
    from samner.backbones import TrainingData
    from samner.training import training_set

    train, dev = [], []
    for each in data:
        types = training_set(each.name, each.train).types
        rest, held_out = _hold_out(each, seed, quiet) if each.dev is None else (each.train, each.dev)
        train.append(training_set(each.name, rest, types))
        if held_out:
            dev.append(training_set(each.name, held_out, types))
    return TrainingData(train, dev, foreign)


def _hold_out(data: Labelled, seed: int, quiet: bool) -> tuple[list[Example], list[Example]]:
    tell: Callable[[str], None] = (lambda line: None) if quiet else say
    texts = list(dict.fromkeys(example.text for example in data.train))
    count = max(_DEV_TEXTS, round(_DEV_SHARE * len(texts)))
    if len(texts) - count < _DEV_TEXTS:
        tell(f"{data.name}: too few texts ({len(texts)}) to hold some out: there is no dev score, no early stopping")
        return data.train, []
    picked = set(random.Random(seed).sample(texts, count))
    tell(f"{data.name}: {count} of its {len(texts)} texts, drawn at random, are held out as dev split")
    return [e for e in data.train if e.text not in picked], [e for e in data.train if e.text in picked]


def parse_options(pairs: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """The options given as ``key=value``, each of the kind that its default has.

    Raises:
        SamnerError: If one is not of that form, unknown, given twice, or not a number where one is needed.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise SamnerError(f"--option {pair}: write key=value, for instance --option epochs=5")
        if key not in known:
            there = ", ".join(f"{name}={'none' if value is None else value}" for name, value in known.items())
            raise SamnerError(f"unknown training option {key!r}; there are, with their defaults: {there}")
        if key in options:
            raise SamnerError(f"the training option {key!r} is given twice")
        options[key] = _value(key, value, known[key])
    return options


def _value(key: str, value: str, default: Any) -> Any:
    if isinstance(default, str):
        return value
    if isinstance(default, bool):
        if value.lower() not in ("true", "false"):
            raise SamnerError(f"the training option {key!r} must be true or false, not {value!r}")
        return value.lower() == "true"
    if default is None and value.lower() == "none":
        return None
    try:
        return int(value)
    except ValueError:
        pass
    whole = isinstance(default, int)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if whole or not math.isfinite(number):
        raise SamnerError(f"the training option {key!r} must be a {'whole ' if whole else ''}number, not {value!r}")
    return number


def parse_licences(given: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Licence by data set, from ``LICENCE`` (of all data sets) and ``NAME=LICENCE``; the latter goes first.

    Raises:
        SamnerError: If a licence is of a data set that there is not.
    """
    licences: dict[str, str] = {}
    for value in given:
        name, equals, licence = (part.strip() for part in value.partition("="))
        if not equals:
            licences = dict.fromkeys(names, name) | licences
        elif name in names:
            licences[name] = licence
        else:
            raise SamnerError(f"--licence {value}: there is no data set {name!r}; there are {', '.join(names)}")
    return licences
