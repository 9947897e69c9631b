"""The merge methods in a few lines of float64 NumPy on dense, flattened task vectors; and adapters to try them on.

Nearly all adapters made here have products that float32 holds exactly, so that a method must agree with its reference
on every value, also where magnitudes are equal or values cancel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from hypothesis import strategies as st
from numpy.typing import NDArray

from samner.merging import LoraAdapter, LoraFactors
from samner.merging.task_vectors import Tile, uniform

Vector: TypeAlias = dict[str, NDArray[np.float64]]
"""A task vector: module name to matrix."""

SHAPES = {"layer.0.query": (3, 4), "layer.1.query": (2, 5), "layer.10.dense": (4, 1)}

PARAMS: dict[str, dict[str, Any]] = {
    "ties": {"density": 0.4},
    "linear": {},
    "magnitude_prune": {"density": 0.4},
    "breadcrumbs": {"density": 0.4, "gamma": 0.2},
    "dare_linear": {"density": 0.5, "seed": 3},
    "dare_ties": {"density": 0.5, "seed": 3},
    "della": {"density": 0.5, "epsilon": 0.25, "seed": 3},
    "knots": {"density": 0.4},
}
"""Every method, with parameters under which it has something to do."""


# Adapters


def adapter(vector: Vector, name: str = "expert") -> LoraAdapter:
    """An adapter with exactly this task vector: A is the identity."""
    factors = {
        module: LoraFactors(torch.eye(matrix.shape[1]), torch.tensor(matrix, dtype=torch.float32), 1.0)
        for module, matrix in vector.items()
    }
    return LoraAdapter(name, factors)


def gaussian(seed: int, ranks: dict[str, int], shapes: dict[str, tuple[int, int]]) -> LoraAdapter:
    """An adapter of these ranks with Gaussian factors, whose products are not exact."""
    generator = torch.Generator().manual_seed(seed)
    return LoraAdapter(
        f"seed {seed}",
        {
            module: LoraFactors(
                torch.randn(rank, shapes[module][1], generator=generator),
                torch.randn(shapes[module][0], rank, generator=generator),
                0.5,
            )
            for module, rank in ranks.items()
        },
    )


def task_vector(one: LoraAdapter) -> Vector:
    """The product of an adapter's factors in float64."""
    return {
        module: factors.scale * (factors.b.double().numpy() @ factors.a.double().numpy())
        for module, factors in one.factors.items()
    }


