"""Adapters of one base model under many names, and of different ones, which are not merged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from samner.errors import SamnerError
from samner.lora import LoraAdapter
from samner.merging import Merger, merge


def adapter(folder: Path, name: str, base: object, module: str = "layer", rows: int = 3) -> LoraAdapter:
    path = folder / name
    path.mkdir(parents=True)
    prefix = f"base_model.model.{module}"
    save_file(
        {f"{prefix}.lora_A.weight": torch.ones(1, 2), f"{prefix}.lora_B.weight": torch.ones(rows, 1)},
        path / "adapter_model.safetensors",
    )
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "base_model_name_or_path": base}
    (path / "adapter_config.json").write_text(json.dumps(config))
    return LoraAdapter.load(path)


def test_different_bases_are_refused_with_both_names(tmp_path: Path) -> None:
    one, other = adapter(tmp_path, "one", "meta-llama/Llama-3.1-8B"), adapter(tmp_path, "other", "Qwen/Qwen3-8B")
    message = "'one' is an adapter of meta-llama/Llama-3.1-8B but 'other' of Qwen/Qwen3-8B"
    with pytest.raises(SamnerError, match=message) as error:
        merge([one, other], "linear")
    assert "--same-base meta-llama/Llama-3.1-8B=Qwen/Qwen3-8B" in str(error.value)


SNAPSHOT = "/home/ada/.cache/huggingface/hub/models--meta-llama--Llama-3.1-8B/snapshots/" + "0e9e39f2" * 5


@pytest.mark.parametrize(
    "bases",
    [
        ["meta-llama/Llama-3.1-8B", "/models/llama-3.1-8b/"],
        ["meta-llama/Llama-3.1-8B", "unsloth/Llama-3.1-8B"],
        ["meta-llama/Llama-3.1-8B", SNAPSHOT],
        ["meta-llama/Llama-2-7b", "meta-llama/Llama-2-7b-hf", "TheBloke/Llama-2-7B-GPTQ", "TheBloke/Llama-2-7B-AWQ"],
        ["checkpoints/base", "checkpoints/base"],
    ],
    ids=str,
)
def test_one_base_may_lie_in_several_places(tmp_path: Path, bases: list[str]) -> None:
    merge([adapter(tmp_path, str(i), base) for i, base in enumerate(bases)], "linear")


@pytest.mark.parametrize(
    "bases",
    [
        ["checkpoints/2026-01-01/base", "checkpoints/2026-02-02/base"],
        ["run/checkpoint-500", "another/checkpoint-500"],
        ["Qwen/Qwen3-8B", "Qwen/Qwen3-8B-Base"],
        ["Qwen/Qwen3-8B", "Qwen/Qwen3-8B-Instruct"],
        ["models/hf", "models/awq"],
        [SNAPSHOT, SNAPSHOT.replace("8B", "70B")],
    ],
    ids=str,
)
def test_names_that_say_too_little_or_else_are_refused(tmp_path: Path, bases: list[str]) -> None:
    with pytest.raises(SamnerError, match="--same-base"):
        merge([adapter(tmp_path, str(i), base) for i, base in enumerate(bases)], "linear")


@pytest.mark.parametrize("suffix", ["-bnb-4bit", "-unsloth-bnb-4bit", "-AWQ", "-GPTQ-Int4", "-hf", "-FP8", "-GGUF"])
def test_a_repackaged_base_is_taken_for_the_original_and_said(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    adapters = [adapter(tmp_path, "one", f"unsloth/Qwen3-8B{suffix}"), adapter(tmp_path, "other", "Qwen/Qwen3-8B")]
    with Merger(adapters, "linear") as merger:
        assert merger.base == "Qwen/Qwen3-8B"
    assert caplog.messages == [f"taking the base unsloth/Qwen3-8B{suffix} for Qwen/Qwen3-8B, repackaged"]


@pytest.mark.parametrize("stated", [["a/one=b/two", "b/two=c/x=3"], ["c/x=3=a/one", "two=a/one"], ["d/any"]])
def test_bases_that_the_user_says_are_one(tmp_path: Path, stated: list[str]) -> None:
    adapters = [adapter(tmp_path, name, name) for name in ("a/one", "b/two", "c/x=3")]
    with Merger(adapters, "linear", same_base=stated) as merger:
        assert merger.base == ("d/any" if stated == ["d/any"] else "a/one")
    with pytest.raises(SamnerError, match="only adapters of one base model"):
        merge(adapters, "linear", same_base=stated[:1] if len(stated) > 1 else [])


def test_a_name_that_no_adapter_has_is_a_slip(tmp_path: Path) -> None:
    adapters = [adapter(tmp_path, name, name) for name in ("a/one", "b/two")]
    with pytest.raises(SamnerError, match="--same-base a/one=b/tow: give two .* the adapters name a/one, b/two"):
        merge(adapters, "linear", same_base=["a/one=b/tow"])


def test_fingerprints_prove_what_names_can_only_say(tmp_path: Path) -> None:
    one, other = adapter(tmp_path, "one", "a/one"), adapter(tmp_path, "other", "b/two")
    merge([replace(one, fingerprint="f" * 64), replace(other, fingerprint="f" * 64)], "linear")
    apart = [replace(one, fingerprint="f" * 64), replace(other, base="a/one", fingerprint="e" * 64)]
    with pytest.raises(SamnerError, match=r"a/one \(fingerprint f{16}\) .* --same-base a/one$"):
        merge(apart, "linear")
    merge(apart, "linear", same_base=["a/one"])


@pytest.mark.parametrize("base", [None, "", 3])
def test_a_base_that_is_not_named_may_be_any(tmp_path: Path, base: object) -> None:
    unnamed = adapter(tmp_path, "unnamed", base)
    assert unnamed.base is None
    merge([adapter(tmp_path, "named", "org/base"), unnamed], "linear")


@pytest.mark.parametrize("prefix", ["model.", "language_model.", "_orig_mod.", "module._fsdp_wrapped_module."])
def test_one_layer_under_two_names_is_merged_as_one(tmp_path: Path, prefix: str) -> None:
    one = adapter(tmp_path, "one", None, "model.layers.0.q")
    other = adapter(tmp_path, "other", None, f"{prefix}{'' if prefix == 'model.' else 'model.'}layers.0.q")
    assert {name: delta.tolist() for name, delta in merge([one, other], "linear", lam=2).items()} == {
        "model.layers.0.q": [[2, 2], [2, 2], [2, 2]]
    }


def test_a_vocabulary_that_was_resized_is_called_that(tmp_path: Path) -> None:
    one, other = (adapter(tmp_path, name, None, "lm_head", rows) for name, rows in (("one", 3), ("other", 5)))
    with pytest.raises(SamnerError, match="lm_head has shape .* one vocabulary was resized for new tokens"):
        merge([one, other], "linear")
