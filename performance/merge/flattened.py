"""TIES on flattened task vectors, step by step as the paper's own code does it.

After ``merge_methods`` with ``topk``, ``mass`` and ``dis-mean`` of src/utils/merge_utils.py in
github.com/prateeky2806/ties-merging (Yadav et al. 2023), with the same torch operations on the same whole tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from safetensors.torch import save_file
from torch import Tensor

from performance.merge.child import Watch
from performance.merge.ours import DENSITY
from samner.merging import LoraAdapter


def ties(vectors: Tensor, density: float) -> Tensor:
    """Merge task vectors, one a row. Each keeps ``int(density * n) + 1`` values, as there."""
    checks = vectors.clone()  # the caller's stay as they are
    columns = checks.shape[1]
    lowest, _ = checks.abs().kthvalue(columns - int(columns * density), dim=1, keepdim=True)
    checks = checks * (checks.abs() >= lowest)
    signs = checks.sum(dim=0).sign()
    signs[signs == 0] = signs.sum().sign()
    chosen = checks * torch.where(signs > 0, checks > 0, checks < 0)
    return chosen.sum(dim=0) / (chosen != 0).sum(dim=0).float().clamp(min=1)


def merge(watch: Watch, paths: Sequence[str], save: str) -> None:
    """From adapter folders to dense matrices in memory."""
    with watch:
        adapters = [LoraAdapter.load(path) for path in paths]
        modules = adapters[0].modules
        vectors = torch.stack([torch.cat([a.delta(m).flatten() for m in modules]) for a in adapters])
        merged = ties(vectors, DENSITY)
    shapes = [adapters[0].factors[module].shape for module in modules]
    parts = merged.split([rows * columns for rows, columns in shapes])
    save_file({m: part.view(shape).clone() for m, part, shape in zip(modules, parts, shapes, strict=True)}, save)
