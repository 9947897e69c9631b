"""Measure pools of many experts and write the tables into docs/benchmarks.md.

python -m performance.pool [--experts 100,1000,3000] [--no-write]

Over the base of the built-in pool lie random experts of rank 1, each with a card like those that `samner train` writes
(384 numbers of embedding, ten types of three hundred, a training record). A fresh process opens the pool, reads the
cards, makes them all (what `samner pool list` shows), and ranks the experts by similarity to a target that is embedded
already; then it adds experts, and selects by sampling for several targets, one after the other. Processor time counts:
this process alone does the work, whatever else the machine does. 10,000 experts are arithmetic: what an expert costs
between the two largest pools, so many times more.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
import psutil
import torch
from safetensors.torch import save

from performance.merge.measure import ROOT, answer
from performance.merge.report import machine, table
from samner import ExpertPool
from samner.adaptation import select
from samner.benchmark.report.document import check_part, write_part
from samner.cli.output import guarded
from samner.embedding import embed_domain
from samner.entities import entity_types
from samner.pool import ExpertCard
from samner.selection import select_by_similarity

PAGE, PART = ROOT / "docs" / "benchmarks.md", "performance.pool"
FAR = 10_000
TYPES = 300
ADDED, TARGETS = 3, 4
TIMES = {
    "cards, read for the first time": "first",
    "cards, known to the user's index": "cards",
    "cards, asked again": "again",
    "similarity, after embedding": "similarity",
    "all of them at once: open, cards, similarity": "goal",
    "every card made, as a list shows them": "list",
    "`pool.add`, an expert": "add",
    "selection by sampling, base loaded": "sampling",
}
MEMORY = {
    "cards known": "MB cards",
    "every card made": "MB list",
    "selection by sampling for one target": "MB one",
    f"for {TARGETS} targets": "MB several",
}
T = TypeVar("T")


@guarded()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", default="100,1000,3000", help="sizes of the pool, parted by commas")
    parser.add_argument("--no-write", action="store_true", help="print the tables, and leave docs/benchmarks.md alone")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--brief", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.measure:
        print(json.dumps(measured(given.measure, given.brief)))
        return
    counts = sorted(map(int, given.experts.split(",")))
    if len(counts) < 2:
        parser.error("--experts: give two sizes or more, as what an expert costs is told by their difference")
    if not given.no_write:
        check_part(PAGE, PART)
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pool"
        for count in counts:
            grow(folder, count)
            home = Path(name) / f"home-{count}"
            first = child(folder, home, "--brief")["cards"]
            found[count] = {"first": first, **child(folder, home)}
    text = report(found)
    print(text)
    if not given.no_write:
        write_part(PAGE, PART, text)


def grow(folder: Path, count: int) -> ExpertPool:
    """The pool in a folder, made if missing, with random experts up to a number."""
    source = ExpertPool.load("builtin", "cpu")
    pool = ExpertPool(folder, "cpu") if folder.exists() else ExpertPool.create(folder, source.base_folder)
    shapes, fingerprint = source.backbone.module_shapes(), source.backbone.fingerprint
    like = source.experts["legal"]
    config = json.loads((source.expert_folder("legal") / "adapter_config.json").read_text(encoding="utf-8"))
    config_bytes = json.dumps(config | {"r": 1, "lora_alpha": 2}).encode()
    for number in range(len(pool.names), count):
        random, draw = np.random.default_rng(number), torch.Generator().manual_seed(number)
        weights = {
            f"base_model.model.{module}.lora_{letter}.weight": (0.02 * torch.randn(shape, generator=draw)).half()
            for module, (rows, columns) in shapes.items()
            for letter, shape in (("A", (1, columns)), ("B", (rows, 1)))
        }
        contents = {"adapter_config.json": config_bytes, "adapter_model.safetensors": save(weights)}
        embedding = random.normal(size=len(like.embedding))
        card = like.model_copy(
            update={
                "name": f"expert-{number:05}",
                "base": fingerprint,
                "types": tuple(f"type {i}" for i in sorted(random.choice(TYPES, 10, replace=False))),
                "embedding": tuple((embedding / np.linalg.norm(embedding)).round(6).tolist()),
                "description": f"Random weights, number {number}",
                "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
                "digest": "",
            }
        )
        contents["expert.json"] = json.dumps(card.model_dump(mode="json"), indent=2).encode()
        (folder / "experts" / card.name).mkdir()
        for name, content in contents.items():
            (folder / "experts" / card.name / name).write_bytes(content)
    return pool


def child(folder: Path, home: Path, *options: str) -> dict[str, float]:
    """What a process of its own measures, which keeps what is the user's in ``home``."""
    command = [sys.executable, "-m", "performance.pool", "--measure", str(folder), *options]
    found: dict[str, float] = answer(command, {"SAMNER_HOME": str(home)})
    return found


