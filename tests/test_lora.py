"""Reading adapter folders written by PEFT, and refusing what is more than LoRA on linear layers."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file, save_file
from torch import nn

from samner.errors import ModelError
from samner.merging import LoraAdapter, LoraFactors, merge

pytestmark = pytest.mark.filterwarnings("ignore:.*:UserWarning:peft")  # PEFT's advice on the odd cases made here


class Tiny(nn.Module):
    """A model with every kind of layer that PEFT can adapt."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.block = nn.ModuleDict({"query": nn.Linear(8, 8), "dense": nn.Linear(8, 5, bias=False)})
        self.words = nn.Embedding(7, 6)
        self.conv = nn.Conv1d(3, 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block["dense"](self.block["query"](self.first(x)))


LINEAR = ["first", "block.query", "block.dense"]


def save(folder: Path, dtype: torch.dtype = torch.float32, **config: Any) -> peft.PeftModel:
    """Save an adapter with random factors by PEFT itself."""
    config = {"r": 3, "lora_alpha": 5, "target_modules": LINEAR, "init_lora_weights": False} | config
    model = peft.get_peft_model(Tiny().to(dtype), peft.LoraConfig(**config), autocast_adapter_dtype=False)
    model.save_pretrained(str(folder))
    return model


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"r": 1, "lora_alpha": 0.5},
        {"r": 4, "lora_alpha": 16, "use_rslora": True},
        {"target_modules": ["query"]},
        {"target_modules": r".*\.(query|dense)"},
        {"rank_pattern": {"query": 2, r"^first": 5}, "alpha_pattern": {"block.dense": 7}},
        {"rank_pattern": {"block.*": 2}, "alpha_pattern": {"(first|query)": 1, "dense": 9}, "use_rslora": True},
        {"init_lora_weights": "gaussian"},
        {"lora_dropout": 0.1, "exclude_modules": ["first"]},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_deltas_are_those_of_peft(tmp_path: Path, config: dict[str, Any], dtype: torch.dtype) -> None:
    model = save(tmp_path / "news", dtype, **config)
    layers = {
        name.removeprefix("base_model.model."): module
        for name, module in model.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    adapter = LoraAdapter.load(tmp_path / "news")
    assert adapter.name == "news"
    assert adapter.modules == tuple(sorted(layers))
    assert adapter.numel == sum(layer.get_base_layer().weight.numel() for layer in layers.values())
    for module, layer in layers.items():
        expected = layer.get_delta_weight("default")
        assert adapter.delta(module).dtype == torch.float32
        exact = adapter.delta(module, torch.float64)
        torch.testing.assert_close(exact.to(dtype), expected)
        torch.testing.assert_close(adapter.delta(module), exact.float())


def test_the_linear_merge_is_the_exact_one_of_peft(tmp_path: Path) -> None:
    save(tmp_path / "a", r=2)
    model = save(tmp_path / "b", r=5, lora_alpha=3, target_modules=["query", "dense"])
    model.load_adapter(str(tmp_path / "a"), "a")
    model.add_weighted_adapter(["a", "default"], [1.0, 3.0], "merged", combination_type="cat")
    adapters = [LoraAdapter.load(tmp_path / name) for name in ("a", "b")]
    merged = merge(adapters, "linear", [1, 3], lam=4)
    assert list(merged) == sorted(LINEAR)
    for module, delta in merged.items():
        layer = model.get_submodule(f"base_model.model.{module}")
        torch.testing.assert_close(delta, layer.get_delta_weight("merged"))


@pytest.mark.parametrize(
    "pattern",
    [
        {},
        {"query": 8},
        {"y": 8, "a.query": 16},
        {"^query": 8, "(query|key)": 16},
        {r"layers\.1\..*": 8, "x": 16},
        {r".*1.*": 8, "x": 16},
        {"a": 8, "a|x": 16},
        {r"layers\.[0-3]\.\w{1}": 8},
        {r"layers\.\d+\.x": 8, r"[^a].query": 16},
    ],
    ids=str,
)
def test_patterns_match_as_in_peft(tmp_path: Path, pattern: dict[str, float]) -> None:
    modules = ["a.query", "a.key", "query", "a.subquery", "layers.1.x", "layers.11.x", "x"]
    matrices = {
        f"base_model.model.{module}.lora_{letter}.weight": torch.ones(shape)
        for module in modules
        for letter, shape in (("A", (2, 3)), ("B", (4, 2)))
    }
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "alpha_pattern": pattern}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    save_file(matrices, tmp_path / "adapter_model.safetensors")
    adapter = LoraAdapter.load(tmp_path)
    for module in modules:
        expected = pattern.get(get_pattern_key(list(pattern), module), 4)
        assert adapter.factors[module].scale == expected / 2, module


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    save(tmp_path / "a")
    save(tmp_path / "b")
    first, again = LoraAdapter.load(tmp_path / "a"), LoraAdapter.load(tmp_path / "a", name="other")
    assert first.digest == again.digest != LoraAdapter.load(tmp_path / "b").digest
    doubled = {name: LoraFactors(f.a, f.b, 2 * f.scale) for name, f in first.factors.items()}
    assert LoraAdapter("a", doubled).digest != first.digest


