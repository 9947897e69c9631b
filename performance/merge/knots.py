"""Part ``knots``: the low-rank method on one module."""

from __future__ import annotations

from performance.merge.bench import Bench
from performance.merge.report import megabytes, seconds, table


def part(bench: Bench) -> str:
    result = bench.run("ours.knots", paths=bench.adapters(bench.large, 1, only="gate_proj"))
    cells = [seconds(result.seconds), megabytes(result.before), megabytes(result.peak)]
    header = ["module", "seconds", "RSS before, MB", "peak RSS, MB"]
    return table(header, [[f"{bench.large.intermediate} x {bench.large.hidden}, 3 experts of rank 16", *cells]])
