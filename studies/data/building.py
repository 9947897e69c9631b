"""Sets from sources: what is left out, what is drawn, and writing it; the same for all sets of a kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import re

from samner.data import read_examples, write_examples
from samner.entities import Entity, Example
from samner.errors import SamnerError
from samner.files import atomic_folder, inside
from studies.data.drawing import cover, distinct, draw, hold_out, key, keys, shuffled, tenths, tenths_of_files, thin
from studies.data.readers import READERS
from studies.data.repositories import Repositories
from studies.data.sources import Files, Source


class Part(NamedTuple):
    """The texts of a part, and those they were drawn from."""

    rows: list[Example]
    drawn_from: list[Example]


@dataclass(frozen=True)
class Limits:
    """How many texts each part has at most, and how many words a text."""

    parts: Mapping[str, int]
    words: int | None = None

    def short(self, row: Example) -> bool:
        """Whether a text is not too long."""
        return self.words is None or len(row.text.split()) <= self.words


TARGET = Limits({"unlabeled": 500, "test": 2000})
TRAIN = Limits({"train": 10_000, "dev": 1500, "test": 1500}, words=400)
WIDE = Limits({"train": 6000, "dev": 600, "test": 800}, words=300)
PILE_DEV = 150


class Builder:
    """Builds sets; what a set must not hold of others is looked up in the sources, or in the folder.

    Args:
        sources: All there are, by name.
        repositories: Where their files are.
        folder: Of the sets that are there: what is wide leaves out the texts of target/, and of train's dev and test.
    """

    def __init__(self, sources: Mapping[str, Source], repositories: Repositories, folder: Path) -> None:
        self.sources, self.repositories, self.folder = sources, repositories, folder

    def build(self, name: str) -> dict[str, Part]:
        """The parts of a set.

        Raises:
            SamnerError: If a file of its source cannot be had or read, or a set that it needs is not there.
        """
        kinds: dict[str, Callable[[Source], dict[str, Part]]] = {
            "target": self._target,
            "train": self._train,
            "foundation": self._foundation,
            "wide": self._wide,
        }
        source = self.sources[name]
        try:
            return kinds[source.kind](source)
        except (KeyError, IndexError, TypeError, ValueError, StopIteration) as error:
            raise SamnerError(f"{name}: its files are not as they were expected ({type(error).__name__}: {error})") from error

    def write(self, name: str) -> dict[str, Part]:
        """Build a set and write its folder, whole or not at all."""
        parts = self.build(name)
        with atomic_folder(inside(self.folder, name)) as new:
            for part, (rows, _) in parts.items():
                write_examples(rows, new / f"{part}.jsonl")
        return parts

    def read(self, source: Source) -> dict[str, list[Example]]:
        """The parts of a source, split where it does not split itself."""
        files = Files(source, self.repositories)
        documents = {part: list(READERS[source.reader](files, part)) for part in source.files}
        if source.split:
            parts = {"tenths": tenths, "files": tenths_of_files}[source.split](documents["all"])
        else:
            parts = {part: list(chain.from_iterable(read)) for part, read in documents.items()}
        if source.hold_out:
            parts["train"], parts["dev"] = hold_out(parts["train"], source.hold_out)
        if source.without_entities is not None:
            parts = {part: thin(rows, source.without_entities) for part, rows in parts.items()}
        return parts

    def _target(self, source: Source) -> dict[str, Part]:
        parts = self.read(source)
        test = distinct(parts["test"])
        held = keys(test)
        pool = [row for row in distinct(parts["train"] + parts["dev"]) if key(row.text) not in held]
        return _drawn({"unlabeled": pool, "test": test}, TARGET, draw)

    def _train(self, source: Source) -> dict[str, Part]:
        parts = {part: list(filter(TRAIN.short, distinct(rows))) for part, rows in self.read(source).items()}
        held = keys(parts["test"])
        dev = [row for row in parts["dev"] if key(row.text) not in held]
        held |= keys(parts["dev"]) | self._targets
        train = [row for row in parts["train"] if key(row.text) not in held]
        return _drawn({"train": train, "dev": dev, "test": parts["test"]}, TRAIN, draw)

    def _foundation(self, source: Source) -> dict[str, Part]:
        rows, seen = {}, set(self._targets)
        for part, read in sorted(self.read(source).items()):  # a text of both stays in dev
            rows[part] = [row for row in read if not (key(row.text) in seen or seen.add(key(row.text)))]
        if "all" in rows:
            order = shuffled(rows["all"])
            rows = {"train": order[PILE_DEV:], "dev": order[:PILE_DEV]}
        return {part: Part(rows[part], rows[part]) for part in ("train", "dev")}

    def _wide(self, source: Source) -> dict[str, Part]:
        parts, kept, taken = self.read(source), {}, set(self._evaluation)
        for part in ("test", "dev", "train"):  # a text of several stays in the first of these
            kept[part] = []
            for row in parts[part]:
                if re.search(r"\w", row.text) and WIDE.short(row) and key(row.text) not in taken:
                    taken.add(key(row.text))
                    kept[part].append(_without_signs(row))
        return _drawn({part: kept[part] for part in WIDE.parts}, WIDE, cover)

    @cached_property
    def _targets(self) -> set[str]:
        """Keys of all texts of the targets' tests, drawn or not."""
        targets = [source for source in self.sources.values() if source.kind == "target"]
        return {key(row.text) for source in targets for row in self.read(source)["test"]}

    @cached_property
    def _evaluation(self) -> set[str]:
        """Keys of the texts of target/ and of the dev and test parts of train/, as they are in the folder."""
        held = set()
        for name, source in self.sources.items():
            parts = {"target": ("unlabeled", "test"), "train": ("dev", "test")}.get(source.kind, ())
            for part in parts:
                path = inside(self.folder, name) / f"{part}.jsonl"
                if not path.is_file():
                    raise SamnerError(f"wide sets leave out what target/ and train/ hold; build those first ({path} is missing)")
                held |= keys(read_examples(path))
        return held


def _drawn(
    parts: Mapping[str, list[Example]], limits: Limits, how: Callable[[list[Example], int], list[Example]]
) -> dict[str, Part]:
    return {part: Part(how(rows, limits.parts[part]), rows) for part, rows in parts.items()}


def _without_signs(row: Example) -> Example:
    """The text without entities that hold no letter or digit; a percent sign is one."""
    kept = tuple(entity for entity in row.entities if re.search(r"\w|%", entity.text))
    return Example(row.text, kept)


class Difference(NamedTuple):
    """How a part of a folder differs from what would be built.

    Args:
        part: Of the set.
        texts: How many it has here.
        missing: How many lines of what is built it has not.
        more: How many lines it has that were not built.
        unknown: How many of those are not even among the texts that were drawn from.
    """

    part: str
    texts: int
    missing: int
    more: int
    unknown: int


def compare(built: Mapping[str, Part], folder: Path) -> Iterator[Difference]:
    """How each part of a folder differs from the one that was built, if it does.

    Raises:
        SamnerError: If a file is missing or cannot be read.
    """
    for part, (rows, drawn_from) in built.items():
        there = [_fields(row) for row in read_examples(folder / f"{part}.jsonl")]
        ours = [_fields(row) for row in rows]
        if there != ours:
            more = set(there) - set(ours)
            unknown = more - {_fields(row) for row in drawn_from}
            yield Difference(part, len(there), len(set(ours) - set(there)), len(more), len(unknown))


def _fields(row: Example) -> tuple[str, tuple[tuple[int, int, str], ...]]:
    return row.text, tuple(entity.key for entity in row.entities)
