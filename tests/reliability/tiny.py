"""A pool over a random language model of some thousand parameters: it knows nothing, and answers at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.backbones.language_model.tiny_llama import CITIES, RIVERS, tiny_llama, tiny_tokenizer

LABELS = ["river", "city"]
TEXTS = [f"The {river} flows through {city}." for river in RIVERS for city in CITIES]
EXPERTS = ("east", "north", "south", "west")


def make_pool(folder: Path) -> Path:
    """Make the pool in a folder that exists; returns its own folder."""
    import torch

    from samner.backbones.language_model.token_classification.backbone import WEIGHTS, save_base_weights, write_card
    from samner.backbones.language_model.token_classification.network import Heads
    from samner.pool import ExpertPool

    base = folder / "base"
    base.mkdir()
    model = tiny_llama().model  # without its head, which is not used
    model.save_pretrained(base / "lm")
    tiny_tokenizer().save_pretrained(base / "lm")
    torch.manual_seed(0)
    save_base_weights(base / WEIGHTS, Heads(model.config.hidden_size, width=8), {})
    entries = {"model": "lm", "scale": 0.5, "threshold": 0.3, "max_tokens": 64, "types": {"set": ["river"]}}
    write_card(base, **entries)
    pool = ExpertPool.create(folder / "pool", base)
    for seed, name in enumerate(EXPERTS):
        pool.add(make_expert(pool, folder / name, seed=seed, rank=2))
    return pool.folder


def make_expert(pool: object, folder: Path, *, seed: int, rank: int = 1, modules: int | None = None) -> Path:
    """Write the folder of a random expert of a pool, on its first modules."""
    import torch
    from safetensors.torch import save_file

    from samner.pool import ExpertCard, ExpertPool

    assert isinstance(pool, ExpertPool)
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    shapes = dict(list(pool.backbone.module_shapes().items())[:modules])
    tensors = {}
    for module, (rows, columns) in shapes.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = torch.randn(rank, columns, generator=generator)
        tensors[f"base_model.model.{module}.lora_B.weight"] = torch.randn(rows, rank, generator=generator)
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": list(shapes)}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    vector = tuple(torch.nn.functional.normalize(torch.randn(384, generator=generator), dim=0).tolist())
    card = ExpertCard(name=folder.name, base=pool.backbone.fingerprint, types=tuple(LABELS), embedding=vector)
    card.write(folder)
    return folder


def copied(pool: Path, to: Path) -> Path:
    """A copy of the pool, to be changed."""
    return Path(shutil.copytree(pool, to))
