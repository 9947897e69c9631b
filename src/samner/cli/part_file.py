"""``OUT.part``: what an extraction has finished, and what is made of it in the end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from samner.cli.output import say
from samner.data.datasets import write_found
from samner.data.lines import writing
from samner.data.validation import example_from_fields
from samner.entities import Entity, Example, to_fields
from samner.errors import SamnerError
from samner.files import naming


@dataclass(frozen=True, slots=True)
class Output:
    """What is written in the end.

    Args:
        path: Of it.
        format: Of it.
        source: What the texts are read from.
        source_format: As it was given.
    """

    path: Path
    format: str
    source: Path
    source_format: str | None


class PartFile:
    """``OUT.part``: results on their way to a file, so that an interrupted run can go on.

    Its first line tells what else than the texts decided the results; the lines finished so far hold the texts
    themselves, by which a run that goes on knows its place.
    """

    def __init__(self, out: Path, identity: str, resume: bool) -> None:
        self.path = out.with_name(out.name + ".part")
        header = json.dumps({"samner_part": identity}).encode() + b"\n"
        self._reading: IO[bytes] | None = None
        self._other = SamnerError(
            f"{self.path} is of other texts, labels, models or settings; leave out --resume to start over"
        )
        if resume and self.path.exists():
            self._reading = self.path.open("r+b")
            if self._reading.readline() != header:
                raise self._other
            return
        if resume:
            say(f"nothing is finished in {self.path}; starting at the first text")
        elif self.path.exists():
            say(f"starting over; --resume would have gone on with {self.path}")
        with naming(self.path):
            self.path.write_bytes(header)

    def holds(self, batch: Sequence[Example]) -> bool:
        """Whether the batch that is next is finished in it. If not, it ends before that batch, and none is after it.

        Raises:
            SamnerError: If it holds other texts there.
        """
        if self._reading is None:
            return False
        start = self._reading.tell()
        for example in batch:
            line = self._reading.readline()
            if not line.endswith(b"\n"):  # the end, maybe in the middle of a line
                self._reading.truncate(start)
                self._reading.close()
                self._reading = None
                return False
            if not _is_of(line, example.text):
                raise self._other
        return True

    def append(self, lines: str) -> None:
        """Add finished lines."""
        with naming(self.path), self.path.open("ab") as file:
            file.write(lines.encode("utf-8"))

    def finish(self, output: Output) -> None:
        """Make the lines the output, atomically.

        Args:
            output: What it is to be.

        Raises:
            SamnerError: If it holds more texts than there were.
        """
        if self._reading is not None:
            if self._reading.readline():
                raise self._other
            self._reading.close()
        with self.path.open("rb") as lines:
            lines.readline()
            if output.format == "jsonl":
                with writing(output.path) as target:
                    shutil.copyfileobj(lines, target)
            else:
                found = map(_example, lines)
                write_found(
                    found, output.path, output.format, source=output.source, source_format=output.source_format
                )
        self.path.unlink()


def line_of(example: Example, entities: Sequence[Entity]) -> str:
    """A finished line: a text, what was found in it, and what it brought along."""
    fields = [to_fields(entity, example.text) for entity in entities]
    return json.dumps({"text": example.text, "entities": fields, **example.meta}, ensure_ascii=False) + "\n"


def _example(line: bytes) -> Example:
    """What ``line_of`` made a line of."""
    fields = json.loads(line)
    return example_from_fields(fields.pop("text"), fields.pop("entities"), fields)


def _is_of(line: bytes, text: str) -> bool:
    """Whether a line of ``line_of`` is of a text."""
    return line.startswith(json.dumps({"text": text}, ensure_ascii=False).encode()[:-1] + b", ")
