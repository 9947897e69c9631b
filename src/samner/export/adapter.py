"""Merged task vectors as a PEFT adapter."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import pad

from samner.errors import SamnerError
from samner.files import write_json
from samner.lora import CONFIG_FILE, WEIGHTS_FILE
from samner.merging import low_rank
from samner.merging.deltas import Deltas
from samner.merging.engine import Progress
from samner.merging.registry import is_number
from samner.merging.stream import check_finite, is_finite, writing

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What an adapter's rank is chosen from: the values of vLLM's ``max_lora_rank`` that are worth having."""

_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class ModuleError:
    """What a module lost: relative Frobenius error, and the share of the squared norm that is retained."""

    relative_error: float
    energy: float


@dataclass(frozen=True)
class AdapterReport:
    """Rank of an adapter and what it lost, over all modules and in each."""

    rank: int
    relative_error: float
    energy: float
    modules: dict[str, ModuleError]


def write_adapter(
    deltas: Deltas,
    folder: Path,
    *,
    rank: int | None = None,
    max_error: float | None = None,
    base: str | None = None,
    causal: bool = False,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> AdapterReport:
    """Write task vectors as a plain LoRA adapter of one rank, which PEFT and vLLM load unchanged.

    Each module gets the best approximation of the rank, found by a randomised SVD with power iterations, in the memory
    of one task vector. What has low rank is decomposed from its factors, and written exactly where the rank suffices;
    so is a module that is no larger than the rank. Ranks that a module does not need are zeros.

    Given ``max_error``, the ranks that may suffice are tried one after the other, and each reads all task vectors
    anew. As no rank that is added retains more than those before it did on average, this skips what is too small.

    Args:
        deltas: What to write.
        folder: An empty folder; the caller sees to it that it is discarded if an error is raised.
        rank: Of the adapter; any, also one larger than the modules.
        max_error: Instead of a rank: the relative error, over all modules, for which the smallest of ``RANKS`` is
            taken.
        base: The name of the base model, for the adapter's configuration.
        causal: Whether that is a causal language model, for the same.
        dtype: In which the factors are stored. Their rounding counts as an error too.
        progress: Called with the values of the task vectors done.

    Raises:
        SamnerError: If not exactly one of ``rank`` and ``max_error`` is given or it is out of range, no rank
            suffices, or the values leave the range of ``dtype``.
        OSError: If the disk is full.
    """
    if dtype not in _DTYPES:
        raise SamnerError(f"an adapter is stored as float32, float16 or bfloat16, not as {dtype}")
    tried: AdapterReport | None = None
    for candidate in _candidates(deltas, rank, max_error):
        if max_error is not None and tried and 1 - tried.energy * candidate / tried.rank > max_error**2:
            continue
        tried = _write_weights(deltas, folder / WEIGHTS_FILE, candidate, dtype, progress)
        if max_error is None or tried.relative_error <= max_error:
            write_json(folder / CONFIG_FILE, _config(deltas, candidate, base, causal))
            return tried
    reached = f"at rank {tried.rank} it is {tried.relative_error:.3g}" if tried else "there are no modules"
    raise SamnerError(f"no rank up to {RANKS[-1]} has a relative error of at most {max_error}: {reached}")


def _candidates(deltas: Deltas, rank: int | None, max_error: float | None) -> tuple[int, ...]:
    """The ranks to try: of ``RANKS`` those up to the first that is enough for every module."""
    if rank is not None and max_error is None:
        if rank < 1:
            raise SamnerError(f"the rank must be a whole number above 0, not {rank}")
        return (rank,)
    if max_error is None or rank is not None:
        raise SamnerError("give either the rank of the adapter or the largest error it may have")
    if not is_number(max_error) or not 0 < max_error < 1:
        raise SamnerError(f"the largest error must lie between 0 and 1, not {max_error!r}")
    return RANKS[: bisect_left(RANKS, max(map(min, deltas.shapes.values()))) + 1]


def _write_weights(
    deltas: Deltas, path: Path, rank: int, dtype: torch.dtype, progress: Progress | None
) -> AdapterReport:
    names = [_tensor(module, letter) for module in deltas.shapes for letter in "AB"]
    total = sum(map(math.prod, deltas.shapes.values()))
    done = 0
    modules: dict[str, ModuleError] = {}
    losses = []
    with writing(path, names, {"format": "pt"}) as add:
        for module, (b, a), (norm, lost) in _approximations(deltas, rank, dtype):
            if not (is_finite(a) and is_finite(b)):
                raise SamnerError(f"the task vector of {module} leaves the range of {dtype}")
            add(_tensor(module, "A"), pad(a, (0, 0, 0, rank - len(a))))
            add(_tensor(module, "B"), pad(b, (0, rank - len(a))))
            modules[module] = _error([(norm, lost)])
            losses.append((norm, lost))
            done += math.prod(deltas.shapes[module])
            if progress:
                progress(f"adapter of rank {rank}", done, total)
    overall = _error(losses)
    return AdapterReport(rank, overall.relative_error, overall.energy, modules)


def _approximations(
    deltas: Deltas, rank: int, dtype: torch.dtype
) -> Iterator[tuple[str, low_rank.Pair, tuple[float, float]]]:
    """Of each module the factors as they are stored, and the squared norms of it and of what they miss."""
    if deltas.low_rank:
        for module in deltas.shapes:
            factors = deltas.factors(module)
            b, a = (factor.to(dtype) for factor in low_rank.truncate_product(factors, rank))
            yield module, (b, a), low_rank.product_loss(factors, (b, a))
    else:
        for module, dense in deltas.dense():
            check_finite(module, dense)
            b, a = (factor.to(dtype) for factor in low_rank.truncate(dense, rank))
            losses = low_rank.loss(dense, (b, a))
            del dense  # before the next one is made
            yield module, (b, a), losses


def _error(losses: Sequence[tuple[float, float]]) -> ModuleError:
    norm, lost = (sum(values) for values in zip(*losses, strict=True))
    share = lost / norm if norm else 0.0
    return ModuleError(math.sqrt(share), 1 - share)


def _tensor(module: str, letter: str) -> str:
    return f"base_model.model.{module}.lora_{letter}.weight"


def _config(deltas: Deltas, rank: int, base: str | None, causal: bool) -> dict[str, object]:
    return {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": list(deltas.shapes),
        "task_type": "CAUSAL_LM" if causal else None,
        "use_dora": False,
        "use_rslora": False,
    }
