"""Random LoRA adapters in PEFT's format, the same for the same seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from performance.merge.shapes import Shape


def write_adapters(
    folder: str | Path, shape: Sequence[int], layers: int, experts: int, rank: int, only: str = ""
) -> list[str]:
    """Write adapters ``0``, ``1``, ... into a folder and answer their paths.

    They adapt all linear modules, or those whose name ends in ``only``. Factors are bf16. As in trained adapters the
    norms of rows, columns, directions and modules differ by several times: no part of a task vector stands for all.
    """
    paths = []
    for expert in range(experts):
        random = torch.Generator().manual_seed(expert)
        tensors: dict[str, Tensor] = {}
        for module, (rows, columns) in Shape(*shape).modules(layers).items():
            if module.endswith(only):
                a, b = _factors(rows, columns, rank, random)
                tensors[f"base_model.model.{module}.lora_A.weight"] = a
                tensors[f"base_model.model.{module}.lora_B.weight"] = b
        path = Path(folder) / str(expert)
        path.mkdir(parents=True)
        save_file(tensors, path / "adapter_model.safetensors", {"format": "pt"})
        config = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": rank,
            "lora_alpha": 2 * rank,
            "target_modules": sorted({key.split(".")[-3] for key in tensors}),
            "bias": "none",
        }
        (path / "adapter_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
        paths.append(str(path))
    return paths


def _factors(rows: int, columns: int, rank: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
    def spread(count: int, sigma: float) -> Tensor:
        return torch.randn(count, generator=random).mul_(sigma).exp_()

    a = torch.randn(rank, columns, generator=random) * spread(columns, 0.3) / columns**0.5
    b = torch.randn(rows, rank, generator=random) * spread(rows, 0.5)[:, None] * spread(rank, 0.7)
    b *= 0.01 * spread(1, 0.5)
    return a.bfloat16().contiguous(), b.bfloat16().contiguous()
