"""Thresholds are exact for every distribution of values, on every way that leads to them."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from dense_reference import adapter
from numpy.typing import NDArray

from samner.lora import LoraFactors
from samner.merging import LoraAdapter, threshold
from samner.merging import task_vectors as tiles
from samner.merging.task_vectors import Engine, TaskVectors
from samner.merging.threshold import magnitude_limit

ROWS, COLUMNS = 60, 50
RNG = np.random.default_rng(0)
NORMAL = RNG.normal(size=(ROWS, COLUMNS))
VALUES = {
    "normal": NORMAL,
    "alike in the high bits": 1 + RNG.integers(0, 2**20, NORMAL.shape) * 2.0**-23,
    "subnormal": NORMAL * 1e-41,
    "wide": 10 ** RNG.uniform(-37, 35, NORMAL.shape) * np.sign(NORMAL),
    "all equal": np.where(NORMAL > 0, 0.1, -0.1),
    "half equal": np.where(RNG.random(NORMAL.shape) < 0.5, 0.7, NORMAL),
    "two clusters": np.where(RNG.random(NORMAL.shape) < 0.3, 1e6, 1e-6) * (1 + NORMAL * 1e-5),
    "few": RNG.integers(-2, 3, NORMAL.shape) / 2,
    "zero": np.zeros(NORMAL.shape),
    "one": np.where(np.arange(NORMAL.size).reshape(NORMAL.shape) == 1234, 1.0, 0.0),
}
SMALL = ["threshold"]
SAMPLED = ["threshold"]
MISLED = ["threshold", "histogram", "threshold"]
CROWDED = ["threshold", "histogram", "threshold", "histogram", "ties"]

Steps = Callable[[NDArray[np.float64], pytest.MonkeyPatch], NDArray[np.float64]]
"""Sees to it that a threshold is looked for in some way, and gives the values that take it."""


def small(values: NDArray[np.float64], patch: pytest.MonkeyPatch) -> NDArray[np.float64]:
    return values


def sampled(values: NDArray[np.float64], patch: pytest.MonkeyPatch) -> NDArray[np.float64]:
    patch.setattr(threshold, "SMALL", 0)
    patch.setattr(threshold, "SAMPLE", 200)
    return values


def misled_above(values: NDArray[np.float64], patch: pytest.MonkeyPatch) -> NDArray[np.float64]:
    """All that the sample sees is larger than anything else."""
    return misleading(sampled(values, patch), 1e36)


def misled_below(values: NDArray[np.float64], patch: pytest.MonkeyPatch) -> NDArray[np.float64]:
    """All that the sample sees is nothing."""
    return misleading(sampled(values, patch), 0.0)


def crowded(values: NDArray[np.float64], patch: pytest.MonkeyPatch) -> NDArray[np.float64]:
    """Hardly any value may be held, however close to the threshold."""
    patch.setattr(threshold, "MOST", 20)
    return misled_above(values, patch)


def crowded_sample(values: NDArray[np.float64], patch: pytest.MonkeyPatch) -> NDArray[np.float64]:
    patch.setattr(threshold, "MOST", 20)
    return sampled(values, patch)


def misleading(values: NDArray[np.float64], seen: float) -> NDArray[np.float64]:
    """The values with ``seen`` in every place that a sample of so many looks at."""
    places = np.arange(values.size, dtype=np.float64).reshape(values.shape)
    vectors, _ = of(places)
    changed = values.copy()
    for module, size in (("a", 20 * COLUMNS), ("b", 40 * COLUMNS)):
        count = math.ceil(threshold.SAMPLE * 2 * size / values.size)
        changed.ravel()[vectors.sample(0, module, count).round().long().numpy()] = seen
    return changed


def of(values: NDArray[np.float64]) -> tuple[TaskVectors, list[str]]:
    """The task vector of two modules that hold these values, and where the stages of what is done come to stand."""
    stages: list[str] = []

    def progress(stage: str, done: int, total: int) -> None:
        if done <= tiles.BLOCK:  # the first tile of a pass
            stages.append(stage.partition(" of ")[0])

    one = adapter({"a": values[:20], "b": values[20:]}, name="a name")
    return TaskVectors([(one, 1.0)], Engine(progress=progress)), stages


def largest(vectors: TaskVectors, keep: int) -> NDArray[np.float64]:
    limit = magnitude_limit(vectors, 0, ["a", "b"], keep)
    kept = [limit.top(vectors.values(0, tile), tile).flatten().double().numpy() for tile in vectors.tiles("ab", "")]
    return np.concatenate([values.copy() for values in kept])


@pytest.mark.parametrize("share", [0.0001, 0.0004, 0.2, 0.33333, 0.5, 0.9999])
@pytest.mark.parametrize("steps", [small, sampled, misled_above, misled_below, crowded, crowded_sample])
@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_the_largest_are_kept(
    values: NDArray[np.float64], steps: Steps, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiles, "BLOCK", 150)  # three rows, many tiles
    monkeypatch.setattr(tiles, "TILE_BLOCKS", {"cpu": 1})
    values = steps(values, monkeypatch)
    values = values.astype(np.float32).astype(np.float64)
    keep = round(share * values.size)
    found = largest(of(values)[0], keep)
    expected = np.zeros(values.size)
    order = np.argsort(-np.abs(values.ravel()), kind="stable")[:keep]
    expected[order] = values.ravel()[order]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("steps", "passes"),
    [(small, SMALL), (sampled, SAMPLED), (misled_above, MISLED), (misled_below, MISLED), (crowded, CROWDED)],
)
def test_the_passes_are_those_meant(steps: Steps, passes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "BLOCK", 150)
    monkeypatch.setattr(tiles, "TILE_BLOCKS", {"cpu": 1})
    vectors, stages = of(steps(VALUES["alike in the high bits"], monkeypatch))
    magnitude_limit(vectors, 0, ["a", "b"], 600)
    assert stages == passes


@pytest.mark.parametrize("keep", [0, ROWS * COLUMNS])
def test_nothing_and_everything_need_no_pass(keep: int) -> None:
    vectors, stages = of(NORMAL)
    magnitude_limit(vectors, 0, ["a", "b"], keep)
    assert stages == []
    assert np.count_nonzero(largest(vectors, keep)) == keep


def test_the_sample_is_of_each_module_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty small modules must not be taken for most of the values, nor the bounds be wide."""
    generator = torch.Generator().manual_seed(0)

    def factors(rows: int, scale: float) -> LoraFactors:
        a, b = (torch.randn(shape, generator=generator) for shape in ((2, 400), (rows, 2)))
        return LoraFactors(a, b, scale)

    modules = {"large": factors(2000, 1.0)} | {f"small {i}": factors(2, 100.0) for i in range(50)}
    stages: set[str] = set()
    engine = Engine(progress=lambda stage, done, total: stages.add(stage))
    vectors = TaskVectors([(LoraAdapter("uneven", modules), 1.0)], engine)
    size = sum(math.prod(shape) for shape in vectors.shapes.values())
    monkeypatch.setattr(threshold, "MOST", size // 20)  # so few values may lie between the bounds
    magnitude_limit(vectors, 0, sorted(modules), round(0.2 * size))
    assert stages == {"threshold of uneven"}
