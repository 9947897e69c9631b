"""Which names of modules are of one layer, within a base and between adapters."""

from __future__ import annotations

import pytest

from samner.errors import ModelError
from samner.names import common_names, layer_of, match_modules, read_key

LAYER = "layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("module", "layer"),
    [
        ("model.layers.0.mlp.up_proj", "layers.0.mlp.up_proj"),
        ("language_model.model.layers.0.mlp.up_proj", "layers.0.mlp.up_proj"),
        ("model.language_model.layers.0.mlp.up_proj", "layers.0.mlp.up_proj"),
        ("transformer.h.0.attn.c_attn", "h.0.attn.c_attn"),
        ("bert.encoder.layer.0.output.dense", "encoder.layer.0.output.dense"),
        ("0.auto_model.encoder.layer.0.output.dense", "encoder.layer.0.output.dense"),
        ("language_model.lm_head", "lm_head"),
        ("model.vision_tower.layers.0.fc1", "vision_tower.layers.0.fc1"),
        ("model", "model"),
        ("0.dense", "0.dense"),
        ("0.1.dense", "0.1.dense"),
    ],
)
def test_a_layer_s_name(module: str, layer: str) -> None:
    assert layer_of(module) == layer


def test_modules_are_found_in_a_base_under_its_names() -> None:
    base = [f"model.language_model.{LAYER}", "model.visual.blocks.0.attn.qkv", "lm_head"]
    asked = [f"model.{LAYER}", "lm_head", "visual.blocks.0.attn.qkv", "classifier"]
    found = match_modules(asked, base)
    assert found == {f"model.{LAYER}": base[0], "lm_head": "lm_head", "visual.blocks.0.attn.qkv": base[1]}


def test_of_two_that_may_be_meant_none_is_taken_but_the_one_of_the_same_name() -> None:
    base = [f"model.{LAYER}", f"transformer.{LAYER}"]
    assert match_modules([LAYER], base) == {}
    assert match_modules([base[1]], base) == {base[1]: base[1]}


def named(*adapters: list[str]) -> list[list[str]]:
    names = common_names([(str(i), modules) for i, modules in enumerate(adapters)])
    return [[mine[module] for module in modules] for mine, modules in zip(names, adapters, strict=True)]


@pytest.mark.parametrize(
    "other",
    [
        ["language_model.model.layers.1.mlp.up_proj", "language_model.lm_head"],
        ["model.language_model.layers.1.mlp.up_proj", "lm_head"],
        ["layers.1.mlp.up_proj", "lm_head"],
        ["transformer.model.layers.1.mlp.up_proj", "transformer.lm_head"],
    ],
    ids=str,
)
@pytest.mark.parametrize("turn", [1, -1])
def test_ways_to_name_one_base_become_the_one_that_most_have(other: list[str], turn: int) -> None:
    plain = [f"model.{LAYER}"]
    names = named(*[plain, plain, other][::turn])[::turn]
    assert names == [plain, plain, ["model.layers.1.mlp.up_proj", "lm_head"]]


def test_names_do_not_depend_on_the_order_of_adapters() -> None:
    ways = [[f"model.{LAYER}"], [f"language_model.model.{LAYER}", "language_model.lm_head"], [f"transformer.{LAYER}"]]
    first = named(*ways)
    for order in ((1, 0, 2), (2, 1, 0), (0, 2, 1)):
        again = named(*(ways[i] for i in order))
        assert [again[order.index(i)] for i in range(3)] == first
    assert len({name for names in first for name in names}) == 2


@pytest.mark.parametrize(
    "adapters",
    [
        [["model.layers.0.q_proj"], ["model.layers.0.mlp.up_proj"]],
        [["encoder.layers.0.q_proj"], ["decoder.layers.0.q_proj"]],
        [["model.layers.0.q_proj"], ["model.vision_tower.vision_model.encoder.layers.0.q_proj"]],
        [["model.layers.0.q_proj"], ["lm_head"]],
        [["layers.0.q", "model.layers.0.q"], ["layers.0.q"]],  # two stacks, which only this tells apart
    ],
    ids=str,
)
def test_different_modules_stay_what_they_are(adapters: list[list[str]]) -> None:
    assert named(*adapters) == adapters


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([LAYER], [f"wrapper.{LAYER}"]),
        ([f"model.{LAYER}"], [f"wrapper.model.{LAYER}"]),
        ([f"model.{LAYER}"], ["wrapper.layers.0.mlp.up_proj"]),  # of other modules, but as much past each other
        ([f"model.{LAYER}", "lm_head"], [f"wrapper.model.{LAYER}", "lm_head"]),
    ],
    ids=str,
)
def test_names_that_an_unknown_wrapper_may_set_apart_are_refused(one: list[str], other: list[str]) -> None:
    with pytest.raises(ModelError, match="may be two names of the same layers") as error:
        named(one, other)
    assert one[0] in str(error.value) and other[0] in str(error.value)


@pytest.mark.parametrize(
    "before",
    ["", "base_model.model.", "module.", "_orig_mod.module.", "_forward_module.", "model.", "pretrained_model."],
)
def test_what_holds_an_adapted_model_is_no_part_of_its_layers_names(before: str) -> None:
    key = read_key(f"{before}base_model.model.model.layers.0.q_proj.lora_A.weight")
    assert key is not None and key.module == "model.layers.0.q_proj"
