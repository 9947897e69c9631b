"""Part ``growth``: how time and memory grow with the number of experts, their rank, and the layers."""

from __future__ import annotations

from performance.merge.bench import Bench
from performance.merge.report import megabytes, seconds, table


def part(bench: Bench) -> str:
    layers = 1 if bench.quick else 4
    tables = []
    for what, values in (
        ("experts", (2, 3, 4, 8, 16)),
        ("rank", (8, 16, 32, 64, 128)),
        ("layers", (1, 2, 4, 8, 16, 32)),
    ):
        rows = []
        for value in values:
            params = {"layers": layers, "experts": 3, "rank": 16} | {what: value}
            result = bench.run("ours.null", paths=bench.adapters(bench.medium, **params))
            work = bench.medium.numel(params["layers"]) * params["experts"]
            rate = f"{work / result.seconds / 1e6:.0f}"
            rows.append([str(value), seconds(result.seconds), rate, megabytes(result.before), megabytes(result.peak)])
        header = [what, "seconds", "million values/s", "RSS before, MB", "peak RSS, MB"]
        tables.append(table(header, rows))
    intro = (
        f"Widths {bench.medium.widths}; {layers} layers, 3 experts and rank 16 where not said otherwise; null sink."
    )
    return "\n\n".join([intro, *tables])
