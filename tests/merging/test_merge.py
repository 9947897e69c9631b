"""The merge methods against few-line NumPy references, and the laws they obey."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from peft.utils import merge_utils

from samner.errors import SamnerError
from samner.merging import LoraAdapter, LoraFactors, MergeMethod, iter_merge, merge, merge_method, methods, registry
from samner.merging.sparsify import global_threshold, trimmed, trimmed_by_tensor

Vector: TypeAlias = dict[str, NDArray[np.float64]]
"""A task vector: module name to matrix."""

SHAPES = {"layer.0.query": (3, 4), "layer.1.query": (2, 5), "layer.10.dense": (4, 1)}
PARAMS: dict[str, dict[str, Any]] = {
    "ties": {"density": 0.4},
    "linear": {},
    "dare_linear": {"density": 0.5, "seed": 3},
    "dare_ties": {"density": 0.5, "seed": 3},
}


def adapter(vector: Vector, name: str = "expert") -> LoraAdapter:
    """An adapter with exactly this task vector: A is the identity."""
    factors = {
        module: LoraFactors(torch.eye(matrix.shape[1]), torch.tensor(matrix, dtype=torch.float32), 1.0)
        for module, matrix in vector.items()
    }
    return LoraAdapter(name, factors)


def numbers(merged: dict[str, torch.Tensor]) -> Vector:
    return {module: matrix.double().numpy() for module, matrix in merged.items()}


def assert_same(left: Vector, right: Vector, **tolerance: float) -> None:
    assert left.keys() == right.keys()
    for module in left:
        np.testing.assert_allclose(left[module], right[module], **({"rtol": 1e-6, "atol": 1e-7} | tolerance))


@st.composite
def vectors(draw: st.DrawFn) -> Vector:
    """Quarters from -1 to 1, so that equal magnitudes, zeros and exact cancellation are common; or Gaussians."""
    modules = draw(st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = draw(st.sampled_from([0, 1, 4, None]))
    if steps is None:
        return {module: rng.normal(size=SHAPES[module]).astype(np.float32).astype(np.float64) for module in modules}
    return {module: rng.integers(-steps, steps + 1, SHAPES[module]) / 4 for module in modules}


experts = st.lists(vectors(), min_size=1, max_size=4)
weighted = experts.flatmap(
    lambda drawn: st.tuples(st.just(drawn), st.lists(st.integers(1, 4), min_size=len(drawn), max_size=len(drawn)))
)
densities = st.floats(0.01, 1)
names = st.sampled_from(sorted(PARAMS))


# References


def flatten(vectors: Sequence[Vector]) -> NDArray[np.float64]:
    """One row an expert over all modules; zero where it does not adapt."""
    modules = sorted({module for vector in vectors for module in vector})
    return np.stack(
        [np.concatenate([vector.get(m, np.zeros(SHAPES[m])).ravel() for m in modules]) for vector in vectors]
    )


def unflatten(row: NDArray[np.float64], vectors: Sequence[Vector]) -> Vector:
    modules = sorted({module for vector in vectors for module in vector})
    parts = np.split(row, np.cumsum([math.prod(SHAPES[module]) for module in modules])[:-1])
    return {module: part.reshape(SHAPES[module]) for module, part in zip(modules, parts, strict=True)}


def reference_trim(vector: Vector, density: float, scope: str) -> Vector:
    if scope == "tensor":
        return {module: reference_trim({module: vector[module]}, density, "global")[module] for module in vector}
    row = flatten([vector])[0]
    keep = np.argsort(-np.abs(row), kind="stable")[: round(density * row.size)]
    return unflatten(np.where(np.isin(np.arange(row.size), keep), row, 0), [vector])


def reference_elect(vectors: Sequence[Vector], weights: Sequence[float], lam: float) -> Vector:
    rows, shares = flatten(vectors), np.array(weights)[:, None]
    sign = np.sign((shares * rows).sum(0))
    sign[sign == 0] = np.sign(sign.sum())
    agree = shares * np.where(sign > 0, rows > 0, rows < 0)
    return unflatten(lam * (agree * rows).sum(0) / np.maximum(agree.sum(0), 1e-9), vectors)


@given(weighted, densities, st.floats(-2, 2), st.sampled_from(["global", "tensor"]))
def test_ties_is_the_reference(drawn: tuple[list[Vector], list[int]], density: float, lam: float, scope: str) -> None:
    vectors, weights = drawn
    expected = reference_elect([reference_trim(vector, density, scope) for vector in vectors], weights, lam)
    merged = merge([adapter(vector) for vector in vectors], "ties", weights, density=density, lam=lam, scope=scope)
    assert_same(numbers(merged), expected)


@given(weighted, st.floats(-2, 2))
def test_linear_is_the_reference(drawn: tuple[list[Vector], list[int]], lam: float) -> None:
    vectors, weights = drawn
    expected = lam * np.average(flatten(vectors), axis=0, weights=weights)
    merged = merge([adapter(vector) for vector in vectors], "linear", weights, lam=lam)
    assert_same(numbers(merged), unflatten(expected, vectors))


@given(weighted, densities, st.integers(0, 5))
def test_dare_is_the_reference_on_what_was_not_dropped(
    drawn: tuple[list[Vector], list[int]], density: float, seed: int
) -> None:
    vectors, weights = drawn
    adapters = [adapter(vector) for vector in vectors]
    # merged alone, an expert shows what dropping leaves of it
    sparse = [numbers(merge([one], "dare_linear", density=density, seed=seed)) for one in adapters]
    for vector, left in zip(vectors, sparse, strict=True):
        for module in vector:
            kept = left[module] != 0
            np.testing.assert_allclose(left[module][kept], vector[module][kept] / density, rtol=1e-6)
    mean = unflatten(np.average(flatten(sparse), axis=0, weights=weights), vectors)
    # float64 sums of what float32 division left: looser than where inputs are exact
    assert_same(
        numbers(merge(adapters, "dare_linear", weights, density=density, seed=seed)), mean, rtol=1e-5, atol=1e-5
    )
    elected = reference_elect(sparse, weights, 1.0)
    assert_same(numbers(merge(adapters, "dare_ties", weights, density=density, seed=seed)), elected)


def test_ties_by_tensor_is_that_of_peft_on_dense_matrices() -> None:
    rng = np.random.default_rng(0)
    vectors = [{"m": rng.normal(size=(20, 30)).astype(np.float32).astype(np.float64)} for _ in range(3)]
    dense = [torch.tensor(vector["m"], dtype=torch.float32) for vector in vectors]
    expected = merge_utils.ties(dense, torch.ones(3), density=0.25)
    merged = merge([adapter(vector) for vector in vectors], "ties", density=0.25, scope="tensor")
    torch.testing.assert_close(merged["m"], expected)


# Laws


@given(names, vectors(), st.floats(0.1, 10))
def test_one_expert_whole_is_the_identity(method: str, vector: Vector, weight: float) -> None:
    params = {} if method == "linear" else {"density": 1}
    merged = merge([adapter(vector)], method, [weight], **params)
    assert_same(numbers(merged), vector, rtol=0, atol=0)


@given(names, weighted, st.data())
def test_the_order_of_experts_does_not_matter(
    method: str, drawn: tuple[list[Vector], list[int]], data: st.DataObject
) -> None:
    pairs = [(adapter(vector, f"expert {i}"), weight) for i, (vector, weight) in enumerate(zip(*drawn, strict=True))]
    shuffled = data.draw(st.permutations(pairs))
    merged, again = (
        merge([one for one, _ in order], method, [weight for _, weight in order], **PARAMS[method])
        for order in (pairs, shuffled)
    )
    assert_same(numbers(merged), numbers(again), rtol=0, atol=0)


@given(names, weighted)
def test_a_whole_weight_is_that_many_copies(method: str, drawn: tuple[list[Vector], list[int]]) -> None:
    adapters = [adapter(vector) for vector in drawn[0]]
    copies = [one for one, weight in zip(adapters, drawn[1], strict=True) for _ in range(weight)]
    merged = merge(adapters, method, drawn[1], **PARAMS[method])
    assert_same(numbers(merged), numbers(merge(copies, method, **PARAMS[method])))


@given(names, weighted, st.sampled_from([0.25, 2, 8]))
def test_only_the_ratios_of_weights_matter(method: str, drawn: tuple[list[Vector], list[int]], factor: float) -> None:
    adapters = [adapter(vector) for vector in drawn[0]]
    merged = merge(adapters, method, drawn[1], **PARAMS[method])
    scaled = merge(adapters, method, [factor * weight for weight in drawn[1]], **PARAMS[method])
    assert_same(numbers(merged), numbers(scaled))


@given(names, experts, vectors())
def test_an_expert_of_weight_zero_is_not_there(method: str, vectors: list[Vector], other: Vector) -> None:
    adapters = [adapter(vector) for vector in vectors]
    merged = merge(adapters, method, **PARAMS[method])
    again = merge([*adapters, adapter(other)], method, [1] * len(adapters) + [0], **PARAMS[method])
    assert_same(numbers(merged), numbers(again), rtol=0, atol=0)


@given(names, experts, st.floats(-3, 3))
def test_the_result_is_linear_in_lam(method: str, vectors: list[Vector], lam: float) -> None:
    adapters = [adapter(vector) for vector in vectors]
    once, scaled = (numbers(merge(adapters, method, lam=value, **PARAMS[method])) for value in (1.0, lam))
    assert_same({module: lam * matrix for module, matrix in once.items()}, scaled)


@given(names, experts)
def test_modules_are_the_union_in_order(method: str, vectors: list[Vector]) -> None:
    adapters = [adapter(vector) for vector in vectors]
    merged = merge(adapters, method, **PARAMS[method])
    assert list(merged) == sorted({module for vector in vectors for module in vector})
    assert all(
        matrix.dtype == torch.float32 and matrix.shape == SHAPES[module] and bool(matrix.isfinite().all())
        for module, matrix in merged.items()
    )


def test_factors_of_any_rank_scale_and_type_merge_as_their_products() -> None:
    generator = torch.Generator().manual_seed(0)
    adapters = []
    for rank, scale, dtype in ((1, 2.0, torch.float32), (4, 0.5, torch.bfloat16), (9, 1 / 3, torch.float64)):
        a, b = (torch.randn(shape, generator=generator).to(dtype) for shape in ((rank, 7), (5, rank)))
        adapters.append(LoraAdapter(f"rank {rank}", {"m": LoraFactors(a, b, scale)}))
    expected = sum(one.delta("m", torch.float64) for one in adapters) / 3
    torch.testing.assert_close(merge(adapters, "linear")["m"], expected.float())


# Trimming


@given(vectors(), densities)
def test_the_kept_count_is_exact(vector: Vector, density: float) -> None:
    one = adapter(vector)
    passes = {
        "global": (trimmed([(one, 1.0)], [global_threshold(one, density)]), [vector]),
        "tensor": (trimmed_by_tensor([(one, 1.0)], density), [{module: vector[module]} for module in sorted(vector)]),
    }
    for matrices, groups in passes.values():
        kept = {module: matrix.double().numpy() for module, ((matrix, _),) in matrices}
        for group in groups:
            size, nonzero = flatten([group]).size, np.count_nonzero(flatten([group]))
            expected = min(round(density * size), nonzero)
            assert sum(np.count_nonzero(kept[module]) for module in group) == expected


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=(100, 100)),
        1 + np.random.default_rng(0).integers(0, 2**20, (100, 100)) * 2.0**-23,  # alike in the high bits
        np.random.default_rng(0).normal(size=(100, 100)) * 1e-41,  # subnormal
        10 ** np.random.default_rng(0).uniform(-37, 35, (100, 100)),
        np.ones((100, 100)),
    ],
    ids=["normal", "alike", "subnormal", "wide", "equal"],
)
@pytest.mark.parametrize("density", [0.0001, 0.2, 0.33333, 0.9999])
def test_the_threshold_is_exact(values: NDArray[np.float64], density: float) -> None:
    values = values.astype(np.float32).astype(np.float64)
    one = adapter({"a": values[:30], "b": values[30:]})
    kept = numbers({name: x for name, ((x, _),) in trimmed([(one, 1.0)], [global_threshold(one, density)])})
    found = np.concatenate([kept["a"], kept["b"]]).ravel()
    order = np.argsort(-np.abs(values.ravel()), kind="stable")[: round(density * values.size)]
    assert np.flatnonzero(found).tolist() == sorted(order.tolist())
    assert np.array_equal(found[order], values.ravel()[order])


def test_equal_magnitudes_go_to_the_first_module_and_row() -> None:
    one = adapter({"b": np.full((2, 2), -1.0), "a": np.full((1, 3), 1.0)})
    merged = numbers(merge([one], "ties", density=4 / 7))
    assert merged["a"].tolist() == [[1, 1, 1]]
    assert merged["b"].tolist() == [[-1, 0], [0, 0]]


def test_the_global_count_goes_to_large_modules_values() -> None:
    vector = {"large": np.full((2, 2), 5.0), "small": np.full((2, 2), 0.1)}
    merged = numbers(merge([adapter(vector)], "ties", density=0.5))
    assert np.count_nonzero(merged["large"]) == 4
    assert np.count_nonzero(merged["small"]) == 0
    by_tensor = numbers(merge([adapter(vector)], "ties", density=0.5, scope="tensor"))
    assert [np.count_nonzero(matrix) for matrix in by_tensor.values()] == [2, 2]


# Sign election


def test_the_sign_is_elected_by_mass_not_by_count() -> None:
    rows = [[[5.0, 1.0]], [[-1.0, 1.0]], [[-2.0, -4.0]]]
    adapters = [adapter({"m": np.array(row)}) for row in rows]
    assert merge(adapters, "ties", density=1)["m"].tolist() == [[5.0, -4.0]]
    # weights have a say in the election and in the mean
    np.testing.assert_allclose(merge(adapters, "ties", [1, 4, 1], density=1)["m"], [[-6 / 5, 1.0]], rtol=1e-6)


@pytest.mark.parametrize(("rest", "expected"), [([1.0, 1.0], 3.0), ([-1.0, -1.0], -3.0), ([1.0, -1.0], -3.0)])
def test_cancelled_values_take_the_majority_sign_of_all_modules(rest: list[float], expected: float) -> None:
    left, right = ({"a": np.array([[value]]), "b": np.array([rest])} for value in (3.0, -3.0))
    assert merge([adapter(left), adapter(right)], "ties", density=1)["a"].item() == expected


# DARE


def dare_vector(seed: int) -> Vector:
    return {"m": np.random.default_rng(seed).normal(size=(200, 200)).astype(np.float32).astype(np.float64)}


def test_dare_keeps_the_asked_share_and_the_mean() -> None:
    vector = dare_vector(0)
    merged = numbers(merge([adapter(vector)], "dare_linear", density=0.3))["m"]
    assert np.mean(merged != 0) == pytest.approx(0.3, abs=0.01)
    seeds = [numbers(merge([adapter(vector)], "dare_linear", density=0.3, seed=seed))["m"] for seed in range(100)]
    assert np.abs(np.mean(seeds, axis=0) - vector["m"]).mean() < 0.15


def test_dare_draws_by_content_seed_and_module() -> None:
    vector = dare_vector(0)

    def kept(vector: Vector, name: str = "expert", **params: Any) -> NDArray[np.bool_]:
        return np.stack(
            [x != 0 for x in numbers(merge([adapter(vector, name)], "dare_linear", density=0.5, **params)).values()]
        )

    twice = vector | {"n": vector["m"]}
    assert np.array_equal(kept(vector), kept(vector, name="another"))
    assert not np.array_equal(kept(vector), kept(vector, seed=1))
    assert not np.array_equal(kept(vector), kept({"m": 2 * vector["m"]}))
    assert np.mean(kept(twice)[0] == kept(twice)[1]) == pytest.approx(0.5, abs=0.02)


# Arguments

GOOD = adapter({"m": np.ones((2, 2))})
OTHER = adapter({"m": np.ones((2, 3))}, "wide")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([],), "no adapters to merge"),
        (([GOOD], "tise"), "unknown merge method 'tise'; known are dare_linear, dare_ties, linear, ties"),
        (([GOOD], "linear", [1, 2]), "2 weights do not fit 1 adapters"),
        (([GOOD, GOOD], "linear", [1, -1]), "weights must be finite and not negative, not -1"),
        (([GOOD], "linear", [math.nan]), "not nan"),
        (([GOOD], "linear", [math.inf]), "not inf"),
        (([GOOD], "linear", ["1"]), "not '1'"),
        (([GOOD, GOOD], "linear", [0, 0]), "at least one weight must be above 0"),
        (([GOOD, OTHER],), r"module m has shape \(2, 2\) in 'expert' but \(2, 3\) in 'wide'"),
    ],
)
def test_arguments_refused_at_the_call(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(SamnerError, match=message):
        iter_merge(*arguments)


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("ties", {"densty": 0.2}, "the merge method 'ties' has no parameter 'densty'; it has density, lam, scope"),
        ("linear", {"density": 0.2}, "'linear' has no parameter 'density'; it has lam"),
        ("ties", {"density": 0}, "density must be above 0 and at most 1, not 0"),
        ("ties", {"density": 1.01}, "density must be"),
        ("dare_ties", {"density": -0.1}, "density must be"),
        ("dare_linear", {"density": math.nan}, "density must be"),
        ("ties", {"density": True}, "density must be"),
        ("ties", {"density": "0.2"}, "density must be"),
        ("ties", {"lam": math.inf}, "lam must be a finite number, not inf"),
        ("linear", {"lam": None}, "lam must be"),
        ("ties", {"scope": "layer"}, "scope must be 'global' or 'tensor', not 'layer'"),
        ("dare_ties", {"seed": 1.5}, "seed must be a whole number, not 1.5"),
    ],
)
def test_parameters_refused(method: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(SamnerError, match=message):
        merge([GOOD], method, **params)


def test_methods_lists_parameters_and_defaults() -> None:
    assert methods() == {
        "ties": {"lam": 1.0, "density": 0.2, "scope": "global"},
        "linear": {"lam": 1.0},
        "dare_linear": {"lam": 1.0, "density": 0.2, "seed": 0},
        "dare_ties": {"lam": 1.0, "density": 0.2, "seed": 0},
    }


def test_a_method_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))

    class First(MergeMethod):
        def merge(self, experts: Sequence[tuple[LoraAdapter, float]]) -> Iterator[tuple[str, torch.Tensor]]:
            adapter = experts[0][0]
            return ((module, self.lam * adapter.delta(module)) for module in adapter.modules)

    merge_method("first")(First)
    assert merge([GOOD], "first", lam=2)["m"].tolist() == [[2, 2], [2, 2]]
    with pytest.raises(SamnerError, match="already"):
        merge_method("first")(First)


def test_one_dense_matrix_of_each_expert_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    delta = LoraAdapter.delta
    monkeypatch.setattr(LoraAdapter, "delta", lambda self, module: made.append(module) or delta(self, module))
    one = adapter({"a": np.eye(2), "b": np.eye(2), "c": np.eye(2)})
    merged = iter_merge([one, one], "linear")
    assert made == []
    next(merged)
    assert made == ["a", "a"]
