"""Sets from sources: what is left out, what is drawn, and writing it; the same for all sets of a kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree.ElementTree import ParseError
from zipfile import BadZipFile

from samner.data import read_examples, write_examples
from samner.entities import Example
from samner.errors import SamnerError
from samner.files import atomic_folder, inside, read_json, write_json
from studies.data.drawing import cover, distinct, draw, hold_out, key, keys, shuffled, tenths, tenths_of_files, thin
from studies.data.readers import READERS, TYPES
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
FOUNDATION_DEV = 150


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
        """The parts of a set of texts.

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
        return kinds[source.kind](source)

    def types(self, name: str) -> dict[str, Any]:
        """What is said of types, by their names.

        Raises:
            SamnerError: As :meth:`build` does.
        """
        source = self.sources[name]
        with _expecting(name):
            said = TYPES[source.reader](Files(source, self.repositories))
        if "of" not in source.options:
            return said
        known = {
            e.label for rows in self._there(source.options["of"], WIDE.parts) for row in rows for e in row.entities
        }
        return {label: names for label, names in said.items() if label in known}

    def path(self, name: str) -> Path:
        """Where a set is: its folder, or the file that says something of types."""
        return inside(self.folder, f"{name}.json" if self.sources[name].kind == "types" else name)

    def write(self, name: str) -> str:
        """Build a set and write it, whole or not at all; how much it holds, in words."""
        path = self.path(name)
        if self.sources[name].kind == "types":
            said = self.types(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, said)
            return f"{len(said)} types"
        parts = self.build(name)
        with atomic_folder(path) as new:
            for part, (rows, _) in parts.items():
                write_examples(rows, new / f"{part}.jsonl")
        return ", ".join(f"{part} {len(rows)}" for part, (rows, _) in parts.items())

    def check(self, name: str) -> list[str]:
        """How a set that is there differs from what would be built, in words; empty if it does not.

        Raises:
            SamnerError: If it is not there, or cannot be built.
        """
        if self.sources[name].kind != "types":
            return list(_differences(self.build(name), self.path(name)))
        built, there = self.types(name), read_json(self.path(name))
        differ = [type_ for type_ in built.keys() | there.keys() if built.get(type_) != there.get(type_)]
        return [f"{len(differ)} of {len(there)} types differ"] if differ else []

    def read(self, source: Source) -> dict[str, list[Example]]:
        """The parts of a source, split where it does not split itself."""
        files, read = Files(source, self.repositories), READERS[source.reader]
        with _expecting(source.name):
            documents = {part: list(read(files, part)) for part in source.files}
        if source.split:
            parts = {"tenths": tenths, "files": tenths_of_files}[source.split](documents["all"])
        else:
            parts = {part: list(chain.from_iterable(rows)) for part, rows in documents.items()}
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
        rows: dict[str, list[Example]] = {}
        seen = set(self._targets)
        for part, read in sorted(self.read(source).items()):  # a text of both stays in dev
            rows[part] = []
            for row in filter(TRAIN.short, read):
                if key(row.text) not in seen:
                    seen.add(key(row.text))
                    rows[part].append(row)
        if "all" in rows:
            order = shuffled(rows["all"])
            rows = {"train": order[FOUNDATION_DEV:], "dev": order[:FOUNDATION_DEV]}
        return {part: Part(rows[part], rows[part]) for part in ("train", "dev")}

    def _wide(self, source: Source) -> dict[str, Part]:
        parts, taken = self.read(source), set(self._evaluation)
        kept: dict[str, list[Example]] = {}
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
        held: set[str] = set()
        for name, source in self.sources.items():
            parts = {"target": ("unlabeled", "test"), "train": ("dev", "test")}.get(source.kind, ())
            held |= keys(chain.from_iterable(self._there(name, parts)))
        return held

    def _there(self, name: str, parts: Iterable[str]) -> Iterator[list[Example]]:
        for part in parts:
            path = inside(self.folder, name) / f"{part}.jsonl"
            if not path.is_file():
                raise SamnerError(f"{path} is missing, of which texts or types are needed here; build {name} first")
            yield read_examples(path)


def _drawn(
    parts: Mapping[str, list[Example]], limits: Limits, how: Callable[[list[Example], int], list[Example]]
) -> dict[str, Part]:
    return {part: Part(how(rows, limits.parts[part]), rows) for part, rows in parts.items()}


def _without_signs(row: Example) -> Example:
    """The text without entities that hold no letter or digit; a percent sign is one."""
    kept = tuple(entity for entity in row.entities if re.search(r"\w|%", entity.text))
    return Example(row.text, kept)


def _differences(built: Mapping[str, Part], folder: Path) -> Iterator[str]:
    for part, (rows, drawn_from) in built.items():
        there, ours = [_fields(row) for row in read_examples(folder / f"{part}.jsonl")], [_fields(row) for row in rows]
        if there != ours:
            more = set(there) - set(ours)
            unknown = len(more - {_fields(row) for row in drawn_from})
            source = f"{unknown} not in its source" if unknown else "all of the texts that the set is drawn from"
            yield (
                f"{part}: of {len(there)} lines {len(more)} would not be built{f' ({source})' if more else ''}, "
                f"{len(set(ours) - set(there))} are missing"
            )


@contextmanager
def _expecting(name: str) -> Iterator[None]:
    """What goes wrong in reading a file that is not as its reader knows it is an error of the file."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, StopIteration, ParseError, BadZipFile) as error:
        raise SamnerError(f"{name}: its files are not as they should be ({type(error).__name__}: {error})") from error


def _fields(row: Example) -> tuple[str, tuple[tuple[int, int, str], ...]]:
    return row.text, tuple(entity.key for entity in row.entities)
