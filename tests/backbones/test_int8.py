"""Products in eight bits against float64, and a mixed batch in eight bits against each model alone."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from samner.backbones.base import BASE
from samner.backbones.int8 import OUTLIERS, Columns, Int8Input, Int8Weight
from samner.backbones.mixed_batch import MixedModels
from samner.precision import multiplies_int8

pytestmark = pytest.mark.skipif(not multiplies_int8(), reason="torch has no products in eight bits here")


def product(x: torch.Tensor, weight: torch.Tensor, peaks: torch.Tensor) -> torch.Tensor:
    columns = Columns.largest(peaks)
    out = torch.empty(len(x), len(weight))
    return Int8Weight.of(weight, columns, torch.float32).multiply(Int8Input.of(x, columns, torch.float32), out)


@given(st.integers(1, 300), st.integers(2, 70), st.integers(1, 40), st.integers(0, 2**31))
def test_it_is_the_product_up_to_rounding(rows: int, width: int, out: int, seed: int) -> None:
    made = torch.Generator().manual_seed(seed)
    x, weight = torch.randn(rows, width, generator=made), torch.randn(out, width, generator=made)
    exact = x.double().numpy() @ weight.double().numpy().T
    # each factor is off by half a step of 1/127 of its row's largest value
    steps = (x.abs().amax(1, keepdim=True) / 254, weight.abs().amax(1) / 254)
    bound = steps[0] * weight.abs().sum(1) + x.abs().sum(1, keepdim=True) * steps[1] + width * steps[0] * steps[1]
    error = np.abs(product(x, weight, x.abs().amax(0)).numpy() - exact)
    assert (error <= bound.numpy() * 1.001 + 1e-5).all()


def test_columns_of_outliers_cost_the_others_no_digits() -> None:
    x, weight = torch.randn(50, 200), torch.randn(30, 200)
    calm = (product(x, weight, x.abs().amax(0)) - x @ weight.T).abs().max()
    x[:, 3] *= 1000
    wild = (product(x, weight, x.abs().amax(0)) - x @ weight.T).abs().max()
    assert wild < 3 * calm
    unseen = torch.arange(200.0) * torch.tensor([float(i != 3) for i in range(200)])
    assert (product(x, weight, unseen) - x @ weight.T).abs().max() > 20 * calm


def test_no_more_than_half_of_a_narrow_input_is_taken_apart() -> None:
    assert len(Columns.largest(torch.rand(6)).outliers) == 3
    assert len(Columns.largest(torch.rand(600)).outliers) == OUTLIERS


def test_a_row_of_zeros_stays_zero() -> None:
    assert (product(torch.zeros(2, 40), torch.randn(3, 40), torch.ones(40)) == 0).all()


def test_a_pickled_weight_is_the_same() -> None:
    x, columns = torch.randn(4, 40), Columns.largest(torch.ones(40))
    weight = Int8Weight.of(torch.randn(3, 40), columns, torch.float32)
    given = Int8Input.of(x, columns, torch.float32)
    same = pickle.loads(pickle.dumps(weight))
    assert torch.equal(same.multiply(given, torch.empty(4, 3)), weight.multiply(given, torch.empty(4, 3)))


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 32, bias=False)).requires_grad_(False)


def test_models_of_a_mixed_batch_answer_as_alone(model: nn.Sequential) -> None:
    x = torch.randn(6, 9, 64)
    mixed = MixedModels({"first": model[0], "last": model[2]})  # type: ignore[dict-item]
    mixed.quantize(lambda: model(x))
    mixed.add_task_model("a", {"first": torch.randn(96, 64) / 10, "last": torch.randn(32, 96) / 10})
    mixed.add_task_model("b", {"first": torch.randn(96, 64) / 10})
    plain = model(x)
    with mixed.rows([BASE, BASE, "a", "a", "b", "b"]):
        together = model(x)
    for name, start in ((BASE, 0), ("a", 2), ("b", 4)):
        with mixed.rows([name, name]):
            alone = model(x[start : start + 2])
        assert torch.equal(together[start : start + 2], alone)
        wanted = x[start : start + 2]
        for layer, module in ((model[0], "first"), (model[2], "last")):
            delta = 0 if name == BASE else mixed.deltas(name).get(module, torch.zeros(()))
            wanted = nn.functional.linear(wanted, layer.weight + delta, layer.bias)  # type: ignore[arg-type]
            wanted = wanted.relu() if module == "first" else wanted
        assert torch.nn.functional.cosine_similarity(alone, wanted, dim=-1).min() > 0.999
    assert torch.equal(model(x), plain)  # outside of a pass, as before


def test_outside_of_a_pass_gradients_flow(model: nn.Sequential) -> None:
    mixed = MixedModels({"first": model[0], "last": model[2]})  # type: ignore[dict-item]
    mixed.quantize(lambda: model(torch.randn(3, 2, 64)))
    x = torch.randn(3, 2, 64, requires_grad=True)
    model(x).sum().backward()
    assert x.grad is not None
