"""``samner extract``: the everyday line, from texts to entities."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from queue import Empty, Queue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import IO, TYPE_CHECKING, Annotated

import typer

from samner.cli import options
from samner.cli.adapt import Adaptation, show_selections, warn
from samner.cli.options import Thresholds, check_output_file, given_parameters, labels_given, labels_needed, read_all
from samner.cli.output import console, counted, say, write_stdout
from samner.cli.runtime import open_recogniser
from samner.data import iter_examples
from samner.data.lines import STANDARD_STREAM
from samner.entities import Entity, EntityType, Example, entity_types, to_fields
from samner.errors import DataError, SamnerError
from samner.files import atomic_file, exclusive
from samner.marked_text import page
from samner.progress import Progress
from samner.thresholds import by_label

if TYPE_CHECKING:
    from samner.recogniser import Recogniser

_BATCH_TEXTS = 256
_BATCH_CHARACTERS = 65_536
_WAIT = 0.5
"""Seconds that the first text of a batch waits for more, where texts come from a pipe."""
_ADAPTS = ("pool", "experts", "samples", "seed", "exclude", "method", "density", "lam", "param")
"""Parameters of ``extract`` that decide how a pool is adapted, and say nothing to a saved model."""


def extract(
    context: typer.Context,
    texts: options.Texts,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help="The JSON Lines file to write; - is standard output."),
    ] = STANDARD_STREAM,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            metavar="FOLDER",
            help="A model that 'samner adapt' saved, or 'samner export --to onnx' wrote; nothing is adapted then.",
        ),
    ] = None,
    pool: options.Pool = options.DEFAULT_POOL,
    labels: options.Labels = None,
    labels_file: options.LabelsFile = None,
    labels_key: Annotated[
        str | None,
        typer.Option(
            "--labels-key",
            metavar="KEY",
            help="The field of a text that holds labels of its own: a list of names, or an object from name to "
            "description. Texts without it are asked for the other labels.",
        ),
    ] = None,
    mode: options.Mode = "union",
    threshold: options.Threshold = None,
    overlaps: Annotated[
        str,
        typer.Option(
            "--overlaps",
            metavar="HOW",
            help="flat: entities do not overlap, the surer one stays; nested: one may lie within another; all: "
            "everything that reaches its threshold.",
        ),
    ] = "flat",
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Also write a page that shows the texts with their entities."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run of the same command; needs -o.")
    ] = False,
    force: options.Force = False,
    experts: options.Experts = 3,
    samples: options.Samples = 10,
    seed: options.Seed = 0,
    exclude: options.Exclude = None,
    method: options.Method = "ties",
    density: options.Density = None,
    lam: options.Lam = None,
    param: options.Params = None,
    format: options.Format = None,
    device: options.Device = "auto",
) -> None:
    """Find the entities of texts; write JSON Lines with offsets, labels and scores.

    Without --model the pool is first adapted to the same texts, and what was chosen is said on standard error. With
    it, labels and mode are the model's unless given, texts are read as they are needed, and those that come through a
    pipe are answered as they come.

    Example: samner extract --pool builtin --labels person,organization docs.jsonl -o out.jsonl
    """
    from samner.spans import resolve

    given = options.given(context)
    limits = Thresholds.given(threshold)
    resolve((), overlaps)  # refuses what is no way to overlap
    if html is not None:
        check_output_file(html, None if texts == STANDARD_STREAM else texts, force=force)
        if html.absolute() == out.absolute():
            raise SamnerError(f"{html} cannot be both the page and the entities; name another file")
    if out != STANDARD_STREAM:
        check_output_file(out, None if texts == STANDARD_STREAM else texts, force=force)
    elif resume:
        raise SamnerError("--resume needs -o FILE: what went to standard output cannot be gone on with")
    with nullcontext() if out == STANDARD_STREAM else exclusive(out):
        if model is None:
            types = (labels_given(labels, labels_file) or ()) if labels_key else labels_needed(labels, labels_file)
            read = read_all(texts, format)
            types = _all_types(types, read, labels_key) if labels_key else types
            parameters = given_parameters(density, lam, param or ())
            adaptation = Adaptation(
                pool, mode, experts, samples, seed, exclude or (), method, parameters, None, device
            )
            limits.of([t.name for t in types])  # refuses one of another label before the work
            adapted = adaptation([example.text for example in read], types)
            show_selections(adapted.selections, console(error=True))
            task_model: Recogniser = adapted
            parts, total = batches(read), len(read)
        else:
            if clash := next((name for name in _ADAPTS if name in given), None):
                raise SamnerError(
                    f"--{clash} is for adapting a pool; with --model nothing is adapted, so leave one out"
                )
            own = labels_given(labels, labels_file)
            parts, total = _stream(texts, format), None
            task_model = open_recogniser(model, device)
            types = own or task_model.types
            warn(task_model.warnings)
            if warning := task_model.warning_of(types):
                warn([warning])
        asked_mode = mode if "mode" in given else None
        run = _Run(task_model, types, limits, asked_mode, overlaps, labels_key, html)
        if out == STANDARD_STREAM:
            run.to_stdout(parts, total)
        else:
            run.to_file(parts, total, out, resume)


def _all_types(types: Sequence[EntityType], examples: Sequence[Example], key: str) -> tuple[EntityType, ...]:
    """The labels given and those of all texts, each as it is first described."""
    every = {t.name: t for its in [types, *(_own(e, key) or () for e in examples)] for t in its}
    if not types and (bare := next((i for i, e in enumerate(examples, 1) if _own(e, key) is None), None)):
        raise SamnerError(f"text {bare} has no {key!r}; say what to look for in such texts: --labels A,B,...")
    return tuple(every.values())


def _own(example: Example, key: str) -> tuple[EntityType, ...] | None:
    """The labels that a text brings under a key; None if it brings none.

    Raises:
        DataError: If they are no labels.
    """
    value = example.meta.get(key)
    if value is None:
        return None
    try:
        return entity_types(value.split(",") if isinstance(value, str) else value)
    except SamnerError as error:
        raise DataError(f"{key}: {error}") from error


def _stream(texts: Path, format: str | None) -> Iterator[list[Example]]:
    """Batches of texts, read when they are needed; of a file the first at once, so that it is known to be readable."""
    read = iter_examples(texts, format, labelled=False)
    if texts == STANDARD_STREAM or texts.is_fifo():
        return batches_as_they_come(read)
    parts = batches(read)
    return chain([next(parts)], parts)


class _Run:
    """The extraction itself, batch by batch."""

    def __init__(
        self,
        model: Recogniser,
        types: Sequence[EntityType],
        limits: Thresholds,
        mode: str | None,
        overlaps: str,
        labels_key: str | None,
        html: Path | None,
    ) -> None:
        self.model = model
        self.types = types
        self.limits = limits
        self.threshold = limits.of([t.name for t in types], some=labels_key is not None)
        self.mode = mode
        self.overlaps = overlaps
        self.labels_key = labels_key
        self.html = html
        self.found = 0
        self.started = time.monotonic()

    def to_stdout(self, parts: Iterable[list[Example]], total: int | None) -> None:
        done = 0
        with TemporaryDirectory() as folder, Progress(quiet=sys.stdout.isatty()) as show:
            kept = Path(folder) / "found.jsonl"
            advance = show.counter("texts", total)
            for batch in parts:
                lines = self._lines(batch)
                write_stdout(lines)
                if self.html:
                    with kept.open("a", encoding="utf-8", newline="\n") as file:
                        file.write(lines)
                done += len(batch)
                advance(len(batch))
            self._report(done)
            self._page(kept)

    def to_file(self, parts: Iterable[list[Example]], total: int | None, out: Path, resume: bool) -> None:
        part = _PartFile(out, self._identity(), resume)
        done = kept = 0
        try:
            with Progress() as show:
                advance = show.counter("texts", total)
                for batch in parts:
                    if part.holds(batch):
                        kept += len(batch)
                    else:
                        if kept and kept == done:
                            say(f"going on after {counted(kept, 'text')}")
                        part.append(self._lines(batch))
                    done += len(batch)
                    advance(len(batch))
            part.finish()
        except BaseException:
            if done > kept:
                say(f"finished so far: {counted(done, 'text')}; the same command with --resume goes on")
            raise
        self._report(done - kept)
        say(f"wrote {out}")
        self._page(out)

    def _page(self, found: Path) -> None:
        """Write the page of what is in a file, if one is wanted."""
        if self.html is None:
            return
        there = {e.label for example in iter_examples(found, "jsonl") for e in example.entities}
        labels = [t.name for t in self.types if t.name in there]
        labels += sorted(there.difference(labels))
        with atomic_file(self.html) as temporary, temporary.open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(page(iter_examples(found, "jsonl"), labels, self.html.stem))
        say(f"wrote {self.html}")

    def _lines(self, examples: Sequence[Example]) -> str:
        texts = [example.text for example in examples]
        types: list[Sequence[EntityType]] = [tuple(self.types)] * len(texts)
        threshold = self.threshold
        if self.labels_key:
            types = [_own(example, self.labels_key) or types[0] for example in examples]
            threshold = self.limits.of([t.name for its in types for t in its], some=True)
        labels = types if self.labels_key else self.types
        answers = self.model.predict(texts, labels, threshold=threshold, overlaps=self.overlaps, mode=self.mode)
        self.found += sum(map(len, answers))
        return "".join(map(_line, examples, answers))

    def _report(self, texts: int) -> None:
        say(f"found {self.found} entities in {counted(texts, 'text')} in {time.monotonic() - self.started:.1f} s")

    def _identity(self) -> str:
        """Digest of everything that decides the results, but for the texts."""
        limits = by_label(self.threshold, self.types, self.model.threshold, self.model.thresholds)
        decides = [*self.model.decides(self.types, limits, self.mode), self.overlaps, self.labels_key]
        return hashlib.sha256(json.dumps(decides).encode()).hexdigest()


class _PartFile:
    """``OUT.part``: results on their way to a file, so that an interrupted run can go on.

    Its first line tells what else than the texts decided the results; the lines finished so far hold the texts
    themselves, by which a run that goes on knows its place.
    """

    def __init__(self, out: Path, identity: str, resume: bool) -> None:
        self.out = out
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
        with self.path.open("ab") as file:
            file.write(lines.encode("utf-8"))

    def finish(self) -> None:
        """Make the lines the output file, atomically.

        Raises:
            SamnerError: If it holds more texts than there were.
        """
        if self._reading is not None:
            if self._reading.readline():
                raise self._other
            self._reading.close()
        with atomic_file(self.out) as temporary, self.path.open("rb") as source, temporary.open("wb") as target:
            source.readline()
            shutil.copyfileobj(source, target)
        self.path.unlink()


def batches(texts: Iterable[Example]) -> Iterator[list[Example]]:
    """Consecutive texts, together short enough that a batch is soon done."""
    batch: list[Example] = []
    for text in texts:
        if batch and not _has_room(batch, text):
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


def batches_as_they_come(texts: Iterable[Example]) -> Iterator[list[Example]]:
    """Like ``batches``, but what is there is a batch when its first text has waited long enough for more."""
    come: Queue[Example | BaseException | None] = Queue(maxsize=_BATCH_TEXTS)

    def read(stdin: object) -> None:
        # holds on to standard input: a process that is to end while this waits must not close it
        try:
            for text in texts:
                come.put(text)
            come.put(None)
        except BaseException as error:
            come.put(error)

    Thread(target=read, args=(sys.stdin,), daemon=True).start()
    batch: list[Example] = []
    due = 0.0
    while True:
        try:
            text = come.get(timeout=max(0.0, due - time.monotonic()) if batch else None)
        except Empty:
            yield batch
            batch = []
            continue
        if batch and not (isinstance(text, Example) and _has_room(batch, text)):
            yield batch
            batch = []
        if text is None:
            return
        if isinstance(text, BaseException):
            raise text
        if not batch:
            due = time.monotonic() + _WAIT
        batch.append(text)


def _has_room(batch: Sequence[Example], example: Example) -> bool:
    characters = sum(len(other.text) for other in batch) + len(example.text)
    return len(batch) < _BATCH_TEXTS and characters <= _BATCH_CHARACTERS


def _line(example: Example, entities: Sequence[Entity]) -> str:
    fields = [to_fields(entity, example.text) for entity in entities]
    return json.dumps({"text": example.text, "entities": fields, **example.meta}, ensure_ascii=False) + "\n"


def _is_of(line: bytes, text: str) -> bool:
    """Whether a line of ``_line`` is of a text."""
    return line.startswith(json.dumps({"text": text}, ensure_ascii=False).encode()[:-1] + b", ")
