from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from samner.backbones import BASE
from samner.backbones.mixed_batch import MixedModels
from samner.errors import ModelError
from samner.lora import LoraAdapter
from samner.merging import merge


@pytest.fixture(scope="module")
def experts(make_expert) -> list[Path]:
    return [make_expert(1), make_expert(2, r=2, use_rslora=True)]


@pytest.fixture(scope="module")
def deltas(experts: list[Path]) -> list[dict[str, torch.Tensor]]:
    adapters = [LoraAdapter.load(folder) for folder in experts]
    return [merge(adapters, density=0.5), merge(adapters, "linear", [2, 1])]


@pytest.fixture
def model(lm: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(lm).eval()


def mixed_of(model: Any, experts: list[Path], deltas: list[dict[str, torch.Tensor]]) -> MixedModels:
    linears = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear) and n != "lm_head"}
    mixed = MixedModels(linears)
    for name, folder in zip("ab", experts, strict=True):
        mixed.add_expert(name, LoraAdapter.load(folder))
    for name, vectors in zip("xy", deltas, strict=True):
        mixed.add_task_model(name, vectors)
    return mixed


@pytest.mark.parametrize("order", ["b.axy", "xa.yb", "a", "y", "..x", "aax"])
def test_each_row_is_read_by_its_model(lm, model, experts, deltas, order):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    mixed = mixed_of(model, experts, deltas)
    names = [BASE if letter == "." else letter for letter in order]
    ids = torch.arange(len(names) * 7).reshape(len(names), 7)
    with torch.no_grad(), mixed.rows(names):
        answers = model(ids).logits
    for row, name in enumerate(names):
        alone: Any = AutoModelForCausalLM.from_pretrained(lm).eval()
        if name in "ab":
            alone = PeftModel.from_pretrained(alone, experts["ab".index(name)])
        elif name in "xy":
            for module, delta in deltas["xy".index(name)].items():
                alone.get_submodule(module).weight.data += delta
        with torch.no_grad():
            assert torch.allclose(answers[row], alone(ids[row : row + 1]).logits[0], atol=1e-4), name


def test_the_base_is_itself_again_afterwards(model, experts, deltas):
    mixed = mixed_of(model, experts, deltas)
    ids = torch.arange(7)[None]
    with torch.no_grad():
        before = model(ids).logits
        with pytest.raises(RuntimeError, match="amid"), mixed.rows(["a"]):
            assert not torch.allclose(model(ids).logits, before)
            raise RuntimeError("amid")
        assert torch.equal(model(ids).logits, before)
    assert not any("forward" in vars(module) for module in model.modules())


def test_rows_may_be_flattened_and_biased():
    layer = nn.Linear(3, 2)
    mixed = MixedModels({"layer": layer})
    delta = torch.randn(2, 3)
    mixed.add_task_model("x", {"layer": delta})
    x = torch.randn(2, 5, 3)
    with torch.no_grad():
        with mixed.rows([BASE, "x"]):
            flat = layer(x.flatten(0, 1)).view(2, 5, 2)
            whole = layer(x)
        expected = torch.stack([layer(x[0]), layer(x[1]) + x[1] @ delta.T])
    assert torch.allclose(flat, expected, atol=1e-6) and torch.allclose(whole, expected, atol=1e-6)


def test_what_does_not_fit_is_refused(model, experts, deltas):
    mixed = mixed_of(model, experts, deltas)
    for name in ("a", "x", BASE):
        with pytest.raises(ModelError, match=f"the name '{name}' is taken"):
            mixed.add_task_model(name, {})
    with pytest.raises(ModelError, match=r"'lm_head' is \(2, 3\), this base has no such module"):
        mixed.add_task_model("z", {"lm_head": torch.zeros(2, 3)})
    mixed.remove("a")
    mixed.remove("x")
    mixed.remove("unknown")
    assert set(mixed.names) == {"b", "y"}
