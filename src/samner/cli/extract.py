"""``samner extract``: the everyday line, from texts to entities."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samner.cli import options
from samner.cli.adapt import Adaptation, show_selections, warn
from samner.cli.options import (
    Thresholds,
    check_output_file,
    check_output_folder,
    given_parameters,
    labels_given,
    labels_needed,
    read_all,
)
from samner.cli.output import console, counted, say, write_stdout
from samner.cli.part_file import Output, PartFile, line_of
from samner.cli.runtime import open_recogniser
from samner.data import iter_examples
from samner.data.batches import batches, batches_as_they_come
from samner.data.formats.registry import FORMATS, format_of_suffix
from samner.data.lines import STANDARD_STREAM
from samner.entities import EntityType, Example, entity_types
from samner.errors import DataError, SamnerError
from samner.files import atomic_file, exclusive
from samner.marked_text import page
from samner.progress import Progress

if TYPE_CHECKING:
    from samner.recogniser import Recogniser

_WRITTEN = ("jsonl", "parquet", "arrow", "datasets")
"""Formats that hold all there is of a text."""
_NOT_BY_RAY = ("html", "resume", "labels_key", "force")
_ADAPTS = ("pool", "experts", "samples", "seed", "exclude", "method", "density", "lam", "param")
"""Parameters of ``extract`` that decide how a pool is adapted, and say nothing to a saved model."""


def extract(
    context: typer.Context,
    texts: options.Texts,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="The file to write: Parquet or Arrow if its suffix says so, else JSON Lines; - is standard output.",
        ),
    ] = STANDARD_STREAM,
    out_format: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="Of the output, where its suffix does not tell: jsonl, parquet, arrow, or datasets (a folder).",
        ),
    ] = None,
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
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Answer a folder of files (or s3://...) on many machines; -o is then a folder, too. 'local' starts "
            "workers on this machine, an address or 'auto' names a Ray cluster. Needs --model.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", metavar="N", help="With --ray: of the pool; as many as there are processors."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run of the same command; needs -o.")
    ] = False,
    force: options.Force = False,
    experts: options.Experts = "auto",
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
    """Find the entities of texts; write JSON Lines, or columns, with offsets, labels and scores.

    Without --model the pool is first adapted to the same texts, and what was chosen is said on standard error. With
    it, labels and mode are the model's unless given, texts are read as they are needed, and those that come through a
    pipe are answered as they come. What else is known of a text is kept; from columns to columns, with its types.

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
    if ray is not None:
        if clash := next((name for name in _NOT_BY_RAY if name in given), None):
            raise SamnerError(f"--{clash.replace('_', '-')} is not for --ray, which goes on by itself; leave one out")
        own = labels_given(labels, labels_file)
        asked = {"threshold": limits, "overlaps": overlaps, "mode": mode if "mode" in given else None}
        return _by_ray(ray, workers, texts, out, model, own, asked, format, out_format, device)
    if workers is not None:
        raise SamnerError("--workers is for --ray")
    to = _format_of(out, out_format)
    if to == "datasets":
        check_output_folder(out)
    elif out != STANDARD_STREAM:
        check_output_file(out, None if texts == STANDARD_STREAM else texts, force=force)
    elif resume:
        raise SamnerError("--resume needs -o FILE: what went to standard output cannot be gone on with")
    with nullcontext() if out == STANDARD_STREAM else exclusive(out):
        if model is None:
            from samner.backbones import is_server

            if is_server(device):
                raise SamnerError(
                    f"{device} cannot be asked for what is merged here: save it ('samner adapt --device'), export and "
                    "serve it, and give --model; or give a device of this machine"
                )
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
            run.to_file(parts, total, PartFile(out, run.identity(), resume), Output(out, to, texts, format))


