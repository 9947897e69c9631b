"""Measure what the number formats of a base's linear layers cost and change.

python -m performance.precision
python -m performance.precision --pool builtin --repeats 1 --most 60 ../shared/data/train/*/*/dev.jsonl

Each writes its table into docs/benchmarks.md.

The base of a pool reads the same labelled texts in each format, asked for the types that stand in their file.
Processor time counts, the least of the runs; an entity is the same if offsets and type are, at the base's own
threshold. F1 is strict, of all texts together. A format that the processor has no instructions for is slow.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import get_args

from performance.merge.measure import ROOT
from performance.merge.report import machine, table
from samner import ExpertPool
from samner.backbones import BASE
from samner.benchmark.report.document import check_part, write_part
from samner.cli.output import guarded
from samner.data import read_examples
from samner.entities import EntityType
from samner.precision import VARIABLE, Precision
from samner.scoring import span_counts, total
from samner.spans import flat

PAGE, PART = ROOT / "docs" / "benchmarks.md", "performance.precision"


@guarded()
def main(arguments: Sequence[str] | None = None) -> str:
    sample = Path(str(files("samner") / "samples" / "pharma_news.gold.jsonl"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=[sample], help="labelled texts; else samner's sample")
    parser.add_argument("--pool", default="smollm2")
    parser.add_argument("--most", type=int, default=100, help="texts of a file, its first")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many runs counts")
    parser.add_argument("--no-write", action="store_true", help="print the table, and leave docs/benchmarks.md alone")
    given = parser.parse_args(arguments)
    if not given.no_write:
        check_part(PAGE, f"{PART} {given.pool}")
    sets = [read_examples(file)[: given.most] for file in given.files]
    asked = [[EntityType(label) for label in sorted({e.label for x in s for e in x.entities})] for s in sets]
    gold = [example.entities for examples in sets for example in examples]
    exact: set[tuple[int, tuple[int, int, str]]] = set()
    rows = []
    for precision in get_args(Precision):
        os.environ[VARIABLE] = precision
        backbone = ExpertPool.load(given.pool, "cpu").backbone
        seconds = float("inf")
        for _ in range(given.repeats):
            start = time.process_time()
            answers = []
            for examples, types in zip(sets, asked, strict=True):
                texts = [example.text for example in examples]
                answers += backbone.predict(texts, types, [BASE], backbone.threshold)[BASE]
            seconds = min(seconds, time.process_time() - start)
        found = [flat(entities) for entities in answers]
        mine = {(i, entity.key) for i, entities in enumerate(found) for entity in entities}
        exact = exact or mine  # float32 comes first
        same = 200 * len(mine & exact) / max(1, len(mine) + len(exact))
        f1 = 100 * total(span_counts(gold, found)).f1
        rows.append([precision, f"{len(gold) / seconds:.1f}", str(len(mine)), f"{same:.1f} %", f"{f1:.2f}"])
    head = ("format", "texts a second of processor time", "entities", "as in float32", "F1")
    text = f"{machine()}\n\n{len(gold)} texts.\n\n{table(head, rows)}"
    print(text)
    if not given.no_write:
        write_part(PAGE, f"{PART} {given.pool}", text)
    return text


if __name__ == "__main__":
    main()
