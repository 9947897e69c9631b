"""What the machine can do: memory bandwidth, and products of matrices in the shapes of a merge."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from performance.merge.child import Watch
from samner.merging.task_vectors import tiles

_WORDS = 1 << 26  # 256 MiB: no cache holds three of these
_SECONDS = 0.5


def measure(watch: Watch, threads: int, rank: int, sketch: int, shapes: list[tuple[int, int]]) -> dict[str, object]:
    """Bytes a second of a STREAM triad; FLOPs a second of a tile's product and of a sketch, for each shape."""
    torch.set_num_threads(threads)
    with watch:
        triad = _triad()
        products = []
        for rows, columns in shapes:
            tile = next(tiles("", (rows, columns), torch.device("cpu"))).stop
            products.append(_rate(tile, rank, columns))
        sketches = [_rate(rows, columns, sketch) for rows, columns in shapes]
    return {"bandwidth": triad, "products": products, "sketches": sketches}


def _triad() -> float:
    a, b, c = (torch.ones(_WORDS) for _ in range(3))
    return 3 * 4 * _WORDS / _time(lambda: torch.add(b, c, alpha=3.0, out=a))


def _rate(rows: int, inner: int, columns: int) -> float:
    left, right, out = torch.ones(rows, inner), torch.ones(inner, columns), torch.empty(rows, columns)
    return 2 * rows * inner * columns / _time(lambda: torch.mm(left, right, out=out))


def _time(step: Callable[[], object]) -> float:
    """Seconds of the fastest tenth of many steps, at least of one."""
    step()
    times: list[float] = []
    end = time.perf_counter() + _SECONDS
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    fastest = sorted(times)[: max(1, len(times) // 10)]
    return sum(fastest) / len(fastest)
