"""``samner extract``: the everyday line, from texts to entities."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samner.cli import options
from samner.cli.adapting import Adaptation, given_parameters, show_selections, warn
from samner.cli.inputs import check_output_file, labels_given, labels_needed, texts_of
from samner.cli.output import console, counted, say, status, write_stdout
from samner.cli.part import PartFile
from samner.cli.runtime import start
from samner.data.lines import STANDARD_STREAM
from samner.data.validation import to_fields
from samner.entities import Entity, EntityType
from samner.errors import SamnerError
from samner.progress import Progress

if TYPE_CHECKING:
    from samner.task_model import TaskModel

_BATCH_TEXTS = 256
_BATCH_CHARACTERS = 65_536
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
        typer.Option("--model", metavar="FOLDER", help="A model that 'samner adapt' saved; nothing is adapted then."),
    ] = None,
    pool: options.Pool = "builtin",
    labels: options.Labels = None,
    labels_file: options.LabelsFile = None,
    mode: options.Mode = "union",
    threshold: options.Threshold = None,
    overlapping: Annotated[
        bool, typer.Option("--overlapping", help="Let entities of different types overlap.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run of the same command; needs -o.")
    ] = False,
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
    it, labels and mode are the model's unless given.

    Example: samner extract --pool builtin --labels person,organization docs.jsonl -o out.jsonl
    """
    given = _given(context)
    if out != STANDARD_STREAM:
        check_output_file(out, None if texts == STANDARD_STREAM else texts)
    elif resume:
        raise SamnerError("--resume needs -o FILE: what went to standard output cannot be gone on with")
    if model is None:
        types = labels_needed(labels, labels_file)
        read = texts_of(texts, format)
        parameters = given_parameters(density, lam, param or ())
        adaptation = Adaptation(
            pool, mode, experts, samples, seed, exclude or (), method, parameters, threshold, device
        )
        task_model = adaptation(read, types)
        show_selections(task_model.selections, console(error=True))
    else:
        if clash := next((name for name in _ADAPTS if name in given), None):
            raise SamnerError(f"--{clash} is for adapting a pool; with --model nothing is adapted, so leave one out")
        own = labels_given(labels, labels_file)
        read = texts_of(texts, format)
        task_model = _saved(model, device)
        types = own or task_model.types
        warn(task_model.warnings)
    run = _Run(task_model, types, threshold, mode if "mode" in given else None, not overlapping)
    if out == STANDARD_STREAM:
        run.to_stdout(read)
    else:
        run.to_file(read, out, resume)


def _given(context: typer.Context) -> set[str]:
    """Names of the parameters that were given on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def _saved(folder: Path, device: str) -> TaskModel:
    device = start(device)
    from samner.task_model import TaskModel

    with status("loading the model"):
        return TaskModel.load(folder, device)


class _Run:
    """The extraction itself, batch by batch."""

    def __init__(
        self,
        model: TaskModel,
        types: Sequence[EntityType],
        threshold: float | None,
        mode: str | None,
        flat: bool,
    ) -> None:
        self.model = model
        self.types = types
        self.threshold = threshold
        self.mode = mode
        self.flat = flat
        self.found = 0
        self.started = time.monotonic()

    def to_stdout(self, texts: Sequence[str]) -> None:
        with Progress(quiet=sys.stdout.isatty()) as show:
            advance = show.counter("texts", len(texts))
            for batch in batches(texts):
                write_stdout(self._lines(batch))
                advance(len(batch))
        self._report(len(texts))

    def to_file(self, texts: Sequence[str], out: Path, resume: bool) -> None:
        part = PartFile(out, self._identity(texts))
        parts = list(batches(texts))
        stops = list(accumulate(map(len, parts)))
        done = kept = part.resume(stops) if resume else 0
        if done:
            say(f"going on after {done} of {counted(len(texts), 'text')}")
        elif resume:
            say(f"nothing is finished in {part.path}; starting at the first text")
        elif part.path.exists():
            say(f"starting over; --resume would have gone on with {part.path}")
        try:
            with Progress() as show:
                advance = show.counter("texts", len(texts))
                advance(done)
                for stop, batch in zip(stops, parts, strict=True):
                    if stop > done:
                        part.append(self._lines(batch))
                        done = stop
                        advance(len(batch))
        except KeyboardInterrupt:
            if done:
                say(f"{done} of {counted(len(texts), 'text')} are finished; the same command with --resume goes on")
            raise
        part.finish()
        self._report(len(texts) - kept)
        say(f"wrote {out}")

    def _lines(self, texts: Sequence[str]) -> str:
        answers = self.model.predict(texts, self.types, threshold=self.threshold, flat=self.flat, mode=self.mode)
        self.found += sum(map(len, answers))
        return "".join(_line(text, entities) for text, entities in zip(texts, answers, strict=True))

    def _report(self, texts: int) -> None:
        say(f"found {self.found} entities in {counted(texts, 'text')} in {time.monotonic() - self.started:.1f} s")

    def _identity(self, texts: Sequence[str]) -> str:
        """Digest of everything that decides the results."""
        model = self.model
        decides = [
            model.backbone.fingerprint,
            sorted((name, merge.model) for name, merge in model.merges.items()),
            [t.prompt for t in self.types],
            model.threshold if self.threshold is None else self.threshold,
            self.mode or model.mode,
            self.flat,
        ]
        digest = hashlib.sha256(json.dumps(decides).encode())
        for text in texts:
            digest.update(f"{len(text)} {text}".encode())
        return digest.hexdigest()


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Consecutive texts, together short enough that a batch is soon done."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        if batch and (len(batch) == _BATCH_TEXTS or characters + len(text) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch


def _line(text: str, entities: Sequence[Entity]) -> str:
    fields = [to_fields(entity, text) for entity in entities]
    return json.dumps({"text": text, "entities": fields}, ensure_ascii=False) + "\n"
