"""Adapters of different base models are not merged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from samner.errors import SamnerError
from samner.lora import LoraAdapter
from samner.merging import merge


def adapter(folder: Path, name: str, base: object) -> LoraAdapter:
    path = folder / name
    path.mkdir()
    prefix = "base_model.model.layer"
    save_file(
        {f"{prefix}.lora_A.weight": torch.ones(1, 2), f"{prefix}.lora_B.weight": torch.ones(3, 1)},
        path / "adapter_model.safetensors",
    )
    config = {"peft_type": "LORA", "r": 1, "lora_alpha": 1, "base_model_name_or_path": base}
    (path / "adapter_config.json").write_text(json.dumps(config))
    return LoraAdapter.load(path)


def test_different_bases_are_refused_with_both_names(tmp_path: Path) -> None:
    one, other = adapter(tmp_path, "one", "meta-llama/Llama-3.1-8B"), adapter(tmp_path, "other", "Qwen/Qwen3-8B")
    message = "'one' is an adapter of meta-llama/Llama-3.1-8B but 'other' of Qwen/Qwen3-8B"
    with pytest.raises(SamnerError, match=message):
        merge([one, other], "linear")


def test_one_base_may_lie_in_several_places(tmp_path: Path) -> None:
    bases = ["meta-llama/Llama-3.1-8B", "/models/llama-3.1-8b/"]
    merge([adapter(tmp_path, str(i), base) for i, base in enumerate(bases)], "linear")


@pytest.mark.parametrize("base", [None, "", 3])
def test_a_base_that_is_not_named_may_be_any(tmp_path: Path, base: object) -> None:
    unnamed = adapter(tmp_path, "unnamed", base)
    assert unnamed.base is None
    merge([adapter(tmp_path, "named", "org/base"), unnamed], "linear")
