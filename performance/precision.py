"""Measure what the number formats of a language model's linear layers cost and change.

python -m performance.precision
python -m performance.precision --texts texts.txt --labels person,city

The base of a pool reads the same texts in each format. Processor time counts, the least of the runs; an entity is the
same if offsets and type are, at the base's own threshold. A format that the processor has no instructions for is slow.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import get_args

from performance.merge.report import machine, table
from samner import ExpertPool
from samner.backbones import BASE
from samner.data import read_texts
from samner.entities import EntityType
from samner.precision import VARIABLE, Precision
from samner.spans import flat

LABELS = "person,organization,city,drug,disease,date"


def main(arguments: Sequence[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", default="smollm2", help="a pool over a language model that classifies tokens")
    parser.add_argument("--labels", default=LABELS, help="entity types, parted by commas")
    parser.add_argument("--texts", type=Path, help="texts to read; the sample that ships with samner if not given")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many runs counts")
    given = parser.parse_args(arguments)
    texts = read_texts(given.texts or Path(str(files("samner") / "samples" / "pharma_news.txt")))
    types = [EntityType(label) for label in given.labels.split(",")]
    found: dict[str, set[tuple[int, tuple[int, int, str]]]] = {}
    rows = []
    for precision in get_args(Precision):
        os.environ[VARIABLE] = precision
        backbone = ExpertPool.load(given.pool, "cpu").backbone
        seconds = float("inf")
        for _ in range(given.repeats):
            start = time.process_time()
            answers = backbone.predict(texts, types, [BASE], backbone.threshold)[BASE]
            seconds = min(seconds, time.process_time() - start)
        found[precision] = {(i, entity.key) for i, its in enumerate(answers) for entity in flat(its)}
        mine, exact = found[precision], found["float32"]
        same = 200 * len(mine & exact) / max(1, len(mine) + len(exact))
        rows.append([precision, f"{len(texts) / seconds:.1f}", str(len(mine)), f"{same:.1f} %"])
    text = f"{machine()}\n\n{table(('format', 'texts a second of processor time', 'entities', 'as in float32'), rows)}"
    print(text)
    return text


if __name__ == "__main__":
    main(sys.argv[1:])
