"""What is kept of an expert: how many values, which of equal ones, and what chance keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from dense_reference import adapter, adapters, band, densities, flatten, gaussian, numbers, scopes, task_vector
from hypothesis import given
from numpy.typing import NDArray

from samner.merging import LoraAdapter, merge
from samner.merging import task_vectors as tiles


@given(adapters(), densities, scopes)
def test_the_kept_count_is_exact(one: LoraAdapter, density: float, scope: str) -> None:
    vector = task_vector(one)
    kept = numbers(merge([one], "ties", density=density, scope=scope))
    for group in [list(vector)] if scope == "global" else [[module] for module in vector]:
        row = flatten([{module: vector[module] for module in group}])[0]
        expected = min(round(density * row.size), np.count_nonzero(row))
        assert sum(np.count_nonzero(kept[module]) for module in group) == expected


def test_equal_magnitudes_go_to_the_first_module_and_row() -> None:
    one = adapter({"b": np.full((2, 2), -1.0), "a": np.full((1, 3), 1.0)})
    merged = numbers(merge([one], "ties", density=4 / 7))
    assert merged["a"].tolist() == [[1, 1, 1]]
    assert merged["b"].tolist() == [[-1, 0], [0, 0]]


def test_the_global_count_goes_to_large_modules_values() -> None:
    one = adapter({"large": np.full((2, 2), 5.0), "small": np.full((2, 2), 0.1)})
    merged = numbers(merge([one], "ties", density=0.5))
    assert [np.count_nonzero(matrix) for matrix in merged.values()] == [4, 0]
    by_tensor = numbers(merge([one], "ties", density=0.5, scope="tensor"))
    assert [np.count_nonzero(matrix) for matrix in by_tensor.values()] == [2, 2]


def test_breadcrumbs_leave_out_outliers_and_small_values() -> None:
    one = adapter({"m": np.array([[9.0, -8.0, 7.0, -6.0, 5.0], [4.0, -3.0, 2.0, -1.0, 0.5]])})
    merged = merge([one], "breadcrumbs", density=0.3, gamma=0.2)["m"]
    assert merged.tolist() == [[0, 0, 7, -6, 5], [0, 0, 0, 0, 0]]
    # density goes first: fewer outliers are left out where they could not both be had
    assert merge([one], "breadcrumbs", density=0.9, gamma=0.5)["m"].count_nonzero() == 9


def test_a_large_expert_is_trimmed_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """More values than are looked at without a sample, in several tiles and blocks."""
    monkeypatch.setattr(tiles, "TILE_BLOCKS", {"cpu": 1})
    shapes = {"a": (300, 400), "b": (500, 200)}
    one = gaussian(0, {"a": 3, "b": 8}, shapes)
    vector = {module: one.delta(module).double().numpy() for module in one.modules}
    for method, params in (("ties", {}), ("breadcrumbs", {"gamma": 0.05, "scope": "global"})):
        kept = numbers(merge([one], method, density=0.2, **params))
        expected = band(vector, 0.2, "global", params.get("gamma", 0.0))  # type: ignore[arg-type]
        differ = sum(np.count_nonzero((kept[module] != 0) != (expected[module] != 0)) for module in vector)
        assert differ <= 4  # whose products of other order of addition are next to a threshold
        assert sum(np.count_nonzero(matrix) for matrix in kept.values()) == round(0.2 * one.numel)


# Sign election


def test_the_sign_is_elected_by_mass_not_by_count() -> None:
    rows = [[[5.0, 1.0]], [[-1.0, 1.0]], [[-2.0, -4.0]]]
    several = [adapter({"m": np.array(row)}) for row in rows]
    assert merge(several, "ties", density=1)["m"].tolist() == [[5.0, -4.0]]
    # weights have a say in the election and in the mean
    np.testing.assert_allclose(merge(several, "ties", [1, 4, 1], density=1)["m"], [[-6 / 5, 1.0]], rtol=1e-6)


@pytest.mark.parametrize(("rest", "expected"), [([1.0, 1.0], 3.0), ([-1.0, -1.0], -3.0), ([1.0, -1.0], -3.0)])
def test_cancelled_values_take_the_majority_sign_of_all_modules(rest: list[float], expected: float) -> None:
    left, right = ({"a": np.array([[value]]), "b": np.array([rest])} for value in (3.0, -3.0))
    assert merge([adapter(left), adapter(right)], "ties", density=1)["a"].item() == expected


# Chance


def some(seed: int = 0, scale: float = 1.0) -> LoraAdapter:
    values = np.random.default_rng(seed).normal(size=(200, 200)).astype(np.float32)
    return adapter({"m": scale * values})


@pytest.mark.parametrize(("method", "params"), [("dare_linear", {}), ("della", {"epsilon": 0.2})])
def test_chance_keeps_the_asked_share_and_the_mean(method: str, params: dict[str, Any]) -> None:
    values = task_vector(some())["m"]
    merged = [merge([some()], method, density=0.3, seed=seed, **params)["m"].numpy() for seed in range(60)]
    assert np.mean(merged[0] != 0) == pytest.approx(0.3, abs=0.01)
    assert np.mean(merged, axis=0).mean() == pytest.approx(values.mean(), abs=0.005)
    large = np.abs(values) > 2  # kept by della more often, and so rescaled by less
    assert np.mean(merged, axis=0)[large].mean() == pytest.approx(values[large].mean(), abs=0.05)


def test_della_keeps_large_values_more_often() -> None:
    values = task_vector(some())["m"]
    kept = merge([some()], "della", density=0.5, epsilon=0.4)["m"].numpy() != 0
    rank = np.abs(values).argsort(axis=1).argsort(axis=1)
    assert kept[rank < 20].mean() == pytest.approx(0.14, abs=0.02)
    assert kept[rank >= 180].mean() == pytest.approx(0.86, abs=0.02)


def test_della_ranks_equal_magnitudes_from_left_to_right() -> None:
    merged = merge([adapter({"m": np.full((2000, 2), -1.0)})], "della", density=0.5, epsilon=0.4)["m"]
    assert (merged != 0).double().mean(0).tolist() == pytest.approx([0.1, 0.9], abs=0.03)


@pytest.mark.parametrize("method", ["dare_linear", "della"])
def test_chance_follows_from_content_seed_and_module(method: str) -> None:
    def kept(one: LoraAdapter, **params: Any) -> NDArray[np.bool_]:
        params = {"epsilon": 0.0, **params} if method == "della" else params
        return np.stack([x != 0 for x in numbers(merge([one], method, density=0.5, **params)).values()])

    one = some()
    twice = LoraAdapter("twice", {"m": one.factors["m"], "n": one.factors["m"]})
    assert np.array_equal(kept(one), kept(LoraAdapter("another", one.factors)))
    assert not np.array_equal(kept(one), kept(one, seed=1))
    assert not np.array_equal(kept(one), kept(some(scale=2.0)))
    assert np.mean(kept(twice)[0] == kept(twice)[1]) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties", "della"])
def test_chance_does_not_depend_on_tiles(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = merge([some(), some(1)], method, density=0.5)["m"]  # two blocks of rows
    for blocks in (1, 2):
        monkeypatch.setattr(tiles, "TILE_BLOCKS", {"cpu": blocks})
        assert merge([some(), some(1)], method, density=0.5)["m"].equal(whole)