@st.composite
def adapters(draw: st.DrawFn) -> LoraAdapter:
    """Factors of any rank and type, in quarters, so that equal magnitudes, zeros and cancellation are common.

    Or a Gaussian task vector.
    """
    modules = draw(st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, unique=True))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    steps = draw(st.sampled_from([0, 1, 4, None]))
    if steps is None:
        return adapter({module: rng.normal(size=SHAPES[module]).astype(np.float32) for module in modules})
    dtype = draw(st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
    factors = {}
    for module in modules:
        rank, (rows, columns) = draw(st.integers(1, 6)), SHAPES[module]
        a, b = (torch.tensor(rng.integers(-steps, steps + 1, shape) / 4) for shape in ((rank, columns), (rows, rank)))
        factors[module] = LoraFactors(a.to(dtype), b.to(dtype), draw(st.sampled_from([0.5, 1.0, 2.0])))
    return LoraAdapter("expert", factors)


experts = st.lists(adapters(), min_size=1, max_size=4)
weighted = experts.flatmap(
    lambda drawn: st.tuples(st.just(drawn), st.lists(st.integers(1, 4), min_size=len(drawn), max_size=len(drawn)))
)
densities = st.floats(0, 1, exclude_min=True)
scopes = st.sampled_from(["global", "tensor"])
method_names = st.sampled_from(sorted(PARAMS))


# Comparison


def numbers(merged: dict[str, torch.Tensor]) -> Vector:
    return {module: matrix.double().numpy() for module, matrix in merged.items()}


def assert_same(left: Vector, right: Vector, tolerance: float = 1e-6) -> None:
    """Equal but for this share of the largest magnitude."""
    assert left.keys() == right.keys()
    largest = max((np.abs(matrix).max() for matrix in right.values()), default=0.0)
    for module in left:
        np.testing.assert_allclose(left[module], right[module], rtol=0, atol=tolerance * largest)


# References


def flatten(vectors: Sequence[Vector]) -> NDArray[np.float64]:
    """One row an expert over all modules; zero where it does not adapt."""
    shapes = {module: matrix.shape for vector in vectors for module, matrix in vector.items()}
    return np.stack(
        [np.concatenate([vector.get(m, np.zeros(shapes[m])).ravel() for m in sorted(shapes)]) for vector in vectors]
    )


def unflatten(row: NDArray[np.float64], vectors: Sequence[Vector]) -> Vector:
    shapes = {module: matrix.shape for vector in vectors for module, matrix in vector.items()}
    parts = np.split(row, np.cumsum([math.prod(shapes[module]) for module in sorted(shapes)])[:-1])
    return {module: part.reshape(shapes[module]) for module, part in zip(sorted(shapes), parts, strict=True)}


def band(vector: Vector, density: float, scope: str, gamma: float = 0.0) -> Vector:
    """All but the ``density`` largest after the ``gamma`` largest set to zero, equal ones in order."""
    if scope == "tensor":
        return {m: band({m: matrix}, density, "global", gamma)[m] for m, matrix in vector.items()}
    row = flatten([vector])[0]
    keep = round(density * row.size)
    first = min(round(gamma * row.size), row.size - keep)
    kept = np.argsort(-np.abs(row), kind="stable")[first : first + keep]
    return unflatten(np.where(np.isin(np.arange(row.size), kept), row, 0), [vector])


def dropped(one: LoraAdapter, density: float, epsilon: float, seed: int) -> Vector:
    """Values dropped at random, the larger in their row the less often, the others rescaled; for the same draws."""
    left = {}
    for module, matrix in task_vector(one).items():
        rows, columns = matrix.shape
        rank = np.abs(matrix).argsort(axis=1, kind="stable").argsort(axis=1)
        chance = density + (epsilon * (2 * rank / (columns - 1) - 1) if columns > 1 else np.zeros(matrix.shape))
        draws = uniform(torch.empty(rows, columns), Tile(module, 0, rows), seed, one.digest).numpy()
        left[module] = np.where(draws < chance, matrix / chance, 0)
    return left


def mean(vectors: Sequence[Vector], weights: Sequence[float], lam: float = 1.0) -> Vector:
    return unflatten(lam * np.average(flatten(vectors), axis=0, weights=weights), vectors)


def elect(vectors: Sequence[Vector], weights: Sequence[float], lam: float = 1.0) -> Vector:
    """Sign by mass, then the disjoint mean."""
    rows, shares = flatten(vectors), np.array(weights)[:, None]
    sign = np.sign((shares * rows).sum(0))
    sign[sign == 0] = np.sign(sign.sum())
    agree = shares * np.where(sign > 0, rows > 0, rows < 0)
    return unflatten(lam * (agree * rows).sum(0) / np.maximum(agree.sum(0), 1e-9), vectors)


def knots(vectors: Sequence[Vector], weights: Sequence[float], density: float, lam: float = 1.0) -> Vector:
    """TIES on the coordinates in the left singular vectors of the dense task vectors side by side."""
    merged = {}
    for module in sorted({module for vector in vectors for module in vector}):
        some = [(vector[module], weight) for vector, weight in zip(vectors, weights, strict=True) if module in vector]
        u, s, _ = np.linalg.svd(np.hstack([np.sqrt(weight) * matrix for matrix, weight in some]), full_matrices=False)
        u = u[:, s > 1e-7 * s[0]] if s[0] else u[:, :1]
        trimmed = [band({"": u.T @ matrix}, density, "global") for matrix, _ in some]
        merged[module] = u @ elect(trimmed, [weight for _, weight in some], lam)[""]
    return merged
