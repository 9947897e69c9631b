"""Adapter sets of Llama-3.1-8B's shapes, beside what the machine could do at best, and of 70B's."""

from __future__ import annotations

from collections.abc import Sequence

from performance.merge.bench import Bench
from performance.merge.measure import Result
from performance.merge.report import megabytes, seconds, table
from performance.merge.shapes import Shape

EXPERTS, RANK, OUTPUT_RANK = 3, 16, 64
PASSES = 3  # over the task vectors: thresholds, votes, merge


def part(bench: Bench) -> str:
    shape, layers = bench.large, 2 if bench.quick else 32
    paths = bench.adapters(shape, layers, EXPERTS, RANK)
    shapes = sorted(set(shape.layer(0).values()))
    rows, stages = [], []
    for threads in (2, 1):
        rates = bench.run("rates.measure", threads=threads, rank=RANK, sketch=OUTPUT_RANK, shapes=shapes).answer
        null = bench.run("ours.null", paths=paths, threads=threads)
        results = {"null": null}
        if threads > 1:
            save = bench.path("adapter")
            adapter = bench.run("ours.adapter", paths=paths, rank=OUTPUT_RANK, threads=threads, save=save)
            results[f"adapter, rank {OUTPUT_RANK}"] = adapter
        for sink, result in results.items():
            rows.append(_row(sink, threads, result, *(limits(shape, layers, rates, sink != "null") if rates else ())))
            stages.append([sink, str(threads), *_stages(result)])
    header = ["sink", "threads", "seconds", "RSS before, MB", "peak RSS, MB", "memory, s", "GEMM, s", "time / limit"]
    stage_header = ["sink", "threads", "load", "thresholds", "votes", "merge and write"]
    intro = (
        f"{EXPERTS} adapters of rank {RANK}, {layers} layers, {7 * layers} modules, "
        f"{shape.numel(layers) / 1e9:.2f} billion values each; global TIES at density 0.2."
    )
    return "\n\n".join([intro, table(header, rows), "Seconds by stage:", table(stage_header, stages)])


def largest(bench: Bench) -> str:
    """Part ``largest``: a few layers of Llama-3.1-70B's shapes, and what its 80 take by the line through them."""
    shape, counts, whole = bench.largest, (1, 2) if bench.quick else (2, 4, 8), 80
    results = [bench.run("ours.null", paths=bench.adapters(shape, n, EXPERTS, RANK), threads=2) for n in counts]
    first, last = results[0], results[-1]
    beyond = (whole - counts[-1]) / (counts[-1] - counts[0])
    drawn = Result(
        seconds=last.seconds + beyond * (last.seconds - first.seconds),
        before=last.before,
        peak=round(last.peak + beyond * (last.peak - first.peak)),
    )
    rows = [
        [name, f"{shape.numel(n) / 1e9:.1f}", seconds(r.seconds), megabytes(r.before), megabytes(r.peak)]
        for name, n, r in zip(
            [*map(str, counts), f"{whole}, by arithmetic"], [*counts, whole], [*results, drawn], strict=True
        )
    ]
    header = ["layers", "billion values each", "seconds", "RSS before, MB", "peak RSS, MB"]
    return f"{EXPERTS} adapters of rank {RANK}; null sink, two threads.\n\n{table(header, rows)}"


def limits(shape: Shape, layers: int, rates: dict[str, object], stored: bool) -> tuple[float, float]:
    """The least seconds that memory and arithmetic take; docs/benchmarks.md says how they are counted."""
    bandwidth: float = rates["bandwidth"]
    products: Sequence[float] = rates["products"]
    sketches: Sequence[float] = rates["sketches"]
    places = {widths: i for i, widths in enumerate(sorted(set(shape.layer(0).values())))}
    moved = work = 0.0
    for rows, columns in shape.modules(layers).values():
        place = places[rows, columns]
        moved += PASSES * EXPERTS * 2 * RANK * (rows + columns)
        work += PASSES * EXPERTS * 2 * RANK * rows * columns / products[place]
        if stored:  # the merged values are written once and read twice, in float32
            moved += 3 * 4 * rows * columns
            work += 2 * 2 * OUTPUT_RANK * rows * columns / sketches[place]
    return moved / bandwidth, work


def _row(
    sink: str, threads: int, result: Result, memory: float = float("nan"), work: float = float("nan")
) -> list[str]:
    ratio = result.seconds / max(memory, work)
    return [
        sink,
        str(threads),
        seconds(result.seconds),
        megabytes(result.before),
        megabytes(result.peak),
        seconds(memory),
        seconds(work),
        "-" if ratio != ratio else f"{ratio:.1f}",
    ]


def _stages(result: Result) -> list[str]:
    if result.failure:
        return ["-"] * 4
    threshold = sum(time for stage, time in result.stages.items() if stage.startswith(("threshold", "histogram")))
    load, votes = (result.stages[stage] for stage in ("load", "votes"))
    return [seconds(value) for value in (load, threshold, votes, result.seconds - load - threshold - votes)]