def _format_of(out: Path, given: str | None) -> str:
    """The name of the format to write in.

    Raises:
        SamnerError: If it is none that holds everything, what writes it is not installed, or it needs a file.
    """
    if given is None:
        given = "jsonl" if out == STANDARD_STREAM else format_of_suffix(out) or "jsonl"
        given = given if given in _WRITTEN else "jsonl"
    if given not in _WRITTEN:
        raise SamnerError(
            f"--to must be {', '.join(_WRITTEN)}, not {given!r}; 'samner data convert' makes other formats of these"
        )
    told = None if out == STANDARD_STREAM else format_of_suffix(out)
    if told in _WRITTEN and told != given:
        raise SamnerError(
            f"{out}: its suffix says {told}, --to says {given}; leave out --to, or name the file otherwise"
        )
    if out == STANDARD_STREAM and given != "jsonl":
        raise SamnerError(f"--to {given} needs -o: on standard output goes JSON Lines")
    if library := FORMATS[given].library:
        library(str(out))
    return given


def _by_ray(
    address: str,
    workers: int | None,
    texts: Path,
    out: Path,
    model: Path | None,
    own: Sequence[EntityType] | None,
    asked: dict[str, Any],
    format: str | None,
    to: str | None,
    device: str,
) -> None:
    """Answer a folder of files by a pool of workers."""
    if STANDARD_STREAM in (texts, out):
        raise SamnerError("--ray reads a folder of files and writes another: name both (-o FOLDER)")
    if model is None:
        raise SamnerError("--ray needs --model: adapt to a few hundred of the texts first, with samner adapt")
    from samner.integrations.ray import connected, extract_files

    started = time.monotonic()
    recogniser = open_recogniser(model, "cpu")
    types = own or recogniser.types
    warn([*recogniser.warnings, *filter(None, [recogniser.warning_of(types)])])
    asked["threshold"] = asked["threshold"].of([t.name for t in types])
    place = _place(out)
    with nullcontext() if "://" in place else exclusive(out), connected(address, workers), Progress() as show:
        advance: Callable[[int], None] | None = None

        def on_shards(number: int) -> None:
            nonlocal advance
            if advance is None:
                advance = show.counter("files", number)
            else:
                advance(number)

        on_device = "cpu" if device == "auto" else device
        manifest = extract_files(
            *(_place(texts), place, model),
            **{"labels": types, "format": format, "to": to, "workers": workers, "device": on_device, **asked},
            on_shards=on_shards,
        )
    say(
        f"found {counted(manifest['entities'], 'entity')} in {counted(manifest['texts'], 'text')} of "
        f"{counted(len(manifest['shards']), 'file')}; this run took {time.monotonic() - started:.1f} s"
    )
    say(f"wrote {place}")


def _place(path: Path) -> str:
    """A path or URI as it was given: a ``Path`` of s3://bucket has lost a slash."""
    scheme, colon, rest = str(path).partition(":/")
    return f"{scheme}://{'/' if scheme == 'file' else ''}{rest}" if colon and "/" not in scheme else str(path)


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

    def to_file(self, parts: Iterable[list[Example]], total: int | None, part: PartFile, output: Output) -> None:
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
            part.finish(output)
        except BaseException:
            if done > kept:
                say(f"finished so far: {counted(done, 'text')}; the same command with --resume goes on")
            raise
        self._report(done - kept)
        say(f"wrote {output.path}")
        self._page(output.path, output.format)

    def _page(self, found: Path, format: str = "jsonl") -> None:
        """Write the page of what is in a file, if one is wanted."""
        if self.html is None:
            return
        there = {e.label for example in iter_examples(found, format) for e in example.entities}
        labels = [t.name for t in self.types if t.name in there]
        labels += sorted(there.difference(labels))
        with atomic_file(self.html) as temporary, temporary.open("w", encoding="utf-8", errors="replace") as file:
            file.writelines(page(iter_examples(found, format), labels, self.html.stem))
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
        return "".join(map(line_of, examples, answers))

    def _report(self, texts: int) -> None:
        seconds = time.monotonic() - self.started
        say(f"found {counted(self.found, 'entity')} in {counted(texts, 'text')} in {seconds:.1f} s")

    def identity(self) -> str:
        """Digest of everything that decides the results, but for the texts."""
        digest = self.model.digest(self.types, threshold=self.threshold, mode=self.mode, overlaps=self.overlaps)
        return hashlib.sha256(json.dumps([digest, self.labels_key]).encode()).hexdigest()
