"""PEFT's ``add_weighted_adapter``. Loading the model and the adapters is not timed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from performance.merge.child import Watch
from performance.merge.ours import DENSITY
from performance.merge.shapes import Shape


def base(watch: Watch, shape: Sequence[int], layers: int, dtype: str, save: str) -> None:
    """Write a Llama with random weights and next to no vocabulary."""
    widths = Shape(*shape)
    torch.manual_seed(0)
    with watch:
        config = LlamaConfig(
            vocab_size=32,
            hidden_size=widths.hidden,
            intermediate_size=widths.intermediate,
            num_hidden_layers=layers,
            num_attention_heads=widths.hidden // 128,
            num_key_value_heads=widths.kv // 128,
            max_position_embeddings=64,
            dtype=dtype,
        )
        LlamaForCausalLM(config).to(getattr(torch, dtype)).save_pretrained(save)


def merge(
    watch: Watch, paths: Sequence[str], base: str, kind: str, rank: int, save: str, full_matrices: bool = True
) -> None:
    """Merge by a combination type; written after the time is taken."""
    merged = Path(save).name  # PEFT names the folder of an adapter after it
    names = [f"expert{i}" for i in range(len(paths))]
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), paths[0], names[0])
    for name, path in zip(names[1:], paths[1:], strict=True):
        model.load_adapter(path, name)
    with watch, torch.no_grad():
        model.add_weighted_adapter(
            names,
            [1.0] * len(names),
            merged,
            combination_type=kind,
            density=DENSITY,
            svd_rank=rank,
            svd_full_matrices=full_matrices,
        )
    model.save_pretrained(Path(save).parent, selected_adapters=[merged])