def test_a_module_it_does_not_adapt(tmp_path: Path) -> None:
    save(tmp_path)
    with pytest.raises(ModelError, match="does not adapt the module 'conv'"):
        LoraAdapter.load(tmp_path).delta("conv")


# What PEFT writes and we must not read


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_dora": True}, r"DoRA \(use_dora\)"),
        ({"lora_bias": True}, "LoRA bias"),
        ({"bias": "all"}, r"trained biases \(bias\)"),
        ({"bias": "lora_only"}, r"trained biases \(bias\)"),
        ({"modules_to_save": ["conv"]}, r"modules saved whole \(modules_to_save\)"),
        ({"target_modules": ["first", "words"]}, "embedding's LoRA"),
        ({"target_modules": ["conv"]}, "module conv: lora_A has shape"),
        ({"target_modules": ["query"], "target_parameters": ["first.weight"]}, r"target_parameters"),
        ({"trainable_token_indices": {"words": [1]}}, "trained token embeddings"),
        ({"init_lora_weights": "pissa"}, "'pissa' changes the base weights"),
        ({"init_lora_weights": "olora"}, "'olora' changes the base weights"),
    ],
    ids=str,
)
def test_refused_as_peft_writes_it(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    save(tmp_path, **config)
    with pytest.raises(ModelError, match=message) as error:
        LoraAdapter.load(tmp_path)
    assert str(tmp_path / "adapter_") in str(error.value)


def test_another_method_of_peft_is_refused(tmp_path: Path) -> None:
    peft.get_peft_model(Tiny(), peft.IA3Config(target_modules=LINEAR, feedforward_modules=[])).save_pretrained(
        str(tmp_path)
    )
    with pytest.raises(ModelError, match="peft_type is 'IA3'"):
        LoraAdapter.load(tmp_path)


def test_pickled_weights_are_refused_unopened(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"adapter_model\.bin: is a pickle"):
        LoraAdapter.load(tmp_path)


# What no one should write


def write(folder: Path, config: dict[str, Any] | None = None, tensors: dict[str, torch.Tensor] | None = None) -> None:
    """A good adapter of rank 2 on one module, with changes."""
    good = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["query"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(good | (config or {})))
    prefix = "base_model.model.query.lora_"
    matrices = {f"{prefix}A.weight": torch.ones(2, 3), f"{prefix}B.weight": torch.ones(4, 2)} | (tensors or {})
    save_file(matrices, folder / "adapter_model.safetensors")


def test_the_good_adapter_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    assert torch.equal(LoraAdapter.load(tmp_path).delta("query"), torch.full((4, 3), 4.0))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"fan_in_fan_out": True}, "fan_in_fan_out"),
        ({"layer_replication": [[0, 4]]}, "layer replication"),
        ({"use_qalora": True}, "QA-LoRA"),
        ({"alora_invocation_tokens": [1]}, "aLoRA"),
        ({"of_next_year": {"on": True}}, r"a setting samner does not know \(of_next_year\)"),
        ({"init_lora_weights": "loftq"}, "changes the base weights"),
        ({"peft_type": None}, "peft_type is None"),
        ({"r": None}, "r must be a positive number, not None"),
        ({"r": 0}, "r must be a positive number, not 0"),
        ({"r": True}, "r must be"),
        ({"lora_alpha": "4"}, "lora_alpha must be"),
        ({"lora_alpha": math.nan}, "lora_alpha must be"),
        ({"r": 3}, "module query: rank mismatch: the matrices have rank 2, adapter_config.json says 3"),
        ({"rank_pattern": {"query": 4}}, "rank mismatch"),
        ({"rank_pattern": {"(": 4}}, "invalid regular expression"),
        ({"rank_pattern": {"(?=query)": 4}}, "a regular expression that is not read; write out the names"),
        ({"alpha_pattern": {r"(q)\1": 4}}, "a regular expression that is not read"),
        ({"alpha_pattern": {"((a{200}){200}){200}": 4}}, "a regular expression that is not read"),
        ({"alpha_pattern": {"[a[b]]": 4}}, "a regular expression that is not read"),
        ({"alpha_pattern": {"[a-z--q]uery": 4}}, "a regular expression that is not read"),
        ({"alpha_pattern": {"[]a]": 4}}, "a regular expression that is not read"),
        ({"alpha_pattern": {"(?i)query": 4}}, "invalid regular expression"),
        ({"alpha_pattern": {"query\n(": 4}}, "invalid regular expression"),
        ({"alpha_pattern": {"query": "4"}}, "alpha_pattern of 'query' must be"),
        ({"alpha_pattern": [4]}, "alpha_pattern must be an object"),
    ],
    ids=str,
)
def test_configuration_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    write(tmp_path, config)
    with pytest.raises(ModelError, match=message) as error:
        LoraAdapter.load(tmp_path)
    assert str(tmp_path / "adapter_") in str(error.value)
    assert "\n" not in str(error.value)


