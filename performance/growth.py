"""Measure how cost grows with texts, their length, labels, experts, rank and size of the model; plot it.

python -m performance.growth

Writes docs/growth.svg and the table of docs/benchmarks.md. A cost is processor time of one thread. All sizes of a
curve are measured in turn, three times over, and the medians count. The exponent is the slope of a straight line
through the logarithms: 1 is linear. What does not grow with the size (a start, a first pass) makes it smaller, so it
is that of the upper half of the sizes; *last step* is what the last two say.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from performance.adapt import LABELS
from performance.bench import processor_seconds, sentences
from performance.merge.measure import ROOT
from samner.cli.output import guarded

PAGE, PART, PLOT = ROOT / "docs" / "benchmarks.md", "performance.growth", ROOT / "docs" / "growth.svg"
ROUNDS = 3
Actions = dict[int, Callable[[], object]]


@dataclass(frozen=True)
class Curve:
    """Seconds of processor by size."""

    work: str
    unit: str
    seconds: dict[int, float]

    @property
    def exponent(self) -> float:
        """Of a power that is fitted to the upper half of the sizes."""
        sizes = sorted(self.seconds)[len(self.seconds) // 2 - 1 :]
        return _slope(sizes, [self.seconds[size] for size in sizes])

    @property
    def last(self) -> float:
        """Of the power through the two largest."""
        sizes = sorted(self.seconds)[-2:]
        return _slope(sizes, [self.seconds[size] for size in sizes])


def _slope(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


@guarded()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-write", action="store_true", help="print the table, and leave docs alone")
    given = parser.parse_args(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch reads it
    warnings.filterwarnings("ignore")
    from performance.merge.report import machine, table
    from samner.benchmark.report.document import check_part, write_part
    from samner.figures import check_suffix

    if not given.no_write:
        check_part(PAGE, PART)
        check_suffix(PLOT)
    curves = [curve for part in (reading, selecting, merging) for curve in part()]
    rows = [
        [
            *(curve.work, curve.unit, ", ".join(f"{size:,}" for size in curve.seconds)),
            ", ".join(f"{1000 * seconds:.0f}" for seconds in curve.seconds.values()),
            *(f"{curve.exponent:.2f}", f"{curve.last:.2f}"),
        ]
        for curve in curves
    ]
    header = ("what is done", "grows with", "sizes", "ms of processor", "exponent", "last step")
    text = f"{machine()} One thread.\n\n{table(header, rows)}"
    print(text)
    if not given.no_write:
        draw(curves, PLOT)
        write_part(PAGE, PART, text)


def measured(work: str, unit: str, actions: Actions) -> Curve:
    """The curve of something that is done at several sizes, once each before it counts."""
    for action in actions.values():
        action()
    rounds = [{size: processor_seconds(action) for size, action in actions.items()} for _ in range(ROUNDS)]
    print(f"{work}, {unit}: done", file=sys.stderr, flush=True)
    return Curve(work, unit, {size: statistics.median(one[size] for one in rounds) for size in actions})


def reading() -> list[Curve]:
    """Embedding and extraction."""
    from samner import ExpertPool, adapt
    from samner.embedding import encode

    texts = sentences(480)
    model = adapt(ExpertPool.load("builtin", "cpu"), texts[:24], LABELS)
    words = list(itertools.islice(itertools.cycle(" ".join(texts[:24]).split()), 12_800))
    kinds = [f"kind {number} of thing" for number in range(640)]

    def predict(read: Sequence[str], labels: Sequence[str] = LABELS) -> Callable[[], object]:
        return lambda: model.predict(read, labels)

    fresh = itertools.count()
    return [
        measured("embedding", "texts", {n: lambda n=n: encode(texts[:n], fast=True) for n in (30, 60, 120, 240, 480)}),
        measured("extraction", "texts", {n: predict(texts[:n]) for n in (15, 30, 60, 120, 240)}),
        measured(
            "extraction", "words of a text", {n: predict([" ".join(words[:n])]) for n in (400, 1600, 6400, 12800)}
        ),
        measured(
            *("extraction, types known", "types"), {n: predict(texts[:24], kinds[:n]) for n in (10, 40, 160, 640)}
        ),
        measured(
            *("embedding new types", "types"),
            {n: lambda n=n: encode([f"{kind}, {next(fresh)}" for kind in kinds[:n]]) for n in (40, 80, 160, 320, 640)},
        ),
    ]


def selecting() -> list[Curve]:
    """Sampling: experts, and texts that they are asked about."""
    from samner import ExpertPool
    from samner.adaptation import select
    from samner.embedding import embed_domain
    from samner.entities import entity_types

    pool, texts, types = ExpertPool.load("builtin", "cpu"), sentences(24), entity_types(LABELS)
    embed_domain(texts)
    names = list(pool.names)

    def sampling(experts: int, samples: int) -> Callable[[], object]:
        return lambda: select(pool, texts, types, mode="sampling", samples=samples, exclude=names[experts:])

    return [
        measured("selection by sampling", "experts", {n: sampling(n, 10) for n in (2, 3, 5, 7)}),
        measured("selection by sampling", "samples", {n: sampling(7, n) for n in (3, 6, 12, 24)}),
    ]


def merging() -> list[Curve]:
    """Exact TIES, thrown away tile by tile."""
    from performance.merge.adapters import write_adapters
    from performance.merge.ours import DENSITY
    from performance.merge.shapes import LLAMA_1B, SMALL, Shape
    from samner.merging import LoraAdapter, Merger

    with tempfile.TemporaryDirectory() as name:
        places = itertools.count()

        def merge(shape: Shape = SMALL, layers: int = 2, experts: int = 3, rank: int = 16) -> Callable[[], object]:
            folder = Path(name) / str(next(places))
            paths = write_adapters(folder, shape.widths, layers, experts, rank)
            adapters = [LoraAdapter.load(path) for path in paths]

            def run() -> None:
                with Merger(adapters, "ties", density=DENSITY, device="cpu", threads=1) as merger:
                    for _ in merger.tiles():
                        pass

            return run

        layer = LLAMA_1B
        parts = [Shape(layer.hidden // k, layer.intermediate // k, layer.kv // k) for k in (8, 4, 2, 1)]
        return [
            measured("merging", "experts", {n: merge(experts=n) for n in (2, 4, 8, 16, 32)}),
            measured("merging", "rank", {n: merge(rank=n) for n in (8, 16, 32, 64, 128)}),
            measured("merging", "layers of the model", {n: merge(layers=n) for n in (1, 2, 4, 8, 16)}),
            measured("merging", "values of a layer", {shape.numel(1): merge(shape, 1) for shape in parts}),
        ]


def draw(curves: Sequence[Curve], path: Path) -> None:
    """A panel for each unit's curves: cost over size, both as logarithms, beside a linear one."""
    from samner.figures import BLUE, GREEN, MUTED, ORANGE, canvas, save

    groups = {
        "reading": [curve for curve in curves if curve.work.startswith(("embedding", "extraction"))],
        "selecting": [curve for curve in curves if curve.work.startswith("selection")],
        "merging": [curve for curve in curves if curve.work.startswith("merging")],
    }
    colours = (BLUE, ORANGE, GREEN, MUTED, "#b1487f")
    with canvas(3.6, 3) as (figure, panels):
        for axes, (title, members) in zip(panels, groups.items(), strict=True):
            for curve, colour in zip(members, colours, strict=False):
                first = min(curve.seconds)
                xs = [size / first for size in curve.seconds]
                start = next(iter(curve.seconds.values()))
                ys = [seconds / start for seconds in curve.seconds.values()]
                label = f"{curve.work.removeprefix('selection by ')}, {curve.unit}: {curve.exponent:.2f}"
                axes.plot(xs, ys, color=colour, marker="o", ms=3.5, lw=1.2, label=label)
            most = max(size / min(c.seconds) for c in members for size in c.seconds)
            axes.plot([1, most], [1, most], color=MUTED, lw=0.8, ls=(0, (2, 2)), label="linear")
            ticks = [2**k for k in range(0, math.ceil(math.log2(most)) + 1, 2)]
            axes.set(xscale="log", yscale="log", title=title, xlabel="size, times the smallest")
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.set_yticks(ticks, [str(tick) for tick in ticks])
            axes.minorticks_off()
            axes.grid(True)
            axes.legend(fontsize=6, loc="upper left")
        panels[0].set_ylabel("processor time, times that of the smallest")
        save(figure, path)


if __name__ == "__main__":
    main(sys.argv[1:])
