"""``samner data``: what a file of texts holds, and the same in another format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from samner.cli import options
from samner.cli.output import console, counted, say, table, write_json
from samner.data import iter_examples, write_examples
from samner.data.formats.registry import FORMATS, writing_format
from samner.data.lines import STANDARD_STREAM
from samner.data.validation import declines
from samner.entities import Example
from samner.errors import DataError
from samner.words import borders, words

_SHOWN = 10
_CHECKED = typer.Argument(metavar="FILE", help="A file or folder of any format, or - for standard input.")


def check(
    file: Annotated[Path, _CHECKED],
    format: options.Format = None,
    json: options.Json = False,
) -> None:
    """Say what a file holds: texts, entities by type, other fields, and the first problems.

    Leaves with exit code 1 if there are problems. What is read is what training and scoring would read.

    Example: samner data check train.jsonl
    """
    found = _Found()
    found.read(file, format)
    if json:
        write_json(found.summary())
    else:
        found.show()
    if found.problems:
        raise typer.Exit(1)


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A file or folder of any format, or - for standard input.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file or folder to write, or - for standard output.")],
    source_format: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="Of IN; by default its content tells.")
    ] = None,
    out_format: Annotated[
        str | None, typer.Option("--to", metavar="FORMAT", help="Of OUT; by default its suffix tells.")
    ] = None,
    force: options.Force = False,
) -> None:
    """Write labelled texts in another format; what that cannot hold is refused, or said on standard error.

    Formats: docs/formats.md has the list. OUT ending in .gz, .bz2, .xz or .zst is compressed.

    Example: samner data convert export.json train.jsonl
    """
    name = writing_format(out, out_format)
    if out != STANDARD_STREAM and not out.is_dir():  # whoever writes folders refuses one that exists
        options.check_output_file(out, source, force=force)
    lost = _Lost(name)
    write_examples(lost.watch(iter_examples(source, source_format)), out, out_format)
    lost.say()
    say(f"wrote {counted(lost.texts, 'text')} to {'standard output' if out == STANDARD_STREAM else out} ({name})")


VERBS: dict[str, Callable[..., Any]] = {"check": check, "convert": convert}


class _Found:
    """What a file holds."""

    def __init__(self) -> None:
        self.format = ""
        self.texts = self.blank = self.with_entities = self.declined = 0
        self.labels: Counter[str] = Counter()
        self.meta: Counter[str] = Counter()
        self.problems: list[str] = []

    def read(self, file: Path, format: str | None) -> None:
        """Read all that can be read; what cannot is a problem."""
        try:
            for example in iter_examples(file, format, problems=self.problems, on_format=self._named):
                self._add(example)
        except DataError as error:
            self.problems.append(str(error))

    def _named(self, name: str) -> None:
        self.format = name

    def _add(self, example: Example) -> None:
        self.texts += 1
        self.blank += not example.text.strip()
        self.with_entities += bool(example.entities)
        self.declined += bool(declines(example.meta))
        self.meta.update(list(example.meta))
        seen = borders(example.text)
        for entity in example.entities:
            self.labels[entity.label] += 1
            covered = example.text[entity.start : entity.end]
            what = ""
            if covered != covered.strip():
                what = "begins or ends with a blank"
            elif entity.start not in seen or entity.end not in seen:
                what = "begins or ends within a character"
            if what:
                self.problems.append(
                    f"text {self.texts}: the entity {entity.start}:{entity.end} {entity.label!r} {what}"
                )

    def summary(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "format": self.format,
            "texts": self.texts,
            "blank": self.blank,
            "with_entities": self.with_entities,
            "not_counting": self.declined,
            "entities": sum(self.labels.values()),
            "labels": dict(self.labels.most_common()),
            "meta": dict(self.meta),
            "problems": self.problems,
        }

    def show(self) -> None:
        """As lines and a table."""
        to = console()
        entities = counted(sum(self.labels.values()), "entity")
        to.print(
            f"{self.format or 'unknown format'}: {counted(self.texts, 'text')}, {entities} in {self.with_entities}"
        )
        if self.blank:
            to.print(f"{counted(self.blank, 'text')} blank")
        if self.declined:
            to.print(f"{counted(self.declined, 'text')} with labels that are not to be counted, as the file says")
        if self.meta:
            to.print(f"other fields: {', '.join(self.meta)}")
        if self.labels:
            to.print(table(["label", "entities"], self.labels.most_common(), right=["entities"]))
        for problem in self.problems[:_SHOWN]:
            to.print(f"problem: {problem}")
        if len(self.problems) > _SHOWN:
            to.print(f"and {len(self.problems) - _SHOWN} more problems")


class _Lost:
    """What a format does not keep of the texts that are written."""

    def __init__(self, format: str) -> None:
        self._format = format
        self.texts = 0
        self._meta: Counter[str] = Counter()
        self._ids = 0
        self._blanks = 0

    def watch(self, examples: Iterable[Example]) -> Iterator[Example]:
        """The examples as they are."""
        for example in examples:
            self.texts += 1
            self._meta.update(list(example.meta))
            self._ids += sum(entity.id is not None for entity in example.entities)
            if self._format == "conll":
                tokens = [example.text[start:end] for start, end in words(example.text)]
                self._blanks += " ".join(tokens) != example.text
            yield example

    def say(self) -> None:
        """What is lost, on standard error."""
        keeps = FORMATS[self._format].keeps
        if fields := [name for name in self._meta if "meta" not in keeps and name not in keeps]:
            say(f"{self._format} does not hold {', '.join(fields)}; left out")
        if self._ids and "ids" not in keeps:
            say(f"{self._format} does not hold what single entities are called (id); left out")
        if self._blanks:
            say(f"{self._format} holds tokens: {counted(self._blanks, 'text')} will come back with other blanks")
