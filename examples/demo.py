"""Adapt a pool to the sample texts that ship with samner: what it chose, why, what it finds, and how right that is.

python -m examples.demo [POOL]

By default the pool over SmolLM2, where that is installed (`make demo` does it), else the small one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from importlib import resources

from rich.console import Console
from rich.table import Table
from rich.text import Text

from samner import Entity, ExpertPool, TaskModel, adapt
from samner.cli.output import guarded
from samner.cli.runtime import start
from samner.data import read_examples
from samner.pools import default_pool
from samner.scoring import score

LABELS = ["person", "organization", "city", "drug", "disease", "date"]
STYLES = ["cyan", "green", "yellow", "magenta", "red", "blue"]
"""Of the labels, in their order."""


def selection_table(model: TaskModel) -> Table:
    """Every expert with the scores it was ranked by, and which strategy chose it."""
    similarity, sampling = model.selections["similarity"], model.selections["sampling"]
    table = Table(title="Which experts, and why")
    for column in ("expert", "similarity to the texts", "agreement on the sample (F1)", "chosen by"):
        table.add_column(column)
    for name in similarity.ranking:
        chosen = [s.strategy for s in (similarity, sampling) if name in s.chosen]
        table.add_row(name, f"{similarity.cosine[name]:.3f}", f"{sampling.f1[name]:.3f}", ", ".join(chosen) or "-")
    return table


def sampling_line(model: TaskModel) -> str:
    """What selection by sampling went by."""
    sampling = model.selections["sampling"]
    agreed = f"{len(sampling.pseudo_labels)} entities that at least {sampling.votes_needed} experts agree on. "
    return f"Sampling: {len(sampling.sample)} texts, {agreed if sampling.pseudo_labels else ''}{sampling.note}"


def marked(text: str, entities: Sequence[Entity], labels: Sequence[str]) -> Text:
    """The text with its entities coloured and named."""
    result, last = Text(), 0
    for entity in entities:
        result.append(text[last : entity.start])
        style = STYLES[labels.index(entity.label)]
        result.append(f"[{text[entity.start : entity.end]}]", style=f"bold {style}")
        result.append(f" {entity.label}", style=f"italic {style}")
        last = entity.end
    return result.append(text[last:])


@guarded()
def main() -> None:
    device = start("auto")  # quietens the libraries below
    console = Console(width=110)
    folder = resources.files("samner") / "samples"
    texts = (folder / "pharma_news.txt").read_text(encoding="utf-8").splitlines()
    name = sys.argv[1] if len(sys.argv) > 1 else default_pool()

    console.print(f"Adapting the pool {name} to {len(texts)} unlabelled texts and the types {', '.join(LABELS)} ...")
    started = time.perf_counter()
    model = adapt(ExpertPool.load(name, device), texts, LABELS)
    console.print(selection_table(model))
    console.print(sampling_line(model))
    console.print(f"Selected and merged in {time.perf_counter() - started:.1f} s.\n")

    started = time.perf_counter()
    found = model.predict(texts)
    seconds = time.perf_counter() - started
    for text, entities in zip(texts, found, strict=True):
        console.print(marked(text, entities, LABELS))
    with resources.as_file(folder / "pharma_news.gold.jsonl") as path:
        report = score(read_examples(path), found, LABELS)
    console.print(
        f"\nTwo task models read {len(texts)} texts in {seconds:.1f} s. Against what people marked by hand: strict F1 "
        f"{100 * report.strict.counts.f1:.1f} (precision {100 * report.strict.counts.precision:.1f}, "
        f"recall {100 * report.strict.counts.recall:.1f})."
    )


if __name__ == "__main__":
    main()