def measured(folder: Path, brief: bool) -> dict[str, float]:
    """Seconds of processor, and bytes of memory beyond those before, of what is done to a pool.

    Args:
        folder: Of the pool.
        brief: Whether opening it is enough.
    """
    lines = (files("samner") / "samples" / "pharma_news.txt").read_text(encoding="utf-8").splitlines()
    texts = [line for line in lines if line]
    embed_domain(texts)  # the encoder is loaded, and this target known
    process, answer = psutil.Process(), {}
    before = process.memory_info().rss

    def memory(name: str) -> None:
        answer[f"MB {name}"] = process.memory_info().rss - before

    pool, answer["open"] = timed(lambda: ExpertPool.load(folder, "cpu"))
    experts, answer["cards"] = timed(lambda: pool.experts)
    memory("cards")
    if brief:
        return answer
    _, answer["similarity"] = timed(lambda: select_by_similarity(experts, texts))
    answer["goal"] = answer["open"] + answer["cards"] + answer["similarity"]
    _, answer["again"] = timed(lambda: pool.experts)
    _, answer["list"] = timed(lambda: list(experts.values()))
    memory("list")

    source = pool.expert_folder(pool.names[0])
    _ = pool.backbone
    adding = []
    for number in range(ADDED):
        adding.append(timed(lambda name=f"added-{number}": added(pool, source, name))[1])
    for number in range(ADDED):
        pool.remove(f"added-{number}")
    answer["add"] = median(adding)

    types = entity_types(["person", "drug", "disease", "city"])
    before = process.memory_info().rss
    size = len(texts) // TARGETS
    for number in range(TARGETS):
        some = texts[number * size : (number + 1) * size]
        _, seconds = timed(lambda some=some: select(pool, some, types, mode="sampling"))
        memory("several")
        answer.setdefault("MB one", answer["MB several"])
        answer["sampling"] = seconds  # of the last: by then, names of types are embedded
    return answer


def added(pool: ExpertPool, source: Path, name: str) -> ExpertCard:
    """The card of an expert once it is added, and counted as ``samner pool add`` does it."""
    card = pool.add(source, name)
    assert name in pool.names
    return card


def timed(do: Callable[[], T]) -> tuple[T, float]:
    """What a function answers, and the seconds of processor that it took."""
    start = time.process_time()
    answer = do()
    return answer, time.process_time() - start


def report(found: dict[int, dict[str, float]]) -> str:
    """The tables, and what they say of more experts."""
    counts = sorted(found)
    one, other = counts[-2:]

    def rows(names: dict[str, str], unit: float) -> list[list[str]]:
        made = []
        for title, name in names.items():
            values = {count: found[count][name] * unit for count in counts}
            slope = (values[other] - values[one]) / (other - one)
            far = values[other] + slope * (FAR - other)
            made.append([title, *(f"{value:.1f}" for value in (*values.values(), 1000 * slope)), f"{far:.0f}"])
        return made

    header = ["", *(f"{count:,} experts" for count in counts), "a thousand more", f"{FAR:,}, by arithmetic"]
    memory = "MB of memory beyond what the process had before (torch, sentence encoder; by sampling, the base model):"
    times = table(header, rows(TIMES, 1000))
    return "\n\n".join(
        [f"{machine()} One core; milliseconds of processor time:", times, memory, table(header, rows(MEMORY, 1e-6))]
    )


if __name__ == "__main__":
    main(sys.argv[1:])
