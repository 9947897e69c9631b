"""The number format that this machine computes in fastest without giving up what models need."""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_GAIN = 1.3  # bfloat16 costs digits, so it has to be worth it


@lru_cache(maxsize=4)
def fastest_dtype(device: str = "cpu") -> torch.dtype:
    """``torch.bfloat16`` where the processor multiplies in it clearly faster than in ``torch.float32``, which else.

    Measured once in a process: processors without instructions for it compute it many times slower.

    Args:
        device: A torch device name.
    """
    import torch

    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    if torch.device(device).type != "cpu":
        return torch.float32
    seconds = {dtype: _seconds(dtype) for dtype in (torch.float32, torch.bfloat16)}
    return torch.bfloat16 if seconds[torch.bfloat16] * _GAIN < seconds[torch.float32] else torch.float32


def _seconds(dtype: torch.dtype) -> float:
    """The best of three products of two matrices of a small language model's size."""
    import torch

    left, right = torch.ones(512, 576, dtype=dtype), torch.ones(576, 1536, dtype=dtype)
    best = float("inf")
    for _ in range(4):  # the first one also sets up the kernels
        begin = perf_counter()
        left @ right
        best = min(best, perf_counter() - begin)
    return best
