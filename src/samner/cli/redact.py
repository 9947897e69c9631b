"""``samner redact``: texts without what should not be read in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samner.cli import options
from samner.cli.adapt import Adaptation
from samner.cli.options import Thresholds, check_output_file, labels_given
from samner.cli.output import counted, say
from samner.cli.runtime import open_recogniser
from samner.data import iter_examples, write_examples
from samner.data.batches import batches
from samner.data.lines import STANDARD_STREAM
from samner.entities import Example
from samner.errors import SamnerError
from samner.progress import Progress

if TYPE_CHECKING:
    from samner.integrations.presidio import Redactor


_RESTORES = ("texts", "out", "key", "restore", "keep", "force", "format")
"""Parameters of ``redact`` that say something to ``--restore``."""
_MODELS = ("labels", "labels_file", "model", "pool", "threshold")
"""Those that say something of a model."""


def redact(
    context: typer.Context,
    texts: options.Texts,
    out: Annotated[
        Path,
        typer.Option("--out", "-o", metavar="FILE", help="The file to write, as its suffix says; - is JSON Lines."),
    ] = STANDARD_STREAM,
    model: Annotated[
        Path | None, typer.Option("--model", metavar="FOLDER", help="A model that 'samner adapt' saved.")
    ] = None,
    pool: options.Pool = options.DEFAULT_POOL,
    labels: options.Labels = None,
    labels_file: options.LabelsFile = None,
    patterns: Annotated[
        str,
        typer.Option(
            "--patterns",
            metavar="A,B,...",
            help="What is found by its form and validated: credit_card (Luhn), iban (checksum), email, phone; none.",
        ),
    ] = "credit_card,iban,email,phone",
    patterns_only: Annotated[
        bool, typer.Option("--patterns-only", help="Look for patterns alone; no model is asked.")
    ] = False,
    operator: Annotated[
        str,
        typer.Option(
            "--operator",
            metavar="HOW",
            help="replace: by the name of what it was; mask: by asterisks; hash: by a salted SHA-256, the same for "
            "the same words; encrypt: by a token that --restore turns back.",
        ),
    ] = "replace",
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help="The key of encrypt and --restore, and the salt of hash."),
    ] = None,
    new_key: Annotated[bool, typer.Option("--new-key", help="Make the key, and the file of --key.")] = False,
    restore: Annotated[bool, typer.Option("--restore", help="Put back what encrypt took out; needs --key.")] = False,
    threshold: options.Threshold = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(
            "--keep", metavar="FIELD", help="Another field of the texts to keep as it is; may be repeated. None is."
        ),
    ] = None,
    force: options.Force = False,
    format: options.Format = None,
    device: options.Device = "auto",
) -> None:
    """Replace what should not be read: names and whatever else a model finds, and patterns that are validated.

    Labels are looked for by a saved model (--model), or by a pool that is adapted to the texts (--labels). No tool
    finds everything: look at samples of what comes out. Needs the extra: pip install 'samner[presidio]'.

    Example: samner redact --labels person,organization,address letters.jsonl -o clean.jsonl
    """
    if out != STANDARD_STREAM:
        check_output_file(out, None if texts == STANDARD_STREAM else texts, force=force)
    from samner.integrations import presidio

    asked_for = options.given(context)
    if key is None and (new_key or restore or operator == "encrypt"):
        raise SamnerError("give the file of the key: --key FILE (--new-key makes it)")
    if restore:
        if clash := next((name for name in asked_for if name not in _RESTORES), None):
            raise SamnerError(f"--{clash.replace('_', '-')} is for redacting; leave out it or --restore")
        assert key is not None
        _restore(iter_examples(texts, format, labelled=False), presidio.read_key(key), keep or (), out)
        return
    if key is not None and operator not in ("encrypt", "hash"):
        raise SamnerError(f"--key is for --operator encrypt or hash, not for {operator}")
    limits = Thresholds.given(threshold)
    names = [] if patterns == "none" else [name.strip() for name in patterns.split(",")]
    if key is not None and new_key and key.exists():
        raise SamnerError(f"{key} exists already; leave out --new-key to use it, or name another file")
    secret = None if key is None else presidio.new_key() if new_key else presidio.read_key(key)
    presidio.Redactor(operator=operator, key=secret, patterns=names)  # refuses what is wrong, before the work
    own = labels_given(labels, labels_file)
    if patterns_only:
        if clash := next((name for name in _MODELS if name in asked_for), None):
            raise SamnerError(f"--patterns-only asks no model; leave out --{clash.replace('_', '-')}, or it")
        if not names:
            raise SamnerError("--patterns-only and --patterns none leave nothing to look for; leave out one of them")
        task_model, read = None, iter_examples(texts, format, labelled=False)
    elif model is None and own is None:
        raise SamnerError("say what to look for: --labels person,organization, --model FOLDER, or --patterns-only")
    elif model is not None:
        if own:
            raise SamnerError("a saved model brings its labels; leave out --labels or --model")
        if "pool" in asked_for:
            raise SamnerError("--pool is for adapting; with --model nothing is adapted, so leave one out")
        task_model, read = open_recogniser(model, device), iter_examples(texts, format, labelled=False)
    else:
        assert own is not None
        given = options.read_all(texts, format)
        adaptation = Adaptation(pool, "union", "auto", 10, 0, (), "ties", {}, None, device)
        task_model, read = adaptation([example.text for example in given], own), iter(given)
    asked = limits.of([t.name for t in task_model.types]) if task_model else limits.of([])
    first = next(read)  # what cannot be read is said before anything is written
    if key is not None and secret is not None and new_key:
        presidio.write_key(key, secret)
    redactor = presidio.Redactor(task_model, operator=operator, key=secret, patterns=names, threshold=asked)
    counts: Counter[str] = Counter()
    with Progress(quiet=out == STANDARD_STREAM) as show:
        advance = show.counter("texts", None)

        def clean() -> Iterator[Example]:
            for example in _redacted(redactor, chain([first], read), keep or ()):
                counts.update(texts=1, places=len(example.entities))
                advance()
                yield example

        write_examples(clean(), out)
    say(f"redacted {counted(counts['places'], 'place')} in {counted(counts['texts'], 'text')}")
    if out != STANDARD_STREAM:
        say(f"wrote {out}")


def _redacted(redactor: Redactor, examples: Iterator[Example], keep: Sequence[str]) -> Iterator[Example]:
    for batch in batches(examples):
        for given, clean in zip(batch, redactor.redact([example.text for example in batch]), strict=True):
            yield replace(clean, meta={name: given.meta[name] for name in keep if name in given.meta})


def _restore(examples: Iterator[Example], key: bytes, keep: Sequence[str], out: Path) -> None:
    """Write texts with the words again that ``encrypt`` took out, and say how many; fail if tokens are left."""
    from samner.integrations import presidio

    counts: Counter[str] = Counter()

    def whole() -> Iterator[Example]:
        for number, example in enumerate(examples, 1):
            try:
                text = presidio.restore(example.text, key)
            except SamnerError as error:
                raise SamnerError(f"text {number}: {error}") from error
            broken = presidio.broken_tokens(example.text)
            if broken and not counts["broken"]:
                counts["first"] = number
            counts.update(texts=1, restored=int(text != example.text), broken=broken)
            yield Example(text, meta={name: example.meta[name] for name in keep if name in example.meta})

    write_examples(whole(), out)
    say(f"restored {counts['restored']} of {counted(counts['texts'], 'text')}")
    if counts["broken"]:
        say(
            f"error: not restored: {counted(counts['broken'], 'token')} that lost a part since 'encrypt' wrote them; "
            f"the first is in text {counts['first']}"
        )
        raise typer.Exit(1)
    if not counts["restored"]:
        say("warning: nothing is encrypted there; --restore turns back --operator encrypt alone")
