"""How many texts a second the bases of some pools read by themselves, for more and more types.

    python -m studies.base_speed src/samner/pools/builtin runs/gliner2/pool --types 6 24 96

Bases in turn, on one thread; the least processor time of some rounds counts. The names of types are made up, and known
to a base before the clock starts.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

import torch

from samner.backbones import BASE, Backbone
from samner.cli.output import guarded
from samner.entities import entity_types
from samner.pool import ExpertPool


def rates(bases: Sequence[Backbone], texts: Sequence[str], counts: Sequence[int], rounds: int) -> list[list[float]]:
    """Texts a second of processor time, of each base for each number of types."""
    rows: list[list[float]] = [[] for _ in bases]
    for count in counts:
        types = entity_types(f"kind {number} of thing" for number in range(count))
        least = [float("inf")] * len(bases)
        for base in bases:
            base.predict(texts[:1], types, [BASE], base.threshold)
        for _ in range(rounds):
            for i, base in enumerate(bases):
                start = time.process_time()
                base.predict(texts, types, [BASE], base.threshold)
                least[i] = min(least[i], time.process_time() - start)
        for row, seconds in zip(rows, least, strict=True):
            row.append(len(texts) / seconds)
    return rows


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pools", nargs="+", type=Path, metavar="POOL")
    parser.add_argument("--types", nargs="+", type=int, default=[6, 24, 96], help="how many")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    texts = (files("samner") / "samples" / "pharma_news.txt").read_text(encoding="utf-8").splitlines()
    bases = [ExpertPool.load(str(pool), "cpu").backbone for pool in arguments.pools]
    print("| base, texts/s | " + " | ".join(f"{count} types" for count in arguments.types) + " |")
    print("|---|" + "---:|" * len(arguments.types))
    for pool, row in zip(arguments.pools, rates(bases, texts, arguments.types, arguments.rounds), strict=True):
        print(f"| {pool.name} | " + " | ".join(f"{rate:.1f}" for rate in row) + " |")


if __name__ == "__main__":
    main()
