"""What holds for every merge method and every input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dense_reference import (
    PARAMS,
    SHAPES,
    adapters,
    assert_same,
    experts,
    method_names,
    numbers,
    task_vector,
    weighted,
)
from hypothesis import given
from hypothesis import strategies as st

from samner.merging import LoraAdapter, LoraFactors, merge
from samner.merging import task_vectors as tiles

Drawn = tuple[list[LoraAdapter], list[int]]


@given(method_names, adapters(), st.floats(0.1, 10))
def test_one_expert_whole_is_the_identity(method: str, one: LoraAdapter, weight: float) -> None:
    params = {} if method == "linear" else {"density": 1}
    # exactly; but in a basis of its own an expert is itself but for rounding
    assert_same(numbers(merge([one], method, **params)), task_vector(one), tolerance=1e-6 * (method == "knots"))
    assert_same(numbers(merge([one], method, [weight], **params)), task_vector(one))


@given(method_names, weighted, st.data())
def test_the_order_of_experts_does_not_matter(method: str, drawn: Drawn, data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(list(zip(*drawn, strict=True))))
    merged = merge(drawn[0], method, drawn[1], **PARAMS[method])
    again = merge([one for one, _ in shuffled], method, [weight for _, weight in shuffled], **PARAMS[method])
    assert_same(numbers(merged), numbers(again), tolerance=0)


# KnOTS has no basis of its own where singular values are equal, as here they often are; see test_methods.py for it
@given(method_names.filter(lambda name: name != "knots"), weighted)
def test_a_whole_weight_is_that_many_copies(method: str, drawn: Drawn) -> None:
    copies = [one for one, weight in zip(*drawn, strict=True) for _ in range(weight)]
    merged = merge(drawn[0], method, drawn[1], **PARAMS[method])
    assert_same(numbers(merged), numbers(merge(copies, method, **PARAMS[method])))


@given(method_names, weighted, st.sampled_from([2.0**-140, 0.25, 8, 2.0**140]))
def test_only_the_ratios_of_weights_matter(method: str, drawn: Drawn, factor: float) -> None:
    merged = merge(drawn[0], method, drawn[1], **PARAMS[method])
    scaled = merge(drawn[0], method, [factor * weight for weight in drawn[1]], **PARAMS[method])
    assert_same(numbers(merged), numbers(scaled), tolerance=0)


@given(method_names, experts, adapters())
def test_an_expert_of_weight_zero_is_not_there(method: str, several: list[LoraAdapter], other: LoraAdapter) -> None:
    merged = merge(several, method, **PARAMS[method])
    again = merge([*several, other], method, [1] * len(several) + [0], **PARAMS[method])
    assert_same(numbers(merged), numbers(again), tolerance=0)


@given(method_names, experts, st.sampled_from([-3, -0.5, 0, 0.7, 2]))
def test_the_result_is_linear_in_lam(method: str, several: list[LoraAdapter], lam: float) -> None:
    once, scaled = (numbers(merge(several, method, lam=value, **PARAMS[method])) for value in (1.0, lam))
    assert_same({module: lam * matrix for module, matrix in once.items()}, scaled)


@given(method_names, experts)
def test_modules_are_the_union_in_order(method: str, several: list[LoraAdapter]) -> None:
    merged = merge(several, method, **PARAMS[method])
    assert list(merged) == sorted({module for one in several for module in one.factors})
    assert all(
        matrix.dtype == torch.float32 and matrix.shape == SHAPES[module] and bool(matrix.isfinite().all())
        for module, matrix in merged.items()
    )


@given(method_names, experts, st.integers(1, 3))
def test_tiles_of_any_size_give_the_same(method: str, several: list[LoraAdapter], blocks: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "BLOCK", 5)  # a row or a few
        whole = merge(several, method, **PARAMS[method])
        patch.setattr(tiles, "TILE_BLOCKS", {"cpu": blocks})
        assert_same(numbers(merge(several, method, **PARAMS[method])), numbers(whole), tolerance=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("method", sorted(PARAMS))
def test_a_gpu_gives_the_same(method: str) -> None:
    # exact products, so that the order of additions does not matter to what is kept
    rng = np.random.default_rng(0)

    def factor(*shape: int) -> torch.Tensor:
        return torch.tensor(rng.integers(-64, 65, shape), dtype=torch.float32) / 64

    def one(name: str) -> LoraAdapter:
        shapes = {"high": (700, 300), "wide": (300, 900)}
        factors = {m: LoraFactors(factor(4, columns), factor(rows, 4), 2.0) for m, (rows, columns) in shapes.items()}
        return LoraAdapter(name, factors)

    several = [one(name) for name in "abc"]
    on_cpu = merge(several, method, [1, 2, 4], **PARAMS[method])
    on_gpu = merge(several, method, [1, 2, 4], device="cuda", **PARAMS[method])
    assert_same(numbers(on_gpu), numbers(on_cpu), tolerance=1e-5)
