"""Measure adapting the built-in pool to 500 sentences and write the table into docs/benchmarks.md.

python -m performance.adapt
python -m performance.adapt --pool smollm2 --sentences 24

Of another pool or number of sentences the table is only printed.

From a fresh process to a saved model, by steps. The sentences are the 24 that ship with samner over and over: how long
it takes depends on their number and length, and no step keeps what it knows of a text.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import resource
import tempfile
import time
import warnings
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import psutil

LABELS = ("person", "company", "city", "drug", "disease", "court", "government agency", "date")
POOL, SENTENCES = "builtin", 500


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pool", default=POOL, help="the pool to adapt")
    parser.add_argument("--sentences", type=int, default=SENTENCES, help="how many sentences to adapt to and to ask")
    given = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    times = [psutil.Process().create_time()]
    from samner import ExpertPool, adapt

    logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
    times.append(time.time())
    lines = (files("samner") / "samples" / "pharma_news.txt").read_text(encoding="utf-8").splitlines()
    texts = list(itertools.islice(itertools.cycle(line for line in lines if line), given.sentences))
    pool = ExpertPool.load(given.pool)
    model = adapt(pool, texts, LABELS)
    times.append(time.time())
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "model")
        times.append(time.time())
    model.predict(texts)
    times.append(time.time())

    # not before: these import what samner does only when it is needed
    from performance.merge.measure import ROOT
    from performance.merge.report import machine, megabytes, seconds, table, write

    steps = (
        "starting Python, importing samner",
        "`adapt`: base, selection, two merges",
        "`save`",
        f"`predict` on the same {given.sentences}",
    )
    rows = [(step, seconds(b - a)) for step, (a, b) in zip(steps, itertools.pairwise(times), strict=True)]
    rows.insert(3, ("**to the saved model**", f"**{seconds(times[3] - times[0])}**"))
    peak = megabytes(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
    text = f"{machine()}\n\n{table(('step', 'seconds'), rows)}\n\nPeak RSS {peak} MB."
    print(text)
    if (given.pool, given.sentences) == (POOL, SENTENCES):
        write(ROOT / "docs" / "benchmarks.md", "adapt", text)


if __name__ == "__main__":
    main()
