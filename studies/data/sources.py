"""The table of sources, and the files that it names."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from samner.data import read_examples
from samner.entities import Example
from samner.errors import SamnerError
from studies.data.repositories import Repositories, Repository
from studies.data.texts import words

TABLE = Path(__file__).with_name("sources.yaml")


@dataclass(frozen=True)
class Item:
    """Files of a part of a set.

    Args:
        repository: ``owner/name``.
        path: A file, or a folder if it ends in a slash; empty for all there is.
        only: A regular expression that must be found in the path.
        draw: How many of the texts to draw; all if 0.
    """

    repository: str
    path: str
    only: str = ""
    draw: int = 0


@dataclass(frozen=True)
class Source:
    """Where a set is from and how it is read.

    Args:
        name: Such as ``train/news/conll2003``; its folder.
        repositories: Of which the first is meant where a path names none (``owner/name:path`` does).
        licence: As the repositories state it.
        reader: A function of ``studies.data.readers``.
        files: For each part (train, dev, test; or all, to be split) its files. In the table a path may stand for all
            three parts, with ``{}`` for their names.
        labels: Of the source's types; None leaves one out. Of others the words are the label.
        closed: Other types are left out.
        hold_out: Which share of train becomes dev.
        split: How all is split: by tenths of documents, or of the files.
        without_entities: At most this share of texts without entities, by those with one.
        note: What else is to be said.
        options: For the reader.
    """

    name: str
    repositories: tuple[str, ...]
    licence: str
    reader: str
    files: Mapping[str, tuple[Item, ...]]
    labels: Mapping[str, str | None] = field(default_factory=dict)
    closed: bool = False
    hold_out: float = 0
    split: str = ""
    without_entities: float | None = None
    note: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Train, target, wide or foundation."""
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Files:
    """The files of a source, read from its repositories."""

    source: Source
    repositories: Repositories

    def label(self, type_: str) -> str | None:
        """The label of a type of the source."""
        labels = self.source.labels
        return labels.get(type_) if type_ in labels or self.source.closed else words(type_)

    def items(self, part: str) -> tuple[Item, ...]:
        """What the table names of a part."""
        return self.source.files[part]

    def texts(self, part: str) -> Iterator[tuple[str, str]]:
        """Path and content of all files of a part."""
        for item in self.items(part):
            yield from self.texts_of(item)

    def texts_of(self, item: Item) -> Iterator[tuple[str, str]]:
        """Path and content of the files of an item; of a folder those that are not too large."""
        repository = self._opened[item.repository]
        if item.path and not item.path.endswith("/"):
            yield item.path, _decode(repository.content(item.path))
            return
        paths = repository.paths(item.path, item.only)
        if not paths:
            wanted = f"{item.path or 'any folder'}{f' like {item.only}' if item.only else ''}"
            raise SamnerError(f"{repository.name}: has no file in {wanted} at commit {repository.commit[:12]}")
        for path, content in repository.contents(paths):
            yield path, _decode(content)

    def text(self, path: str) -> str:
        """The content of a file of the first repository."""
        return _decode(self.content(path))

    def content(self, path: str) -> bytes:
        """The bytes of a file of the first repository."""
        return self._opened[self.source.repositories[0]].content(path)

    def examples(self, path: str, content: bytes, format: str | None) -> list[Example]:
        """What samner itself reads of a file's content."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, PurePosixPath(path).name)
            file.write_bytes(content)
            try:
                return read_examples(file, format)
            except SamnerError as error:
                raise SamnerError(str(error).replace(f"{folder}/", f"{self.source.name}: ")) from error

    @cached_property
    def _opened(self) -> dict[str, Repository]:
        return {name: self.repositories.open(name) for name in self.source.repositories}


def json_lines(text: str) -> list[Any]:
    """The objects of a file of one a line."""
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _decode(content: bytes) -> str:
    return content.decode("utf-8-sig", "replace")


def read_table(path: Path = TABLE) -> tuple[dict[str, str], dict[str, Source]]:
    """The commits of repositories, and the sets by name.

    Raises:
        SamnerError: If an entry is not as it must be.
    """
    table = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        return table["commits"], {name: _source(name, entry) for name, entry in table["sets"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise SamnerError(
            f"{path}: must hold commits and sets, each with from, licence, reader, files ({error})"
        ) from error


def _source(name: str, entry: Mapping[str, Any]) -> Source:
    if ".." in name.split("/") or name.startswith("/") or name.count("/") not in (1, 2):
        raise SamnerError(f"{name!r} cannot be the name and folder of a set; it is like train/news/conll2003")
    known = {one.name for one in fields(Source)} - {"name", "repositories", "options"}
    told = dict(entry)
    repositories = told.pop("from")
    repositories = (repositories,) if isinstance(repositories, str) else tuple(repositories)
    files = {part: _items(items, repositories[0]) for part, items in _by_part(told.pop("files")).items()}
    own = {key: told.pop(key) for key in list(told) if key in known}
    return Source(name, repositories, files=files, options=told, **own)


def _by_part(told: Any) -> Mapping[str, Any]:
    """The files of each part; of one path for all of train, dev and test, ``{}`` is the part."""
    if isinstance(told, dict):
        return told
    return {part: told.replace("{}", part) if isinstance(told, str) else told for part in ("train", "dev", "test")}


def _items(told: Any, repository: str) -> tuple[Item, ...]:
    items = []
    for one in told if isinstance(told, list) else [told]:
        fields_: dict[str, Any] = {"path": one} if isinstance(one, str) else dict(one)
        owner, colon, path = fields_.pop("path").rpartition(":")
        items.append(Item(owner if colon else repository, path, **fields_))
    return tuple(items)
