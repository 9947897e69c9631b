"""Every merge method against its dense reference, and against PEFT where it computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
from dense_reference import (
    PARAMS,
    adapter,
    assert_same,
    band,
    densities,
    dropped,
    elect,
    gaussian,
    knots,
    mean,
    numbers,
    scopes,
    task_vector,
    weighted,
)
from hypothesis import given
from hypothesis import strategies as st
from peft.utils import merge_utils
from torch import nn

from samner.merging import LoraAdapter, LoraFactors, Merger, merge, methods

Drawn = tuple[list[LoraAdapter], list[int]]

lams = st.integers(-8, 8).map(lambda eighths: eighths / 4)


def test_all_methods_are_tested() -> None:
    assert set(PARAMS) == set(methods())


@given(weighted, lams)
def test_linear(drawn: Drawn, lam: float) -> None:
    expected = mean([task_vector(one) for one in drawn[0]], drawn[1], lam)
    assert_same(numbers(merge(drawn[0], "linear", drawn[1], lam=lam)), expected)


@given(weighted, densities, lams, scopes)
def test_ties(drawn: Drawn, density: float, lam: float, scope: str) -> None:
    expected = elect([band(task_vector(one), density, scope) for one in drawn[0]], drawn[1], lam)
    assert_same(numbers(merge(drawn[0], "ties", drawn[1], density=density, lam=lam, scope=scope)), expected)


@given(weighted, densities, lams, scopes)
def test_magnitude_prune(drawn: Drawn, density: float, lam: float, scope: str) -> None:
    expected = mean([band(task_vector(one), density, scope) for one in drawn[0]], drawn[1], lam)
    merged = merge(drawn[0], "magnitude_prune", drawn[1], density=density, lam=lam, scope=scope)
    assert_same(numbers(merged), expected)


@given(weighted, densities, st.floats(0, 1, exclude_max=True), lams, scopes)
def test_breadcrumbs(drawn: Drawn, density: float, gamma: float, lam: float, scope: str) -> None:
    expected = mean([band(task_vector(one), density, scope, gamma) for one in drawn[0]], drawn[1], lam)
    merged = merge(drawn[0], "breadcrumbs", drawn[1], density=density, gamma=gamma, lam=lam, scope=scope)
    assert_same(numbers(merged), expected)


# powers of two, by which division is exact: what cancels in the reference cancels in float32
exact_densities = st.sampled_from([0.25, 0.5, 1.0])


@given(weighted, st.floats(1e-6, 1), st.integers(-5, 5), lams)
def test_dare_linear(drawn: Drawn, density: float, seed: int, lam: float) -> None:
    expected = mean([dropped(one, density, 0, seed) for one in drawn[0]], drawn[1], lam)
    assert_same(numbers(merge(drawn[0], "dare_linear", drawn[1], density=density, seed=seed, lam=lam)), expected)


@given(weighted, exact_densities, st.integers(-5, 5), lams)
def test_dare_ties(drawn: Drawn, density: float, seed: int, lam: float) -> None:
    expected = elect([dropped(one, density, 0, seed) for one in drawn[0]], drawn[1], lam)
    assert_same(numbers(merge(drawn[0], "dare_ties", drawn[1], density=density, seed=seed, lam=lam)), expected)


@given(weighted, st.floats(0.05, 0.95), st.floats(0, 1), st.integers(-5, 5), lams)
def test_della_of_one(drawn: Drawn, density: float, share: float, seed: int, lam: float) -> None:
    epsilon = share * min(density - 1e-6, 1 - density)
    params = {"density": density, "epsilon": epsilon, "seed": seed}
    for one in drawn[0]:
        expected = mean([dropped(one, **params)], [1], lam)
        assert_same(numbers(merge([one], "della", lam=lam, **params)), expected)


@pytest.mark.parametrize("seed", range(5))
def test_della_of_several(seed: int) -> None:
    rng = np.random.default_rng(seed)
    several = [adapter({m: rng.normal(size=(20, 30)).astype(np.float32) for m in "ab"[i % 2 :]}) for i in range(4)]
    params = {"density": 0.4, "epsilon": 0.3, "seed": seed}
    expected = elect([dropped(one, **params) for one in several], [1, 2, 3, 1.5], 0.7)
    assert_same(numbers(merge(several, "della", [1, 2, 3, 1.5], lam=0.7, **params)), expected)


SHAPES = {"high": (40, 12), "square": (20, 20), "wide": (12, 40)}


@pytest.mark.parametrize("density", [0.05, 0.2, 0.5, 1])
@pytest.mark.parametrize(
    "ranks",
    [
        [{"high": 3, "square": 4, "wide": 2}],
        [{"high": 2, "square": 1}, {"high": 3, "wide": 5}, {"square": 4, "wide": 1}],
        [{"high": 4, "square": 8, "wide": 7}] * 3,  # more directions than rows or columns
    ],
)
def test_knots(ranks: list[dict[str, int]], density: float) -> None:
    several = [gaussian(seed, one, SHAPES) for seed, one in enumerate(ranks)]
    weights = [1, 2.5, 0.5][: len(several)]
    expected = knots([task_vector(one) for one in several], weights, density, lam=1.3)
    assert_same(numbers(merge(several, "knots", weights, density=density, lam=1.3)), expected)


def test_knots_has_the_rank_of_all_experts_together() -> None:
    first, second = (gaussian(seed, {"high": rank}, SHAPES) for seed, rank in ((0, 2), (1, 3)))
    for several, rank in (([first, second], 5), ([first, second, first], 5), ([first, first], 2)):
        with Merger(several, "knots") as merger:
            assert merger.factors("high").rank == rank


def test_knots_of_nothing() -> None:
    nothing = adapter({"m": np.zeros((3, 4))})
    with Merger([nothing, nothing], "knots") as merger:
        assert merger.factors("m").rank == 1
        assert not dict(merger.dense())["m"].any()


def test_knots_of_weights_and_copies_is_the_same() -> None:
    first, second = (gaussian(seed, {"high": 2, "wide": 3}, SHAPES) for seed in range(2))
    copies = merge([first, second, second, second], "knots", density=0.3)
    assert_same(numbers(merge([first, second], "knots", [1, 3], density=0.3)), numbers(copies))


@pytest.mark.parametrize("method", ["linear", "knots"])
def test_factors_are_the_dense_result(method: str) -> None:
    ranks = [{"high": 2, "square": 1}, {"high": 3, "wide": 5}]
    several = [gaussian(seed, one, SHAPES) for seed, one in enumerate(ranks)]
    with Merger(several, method, [1, 3], lam=0.8) as merger:
        assert merger.low_rank
        factors = {module: merger.factors(module) for module in merger.shapes}
        assert {module: factors[module].shape for module in factors} == dict(merger.shapes)
        assert_same(task_vector(LoraAdapter("merged", factors)), numbers(dict(merger.dense())))


def test_factors_of_any_rank_scale_and_type_merge_as_their_products() -> None:
    generator = torch.Generator().manual_seed(0)
    several = []
    for rank, scale, dtype in ((1, 2.0, torch.float32), (4, 0.5, torch.bfloat16), (9, 1 / 3, torch.float64)):
        a, b = (torch.randn(shape, generator=generator).to(dtype) for shape in ((rank, 7), (5, rank)))
        several.append(LoraAdapter(f"rank {rank}", {"m": LoraFactors(a, b, scale)}))
    assert_same(numbers(merge(several, "linear")), mean([task_vector(one) for one in several], [1, 1, 1]))


# PEFT


@pytest.mark.filterwarnings("ignore:.*:UserWarning:peft")
def test_linear_is_what_peft_concatenates(tmp_path: Path) -> None:
    model: Any = nn.ModuleDict({"first": nn.Linear(6, 8), "second": nn.Linear(8, 5)})
    model.forward = lambda x: model["second"](model["first"](x))
    configs = {
        "a": peft.LoraConfig(r=2, lora_alpha=3, target_modules=["first", "second"], init_lora_weights=False),
        "b": peft.LoraConfig(r=4, lora_alpha=1, target_modules=["first"], init_lora_weights=False),
    }
    wrapped = peft.get_peft_model(model, configs["a"], adapter_name="a")
    wrapped.add_adapter("b", configs["b"])
    wrapped.save_pretrained(str(tmp_path))
    several = [LoraAdapter.load(tmp_path / name) for name in "ab"]
    wrapped.add_weighted_adapter(["a", "b"], [0.7, 1.5], "merged", combination_type="cat")
    merged = merge(several, "linear", [0.7, 1.5], lam=2.2)
    for module in ("first", "second"):
        torch.testing.assert_close(merged[module], model[module].get_delta_weight("merged").detach())
    wrapped.add_weighted_adapter(["a"], [1.0], "alone", combination_type="linear")
    alone = merge(several[:1], "linear")
    for module in ("first", "second"):
        torch.testing.assert_close(alone[module], model[module].get_delta_weight("alone").detach())


def dense(count: int) -> tuple[list[LoraAdapter], list[torch.Tensor]]:
    rng = np.random.default_rng(0)
    matrices = [rng.normal(size=(20, 30)).astype(np.float32) for _ in range(count)]
    return [adapter({"m": matrix}) for matrix in matrices], [torch.tensor(matrix) for matrix in matrices]


def test_ties_by_tensor_is_that_of_peft_on_dense_matrices() -> None:
    several, matrices = dense(3)
    expected = merge_utils.ties(matrices, torch.ones(3), density=0.25)
    torch.testing.assert_close(merge(several, "ties", density=0.25, scope="tensor")["m"], expected)


def test_magnitude_prune_by_tensor_is_that_of_peft_on_dense_matrices() -> None:
    several, matrices = dense(3)
    weights = [0.5, 1.0, 2.0]
    expected = merge_utils.magnitude_prune(matrices, torch.tensor(weights), density=0.25)
    merged = merge(several, "magnitude_prune", weights, density=0.25, scope="tensor", lam=sum(weights))
    torch.testing.assert_close(merged["m"], expected)
