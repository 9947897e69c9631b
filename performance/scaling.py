"""Measure extraction by one and two Ray workers, and what a text costs with either pool; write docs/scaling.md.

python -m performance.scaling [--workers 1,2] [--shards 12] [--texts 50] [--pools builtin,smollm2]

Shards of the sentences that ship with samner, over and over, are answered on a cluster of this machine by a model
adapted from the built-in pool. Counted is the time after each worker has done one shard, so that neither loading nor
Ray's start is in it. What a text costs is processor time of one pass of a pool's base over those sentences; a union of
two task models takes two. Core-hours for more texts are arithmetic: so many times that.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from performance.merge.measure import ROOT
from performance.merge.report import machine, table
from samner import ExpertPool, adapt
from samner.backbones import BASE
from samner.benchmark.report.document import check_part, write_part
from samner.cli.output import guarded
from samner.entities import EntityType
from samner.integrations.ray import connected, extract_files

PAGE, PART = ROOT / "docs" / "scaling.md", "performance.scaling"
LABELS = ("person", "organization", "city", "drug", "disease", "date")
HOUR = 3600


@guarded()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,2")
    parser.add_argument("--shards", type=int, default=12)
    parser.add_argument("--texts", type=int, default=50, help="of a shard")
    parser.add_argument("--pools", default="builtin,smollm2")
    parser.add_argument("--no-write", action="store_true", help="print the tables, and leave docs/scaling.md as it is")
    given = parser.parse_args(arguments)
    if not given.no_write:
        check_part(PAGE, PART)
    os.environ["OMP_NUM_THREADS"] = "1"
    lines = (files("samner") / "samples" / "pharma_news.txt").read_text(encoding="utf-8").splitlines()
    texts = [line for line in lines if line]
    words = sum(len(text.split()) for text in texts) / len(texts)
    with tempfile.TemporaryDirectory() as name:
        folder = prepared(Path(name), texts, given.shards, given.texts)
        counts = map(int, given.workers.split(","))
        rates = {count: rate(folder, count, given.shards, given.texts) for count in counts}
    first = next(iter(rates.values()))
    costs = [cost(pool, texts) for pool in given.pools.split(",")]
    text = "\n\n".join(
        [
            f"{machine()} Sentences of {words:.0f} words, {len(LABELS)} types; of {os.cpu_count()} "
            f"processors this run may use {len(os.sched_getaffinity(0))}.",
            table(
                ("workers", "texts/s", "times one"),
                [[str(count), f"{one:.1f}", f"{one / first:.2f}"] for count, one in rates.items()],
            ),
            table(
                (
                    *("pool", "ms of processor a pass", "texts/s of a core, union"),
                    *("core-hours a million texts", "core-hours a billion texts"),
                ),
                costs,
            ),
        ]
    )
    print(text)
    if not given.no_write:
        write_part(PAGE, PART, text)


def prepared(folder: Path, texts: Sequence[str], shards: int, size: int) -> Path:
    """The folder, with a model and shards in it."""
    adapt(ExpertPool.load("builtin"), texts, LABELS).save(folder / "model")
    (folder / "in").mkdir()
    endless = itertools.cycle(texts)
    for shard in range(shards):
        content = "".join(json.dumps({"text": text}) + "\n" for text in itertools.islice(endless, size))
        (folder / "in" / f"{shard:03}.jsonl").write_text(content)
    return folder


def rate(folder: Path, workers: int, shards: int, size: int) -> float:
    """Texts a second that so many workers answer, once each has done a shard."""
    done: list[float] = []  # the first is the call before any
    with connected("local", workers):
        extract_files(
            *(folder / "in", folder / f"out-{workers}", folder / "model"),
            workers=workers,
            on_shards=lambda _: done.append(time.monotonic()),
        )
    return (shards - workers) * size / (done[-1] - done[workers])


def cost(pool: str, texts: Sequence[str]) -> list[str]:
    """A row: what a pass of a pool costs, and what follows."""
    backbone = ExpertPool.load(pool, "cpu").backbone
    types = [EntityType(label) for label in LABELS]
    seconds = float("inf")
    for _ in range(2):
        start = time.process_time()
        backbone.predict(texts, types, [BASE], backbone.threshold)
        seconds = min(seconds, (time.process_time() - start) / len(texts))
    union = 2 * seconds
    hours = [f"{union * count / HOUR:,.{digits}f}" for count, digits in ((1e6, 1), (1e9, 0))]
    return [f"`{pool}`", f"{1000 * seconds:.1f}", f"{1 / union:.1f}", *hours]


if __name__ == "__main__":
    main(sys.argv[1:])
