"""Adapt the built-in pool to the sample texts that ship with samner, and show what it chose, why, and what it finds.

python examples/demo.py
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import resources

from rich.console import Console
from rich.table import Table
from rich.text import Text

from samner import Entity, ExpertPool, TaskModel, adapt
from samner.cli.runtime import start

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


def main() -> None:
    device = start("auto")  # quietens the libraries below
    console = Console(width=110)
    samples = resources.files("samner") / "samples" / "pharma_news.txt"
    texts = samples.read_text(encoding="utf-8").splitlines()

    console.print(f"Adapting to {len(texts)} unlabelled texts and the types {', '.join(LABELS)} ...")
    started = time.perf_counter()
    model = adapt(ExpertPool.load("builtin", device), texts, LABELS)
    console.print(selection_table(model))
    sampling = model.selections["sampling"]
    console.print(
        f"Sampling: {len(sampling.sample)} texts, {len(sampling.pseudo_labels)} entities that at least "
        f"{sampling.votes_needed} experts agree on. {sampling.note}"
    )
    console.print(f"Selected and merged in {time.perf_counter() - started:.1f} s.\n")

    for text, entities in zip(texts, model.predict(texts), strict=True):
        console.print(marked(text, entities, LABELS))


if __name__ == "__main__":
    main()
