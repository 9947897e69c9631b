"""``samner evaluate``: how right predictions are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from samner.cli import options
from samner.cli.options import labels_given
from samner.cli.output import console, counted, say, table, write_json
from samner.data import read_examples, read_gold
from samner.data.lines import STANDARD_STREAM
from samner.data.validation import declines
from samner.display import printable
from samner.entities import EntityType, Example, entity_types
from samner.errors import DataError, SamnerError

if TYPE_CHECKING:
    from samner.scoring import Counts, Report


_SHOWN = 3
"""Of a kind of mistake, how many labels are named."""


def evaluate(
    gold: Annotated[
        Path, typer.Option("--gold", metavar="FILE", help="Texts with their true entities.", show_default=False)
    ],
    predicted: Annotated[
        Path,
        typer.Option(
            "--predicted",
            metavar="FILE",
            help="The same texts with the entities found, in the same order.",
            show_default=False,
        ),
    ],
    labels: options.Labels = None,
    labels_file: options.LabelsFile = None,
    format: options.Format = None,
    json: options.Json = False,
) -> None:
    """Score predicted entities against gold.

    Two scores side by side: strict (exact offsets and type) and string (UniversalNER's, by which most zero-shot
    results are published), each with a 95 % confidence interval; then the kinds of mistakes, and which labels were
    mixed up. All labels that occur are scored, unless some are given. To measure a pool on whole targets, see samner
    benchmark.

    Example: samner evaluate --gold gold.jsonl --predicted out.jsonl
    """
    asked = labels_given(labels, labels_file)
    from samner.scoring import score

    if gold == predicted == STANDARD_STREAM:
        raise SamnerError("only one of --gold and --predicted can be standard input")
    true, found = read_gold(gold, format), read_examples(predicted, format)
    _check_same_texts(gold, true, predicted, found)
    if out := sum(bool(declines(example.meta)) for example in true):
        say(f"left out {counted(out, 'text')} of which {gold} says that its labels do not count")
        pairs = [(one, other) for one, other in zip(true, found, strict=True) if not declines(one.meta)]
        true, found = [one for one, _ in pairs], [other for _, other in pairs]
    in_gold, in_predicted = _labels(true), _labels(found)
    if not in_gold:
        raise DataError(f"{gold}: no text whose labels count has an entity, so there is nothing to score against")
    if asked is None:
        asked = _all_labels(in_gold, in_predicted)
    else:
        names = {label.name for label in asked}
        if unknown := [label.name for label in asked if label.name not in in_gold | in_predicted]:
            there = ", ".join(sorted(in_gold | in_predicted))
            raise SamnerError(f"the label {unknown[0]!r} occurs in neither file; there are {there}")
        true, found = _only(names, true), _only(names, found)
    report = score(true, [example.entities for example in found], asked)
    if json:
        write_json(report.to_dict())
    else:
        _show(report)


def _check_same_texts(gold: Path, true: Sequence[Example], predicted: Path, found: Sequence[Example]) -> None:
    if len(true) != len(found):
        texts = counted(len(true), "text")
        raise DataError(f"{gold} has {texts} but {predicted} has {len(found)}; they must be the same")
    for number, (one, other) in enumerate(zip(true, found, strict=True), start=1):
        if one.text != other.text:
            raise DataError(f"text {number} of {predicted} is not text {number} of {gold}; they must be the same")


def _labels(examples: Sequence[Example]) -> set[str]:
    return {label for example in examples for label in example.labels()}


def _all_labels(in_gold: Collection[str], in_predicted: Collection[str]) -> tuple[EntityType, ...]:
    for names, where in ((set(in_predicted) - set(in_gold), "predicted"), (set(in_gold) - set(in_predicted), "gold")):
        if names:
            say(f"only in {where}: {', '.join(printable(name, lines=False) for name in sorted(names))}")
    return entity_types(sorted({*in_gold, *in_predicted}))


def _only(names: Collection[str], examples: Sequence[Example]) -> list[Example]:
    return [replace(e, entities=tuple(entity for entity in e.entities if entity.label in names)) for e in examples]


def _show(report: Report) -> None:
    to = console()
    to.print(counted(report.texts, "text"))
    scores = {"strict": report.strict, "string": report.string}
    rows = [[name, *_numbers(s.counts), f"{s.f1_ci95[0]:.3f} to {s.f1_ci95[1]:.3f}"] for name, s in scores.items()]
    columns = ["precision", "recall", "F1", "gold", "found"]
    to.print(table(["score", *columns, "95 % interval of F1"], rows, right=columns))
    to.print()
    types = [[label, *_numbers(counts)] for label, counts in report.per_type.items()]
    to.print(table(["label (strict)", *columns], types, right=columns))
    made = report.mistakes
    kinds: dict[str, Counter[str]] = {
        "another label": Counter({f"{gold} as {found}": n for (gold, found), n in made.label.items()}),
        "another boundary": made.boundary,
        "spurious": made.spurious,
        "missed": made.missed,
    }
    if rows := [[kind, its.total(), _most(its)] for kind, its in kinds.items() if its]:
        to.print()
        to.print(table(["mistake", "times", "most often"], rows, right=["times"]))


def _most(counter: Counter[str]) -> str:
    return ", ".join(f"{what} ({n})" for what, n in counter.most_common(_SHOWN))


def _numbers(counts: Counts) -> list[object]:
    return [counts.precision, counts.recall, counts.f1, counts.tp + counts.fn, counts.tp + counts.fp]