A, B = "base_model.model.query.lora_A.weight", "base_model.model.query.lora_B.weight"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({A: torch.ones(1, 3)}, "module query: rank mismatch: lora_A has rank 1, lora_B 2"),
        ({A: torch.ones(2, 3, 1)}, "only linear layers"),
        ({A: torch.ones(2)}, "only linear layers"),
        ({A: torch.ones(2, 0)}, "only linear layers"),
        ({A: torch.ones(2, 3, dtype=torch.int64)}, "lora_A is of type torch.int64"),
        ({B: torch.full((4, 2), math.nan)}, "lora_B holds NaN or infinite values"),
        ({B: torch.full((4, 2), -math.inf)}, "lora_B holds NaN or infinite values"),
        ({A: torch.full((2, 3), 1e20), B: torch.full((4, 2), 1e20)}, "too large for float32"),
        ({A: torch.full((2, 3), 1e-30), B: torch.full((4, 2), 3e38)}, "too large for float32"),  # once scaled
        ({A: torch.full((2, 3), 1e200, dtype=torch.float64)}, "too large for float32"),
        ({A.replace("query", "key"): torch.ones(2, 3)}, "module key: has lora_A but not its partner"),
        ({B.replace("query", "key"): torch.ones(4, 2)}, "module key: has lora_B but not its partner"),
        ({A.replace("A.weight", "magnitude_vector"): torch.ones(4)}, "of DoRA"),
        ({A.replace("A.weight", "embedding_A"): torch.ones(2, 3)}, "embedding's LoRA"),
        ({B.replace("weight", "bias"): torch.ones(4)}, "LoRA bias"),
        ({"base_model.model.classifier.weight": torch.ones(4, 2)}, "not a LoRA matrix; a module saved whole"),
        ({"base_model.model.classifier.modules_to_save.weight": torch.ones(4, 2)}, "a module saved whole"),
        ({"base_model.model.lm_head.weight": torch.ones(4, 2)}, "head saved whole.*save_embedding_layers=False"),
        ({"base_model.model.model.embed_tokens.weight": torch.ones(4, 2)}, "resized for new tokens"),
        ({A.replace("lora_A.weight", "base_layer.weight"): torch.ones(5, 3)}, "query: was resized for new tokens"),
        ({A.replace("lora_A.weight", "alpha"): torch.tensor(3.0)}, "has an alpha of its own, 3, but .* says 4"),
        ({A.replace("lora_A.weight", "lora_a"): torch.ones(2, 3)}, "LoRA under a key that is not known"),
        ({"query.lora_A.weight": torch.ones(2, 3)}, "one matrix twice, as base_model.*A.weight and as query"),
        ({A.replace("A.weight", "A.default.weight"): torch.ones(2, 3)}, "two adapters, of .*A.default.weight"),
        ({"lora_A.weight": torch.ones(2, 3)}, "LoRA under a key that is not known"),
        ({"x\n\x1b[2J": torch.ones(2, 3)}, r"the tensor x\\n\\x1b\[2J, which"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_tensors_refused(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    write(tmp_path, tensors=tensors)
    with pytest.raises(ModelError, match=message) as error:
        LoraAdapter.load(tmp_path)
    assert str(tmp_path / "adapter_model.safetensors") in str(error.value)
    assert "\n" not in str(error.value)


SPELLINGS = {
    "an adapter's name": lambda key: key.replace(".weight", ".medicine.weight"),
    "no prefix": lambda key: key.removeprefix("base_model.model."),
    "the prefix twice": lambda key: f"base_model.model.{key}",
    "compiled": lambda key: key.replace("query", "_orig_mod.query"),
    "compiled and saved whole": lambda key: f"_orig_mod.{key}",
    "of several processes": lambda key: f"module.{key}",
    "of several processes, within": lambda key: key.replace("query", "module.query"),
    "sharded": lambda key: f"_fsdp_wrapped_module.{key.replace('query', '_fsdp_wrapped_module.query')}",
    "checkpointed": lambda key: key.replace("query", "_checkpoint_wrapped_module.query"),
    "an adapter on an adapter": lambda key: key.replace("query", "query.base_layer"),
    "down and up": lambda key: key.replace("lora_A", "lora_down").replace("lora_B", "lora_up"),
    "down and up, of old": lambda key: key.replace("lora_A", "lora.down").replace("lora_B", "lora.up"),
    "all of it": lambda key: f"module._orig_mod.base_model.model.{key.replace('.weight', '.default.weight')}",
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_one_adapter_under_all_usual_keys(tmp_path: Path, spell: Callable[[str], str]) -> None:
    write(tmp_path)
    plain = LoraAdapter.load(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    save_file({spell(key): tensor for key, tensor in tensors.items()}, tmp_path / "adapter_model.safetensors")
    other = LoraAdapter.load(tmp_path)
    assert (other.modules, other.digest) == (plain.modules, plain.digest)
    assert other.files != plain.files


def test_a_pattern_may_name_a_module_as_it_is_stored(tmp_path: Path) -> None:
    write(tmp_path, {"alpha_pattern": {"_orig_mod.query": 8}})
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    compiled = {key.replace("query", "_orig_mod.query"): tensor for key, tensor in tensors.items()}
    save_file(compiled, tmp_path / "adapter_model.safetensors")
    assert LoraAdapter.load(tmp_path).factors["query"].scale == 4


@pytest.mark.parametrize(
    "key",
    [
        "base_model.model.query.base_layer.weight",
        "base_model.model.query.base_layer.bias",
        "base_model.model.query.base_layer.weight.absmax",
        "base_model.model.lm_head.base_layer.weight",
        "base_model.model.lm_head.original_module.weight",
        "base_model.model.model.rotary_emb.inv_freq",
        "base_model.model.embeddings.position_ids",
    ],
)
def test_what_changes_nothing_is_left_out(tmp_path: Path, key: str) -> None:
    write(tmp_path)
    plain = LoraAdapter.load(tmp_path)
    write(tmp_path, tensors={key: torch.ones(4, 3)})
    assert LoraAdapter.load(tmp_path).digest == plain.digest


def test_an_alpha_that_agrees_is_no_more_than_that(tmp_path: Path) -> None:
    write(tmp_path, tensors={"base_model.model.query.alpha": torch.tensor(4.0)})
    assert LoraAdapter.load(tmp_path).factors["query"].scale == 2


def test_a_pattern_that_would_take_for_ever_is_answered_at_once(tmp_path: Path) -> None:
    module = ".".join(["encoder.layer"] * 2000)
    prefix = f"base_model.model.{module}.lora_"
    matrices = {f"{prefix}A.weight": torch.ones(2, 3), f"{prefix}B.weight": torch.ones(4, 2)}
    write(tmp_path, {"alpha_pattern": {"([a-z0-9.]+)+!": 8, "(a|aa)+$b": 8, "(.*)*x": 8}})
    save_file(matrices, tmp_path / "adapter_model.safetensors")
    started = time.monotonic()
    assert LoraAdapter.load(tmp_path).factors[module].scale == 2
    assert time.monotonic() - started < 5


def test_checksums_are_those_of_what_was_read(tmp_path: Path) -> None:
    write(tmp_path)
    files = LoraAdapter.load(tmp_path).files
    assert files == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    LoraAdapter.load(tmp_path, checksums=files)
    for name in files:
        with pytest.raises(ModelError, match=f"{name}: damaged or changed"):
            LoraAdapter.load(tmp_path, checksums={**files, name: "0" * 64})
        with pytest.raises(ModelError, match=f"{name}: damaged or changed"):
            LoraAdapter.load(tmp_path, checksums={other: digest for other, digest in files.items() if other != name})


def test_on_a_base_it_has_the_base_s_names(tmp_path: Path) -> None:
    write(tmp_path)
    adapter = LoraAdapter.load(tmp_path)
    assert adapter.on_base({"query": (4, 3), "key": (4, 3)}) is adapter
    assert adapter.on_base({"model.language_model.query": (4, 3)}).modules == ("model.language_model.query",)
    for shapes, have in (({"key": (4, 3)}, "no such module"), ({"query": (5, 3)}, r"\(5, 3\)")):
        with pytest.raises(ModelError, match=rf"adapts query as \(4, 3\), the base has {have}"):
            adapter.on_base(shapes)


def cut_config(folder: Path) -> None:
    path = folder / "adapter_config.json"
    path.write_text(path.read_text()[:20])


def empty_weights(folder: Path) -> None:
    save_file({}, folder / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "adapter_config.json").unlink(), r"adapter_config\.json: no such file"),
        (cut_config, r"adapter_config\.json: not valid JSON"),
        (lambda folder: (folder / "adapter_config.json").write_text("[]"), "must hold a JSON object"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), r"adapter_model\.safetensors: no such file"),
        (empty_weights, "holds no LoRA matrices"),
    ],
)
def test_damaged_folders_are_refused(tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    write(tmp_path)
    damage(tmp_path)
    with pytest.raises(ModelError, match=message):
        LoraAdapter.load(tmp_path)


HEADERS = {
    "longer than the file": (1 << 40).to_bytes(8, "little") + b"{}",
    "longer than memory": b"\xff" * 8 + b"{}",
    "of names only": (3_000_000).to_bytes(8, "little") + b"{" + b" " * 3_000_000,
    "no JSON": (8).to_bytes(8, "little") + b"not JSON",
    "deep": (200_000).to_bytes(8, "little") + b"[" * 200_000,
    "not UTF-8": (4).to_bytes(8, "little") + b"\xff\xfe{}",
}


@pytest.mark.parametrize("content", HEADERS.values(), ids=HEADERS.keys())
def test_hostile_headers_are_one_line(tmp_path: Path, content: bytes) -> None:
    write(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(content)
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors: not a complete safetensors file") as error:
        LoraAdapter.load(tmp_path)
    assert "\n" not in str(error.value)


@given(st.data())
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_mutated_headers_are_read_right_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    write(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    length = 8 + int.from_bytes(content[:8], "little")
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, length - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        adapter = LoraAdapter.load(tmp_path)
    except ModelError as error:
        assert str(error).startswith(str(path)) and str(error).isprintable()
    else:
        assert all(factors.shape == (4, 3) for factors in adapter.factors.values())


def test_truncated_weights_are_refused_wherever_they_are_cut(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="not a complete safetensors file"):
            LoraAdapter.load(tmp_path)
