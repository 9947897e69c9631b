"""The merger: what it refuses, in which pieces it answers, and what it leaves behind."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from dense_reference import PARAMS, adapter, assert_same, gaussian, numbers

from samner.errors import SamnerError
from samner.merging import LoraAdapter, MergedDeltas, Merger, merge
from samner.merging import task_vectors as tiles

GOOD = adapter({"m": np.ones((2, 2))})
OTHER = adapter({"m": np.ones((2, 3))}, "wide")
SHAPES = {"a": (30, 20), "b": (7, 50), "c": (9, 9)}
SEVERAL = [gaussian(0, {"a": 2, "b": 3}, SHAPES), gaussian(1, {"a": 4, "c": 1}, SHAPES)]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "BLOCK", 100)
    monkeypatch.setattr(tiles, "TILE_BLOCKS", {"cpu": 1})


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([],), {}, "no adapters to merge"),
        (([GOOD], "tise"), {}, "unknown merge method 'tise'; known are breadcrumbs, dare_linear, dare_ties, della, "),
        (([GOOD], "linear", [1, 2]), {}, "2 weights do not fit 1 adapters"),
        (([GOOD, GOOD], "linear", [1, -1]), {}, "weights must be finite and not negative, not -1"),
        (([GOOD], "linear", [math.nan]), {}, "not nan"),
        (([GOOD], "linear", [math.inf]), {}, "not inf"),
        (([GOOD], "linear", ["1"]), {}, "not '1'"),
        (([GOOD, GOOD], "linear", [0, 0]), {}, "at least one weight must be above 0"),
        (([GOOD, OTHER],), {}, r"module m has shape \(2, 2\) in 'expert' but \(2, 3\) in 'wide'"),
        (([GOOD],), {"device": "abacus"}, "the device 'abacus' cannot be used here"),
        (([GOOD],), {"device": "cuda:99"}, "the device 'cuda:99' cannot be used here"),
        (([GOOD],), {"threads": 0}, "threads must be at least 1, not 0"),
    ],
)
def test_arguments_refused(arguments: tuple[Any, ...], options: dict[str, Any], message: str) -> None:
    before = torch.get_num_threads()
    with pytest.raises(SamnerError, match=message):
        Merger(*arguments, **options)
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("method", sorted(PARAMS))
def test_tiles_are_the_dense_result_in_any_order(method: str) -> None:
    with Merger(SEVERAL, method, [2, 1], **PARAMS[method]) as merger:
        assert dict(merger.shapes) == SHAPES
        whole = dict(merger.dense())
        seen = {module: 0 for module in SHAPES}
        for tile, values in merger.tiles(["c", "a"]):
            assert values.equal(whole[tile.module][tile.start : tile.stop])
            assert tile.start == seen[tile.module]
            seen[tile.module] = tile.stop
        assert seen == {"a": 30, "b": 0, "c": 9}
        assert [module for module, _ in merger.dense(["b"])] == ["b"]
    assert_same(numbers(merge(SEVERAL, method, [2, 1], **PARAMS[method])), numbers(whole), tolerance=0)


@pytest.mark.parametrize("method", sorted(PARAMS))
def test_what_is_merged_when_asked_for_is_the_same(method: str) -> None:
    expected = merge(SEVERAL, method, [2, 1], **PARAMS[method])
    lazy = MergedDeltas(SEVERAL, method, [2, 1], **PARAMS[method])
    assert lazy.shapes == SHAPES and "b" in lazy and "d" not in lazy
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):  # as models are asked in
        there = {module: lazy[module] for module in ("c", "a", "b")}
    assert not any(dense.is_inference() for dense in there.values())
    with ThreadPoolExecutor(4) as pool:
        for module, dense in pool.map(lambda m: (m, lazy[m]), [*SHAPES] * 10):
            assert dense.equal(expected[module]) and dense.equal(there[module])


def test_a_copy_of_what_is_merged_when_asked_for_is_no_larger_than_the_task_vectors() -> None:
    lazy = MergedDeltas(SEVERAL, "ties", density=0.2)
    pickled = pickle.dumps(lazy)
    assert len(pickled) < len(pickle.dumps(dict(lazy)))
    copy = pickle.loads(pickled)
    assert copy.shapes == lazy.shapes and all(copy[module].equal(dense) for module, dense in lazy.items())


def test_dense_matrices_stay_as_they_are() -> None:
    with Merger(SEVERAL, "ties") as merger:
        kept = dict(merger.dense())
        copies = {module: matrix.clone() for module, matrix in kept.items()}
        list(merger.tiles())
    assert all(kept[module].equal(copies[module]) for module in kept)


@pytest.mark.parametrize("method", sorted(PARAMS))
def test_low_rank_is_what_has_factors(method: str) -> None:
    with Merger(SEVERAL, method, **PARAMS[method]) as merger:
        assert merger.low_rank == (method in {"linear", "knots"})


def test_adapters_are_not_changed() -> None:
    digests = [gaussian(seed, dict.fromkeys(SHAPES, 2), SHAPES).digest for seed in range(2)]
    several = [gaussian(seed, dict.fromkeys(SHAPES, 2), SHAPES) for seed in range(2)]
    for method in PARAMS:
        merge(several, method, [1, 2], **PARAMS[method])
    assert [LoraAdapter(one.name, one.factors).digest for one in several] == digests


@pytest.mark.parametrize("weights", [[1e-300, 2e-300], [5e299, 1e300], [2**-1070, 2**-1069]])
def test_weights_of_any_size(weights: list[float]) -> None:
    for method in PARAMS:
        expected = merge(SEVERAL, method, [1, 2], **PARAMS[method])
        assert_same(numbers(merge(SEVERAL, method, weights, **PARAMS[method])), numbers(expected))


def test_threads_are_set_and_put_back() -> None:
    before = torch.get_num_threads()
    with Merger([GOOD], "ties", threads=before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), Merger([GOOD], "ties", threads=before + 1):
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


def test_threads_are_put_back_if_a_pass_fails() -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    before = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        Merger(SEVERAL, "ties", threads=before + 1, progress=interrupt)
    assert torch.get_num_threads() == before


@pytest.fixture
def reports() -> dict[str, list[tuple[int, int]]]:
    """By stage, what progress was reported."""
    return {}


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("method", sorted(PARAMS))
def test_progress_reaches_the_total(method: str, reports: dict[str, list[tuple[int, int]]]) -> None:
    def progress(stage: str, done: int, total: int) -> None:
        reports.setdefault(stage, []).append((done, total))

    params = PARAMS[method] | ({"scope": "global"} if method == "breadcrumbs" else {})
    with Merger(SEVERAL, method, progress=progress, **params) as merger:
        before = set(reports)
        list(merger.dense())
    size = sum(rows * columns for rows, columns in SHAPES.values())
    assert reports["merging"][-1] == (size, size)
    thresholds = {f"threshold of {one.name}" for one in SEVERAL}
    assert before == {
        "ties": thresholds | {"votes"},
        "magnitude_prune": thresholds,
        "breadcrumbs": thresholds,
        "dare_ties": {"votes"},
        "della": {"votes"},
    }.get(method, set())
    for stage, told in reports.items():
        assert len({total for _, total in told}) == 1, stage
        assert max(told) == (told[0][1], told[0][1])
        assert all(0 < done <= total for done, total in told)


def test_memory_is_that_of_the_largest_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing dense is made: the working memory of a merge is a few tiles, however large a module is."""
    monkeypatch.setattr(tiles, "BLOCK", 100)
    monkeypatch.setattr(tiles, "TILE_BLOCKS", {"cpu": 2})
    shapes = {"m": (400, 100)}
    several = [gaussian(seed, {"m": 2}, shapes) for seed in range(3)]

    buffers: dict[str, int] = {}
    buffer = tiles.Engine.buffer

    def counted(engine: tiles.Engine, name: str, shape: Sequence[int]) -> torch.Tensor:
        buffers[name] = max(buffers.get(name, 0), math.prod(shape))
        return buffer(engine, name, shape)

    monkeypatch.setattr(tiles.Engine, "buffer", counted)
    for method in PARAMS:
        buffers.clear()
        with Merger(several, method, **PARAMS[method]) as merger:
            assert sum(1 for _ in merger.tiles()) > 100
        most = sum(buffers.values())
        # for knots the coordinates of a module: as many rows as the ranks together
        assert most <= 10 * 200 + (3 * 6 * 100 if method == "knots" else 0)
