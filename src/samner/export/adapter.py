"""Merged task vectors as a PEFT adapter: the best approximation of a rank, and how much is lost by it."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from samner.errors import SamnerError
from samner.export.target import Request, Target, code
from samner.files import write_json
from samner.lora import WEIGHTS_FILE, LoraFactors
from samner.lora_config import CONFIG_FILE
from samner.merging.registry import is_number
from samner.merging.stream import Deltas, check_finite, is_finite, writing
from samner.merging.task_vectors import Progress

RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What an adapter's rank is chosen from: the values of vLLM's ``max_lora_rank`` that are worth having."""

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}

# for an error within a percent or so of the least possible, also where singular values hardly decay
_BLOCKS = 3
_OVERSAMPLING = 8
_CHUNK = 1 << 20  # values

Pair = tuple[Tensor, Tensor]
"""``b`` (out, rank) and ``a`` (rank, in); what they stand for is their product."""


@dataclass(frozen=True)
class AdapterTarget(Target):
    """A plain LoRA adapter of one rank, which PEFT and vLLM load unchanged.

    Each module gets the best approximation of the rank, found by a randomised SVD in a block Krylov space, in the
    memory of one task vector. What has low rank is decomposed from its factors, and written exactly where the rank
    suffices; so is a module that is no larger than the rank. Ranks that a module does not need are zeros.

    Given ``max_error``, the ranks that may suffice are tried one after the other, and each reads all task vectors
    anew. As no rank that is added retains more than those before it did on average, this skips what is too small.

    Args:
        rank: Of the adapter; one larger than the modules up to the last of ``RANKS`` only. If neither this nor
            ``max_error`` is given, the rank that task vectors of low rank have.
        max_error: Instead of a rank: the relative error (Frobenius norm of what is missing, over that of the task
            vectors), over all modules, for which the smallest of ``RANKS`` is taken.
        dtype: One of ``DTYPES``, in which the factors are stored. Their rounding counts as an error too.
        base: The base model that the configuration is to name.
        causal: Whether that is a causal language model.

    Raises:
        SamnerError: If a value is out of range, and from ``write`` if no rank suffices, or the values leave the range
            of ``dtype``.
    """

    library: ClassVar[str | None] = "peft"

    rank: int | None = None
    max_error: float | None = None
    dtype: str = "float32"
    base: str | None = None
    causal: bool = False

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SamnerError(f"unknown type {self.dtype!r} for the factors; known are {', '.join(DTYPES)}")
        if self.rank is not None and self.max_error is not None:
            raise SamnerError("give --rank or --max-error, not both")
        if self.rank is not None and self.rank < 1:
            raise SamnerError(f"--rank must be at least 1, not {self.rank}")
        if self.max_error is not None and not (is_number(self.max_error) and 0 < self.max_error < 1):
            raise SamnerError(f"--max-error must lie between 0 and 1, not {self.max_error}")

    @classmethod
    def refuse(cls, request: Request) -> None:
        cls(request.rank, request.max_error, request.dtype or "float32").check(low_rank=False)

    @classmethod
    def of(cls, request: Request) -> AdapterTarget:
        if request.base and not request.backbone:
            raise SamnerError("--base is for --to fused")
        return cls(request.rank, request.max_error, request.dtype or "float32", request.named, request.causal)

    def check(self, low_rank: bool) -> None:
        if self.rank is None and self.max_error is None and not low_rank:
            raise SamnerError(
                "an adapter has a rank, and what is to be written has none: give --rank "
                f"({', '.join(map(str, RANKS))}) or --max-error (0.1, for instance)"
            )

    def write(self, deltas: Deltas, place: Path, progress: Progress = lambda *step: None) -> dict[str, Any]:
        self.check(deltas.low_rank)
        needed = max(map(min, deltas.shapes.values()), default=0)
        if self.rank is not None and self.rank > max(needed, RANKS[-1]):  # zeros, by the gigabyte
            raise SamnerError(f"--rank {self.rank} is more than any module can need; {needed} is exact")
        place.mkdir(exist_ok=True)
        most, tried = self.max_error, None
        for rank in self._candidates(deltas):
            if most is not None and tried and 1 - tried["energy"] * rank / tried["rank"] > most**2:
                continue
            tried = _write_weights(deltas, place / WEIGHTS_FILE, rank, DTYPES[self.dtype], progress)
            if most is None or tried["relative_error"] <= most:
                write_json(place / CONFIG_FILE, self._config(deltas, rank))
                return tried
        reached = f"at rank {tried['rank']} it is {tried['relative_error']:.3g}" if tried else "there are no modules"
        raise SamnerError(f"no rank up to {RANKS[-1]} has a relative error of at most {most}: {reached}")

    def _candidates(self, deltas: Deltas) -> tuple[int, ...]:
        """The ranks to try: of ``RANKS`` those up to the first that is enough for every module."""
        if self.max_error is not None:
            return RANKS[: bisect_left(RANKS, max(map(min, deltas.shapes.values()))) + 1]
        return (self.rank or max(deltas.factors(module).rank for module in deltas.shapes),)

    def _config(self, deltas: Deltas, rank: int) -> dict[str, object]:
        return {
            "base_model_name_or_path": self.base,
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
            "task_type": "CAUSAL_LM" if self.causal else None,
            "use_dora": False,
            "use_rslora": False,
        }

    def usage(self, parts: Mapping[str, str], reports: Mapping[str, Mapping[str, Any]]) -> str:
        (first, folder), *more = parts.items()
        if self.causal and self.base:
            imports = ["from peft import PeftModel", "from transformers import AutoModelForCausalLM"]
            lines = [
                f"model = AutoModelForCausalLM.from_pretrained({json.dumps(self.base)})",
                f"model = PeftModel.from_pretrained(model, {json.dumps(folder)}, adapter_name={json.dumps(first)})",
                *(f"model.load_adapter({json.dumps(f)}, adapter_name={json.dumps(name)})" for name, f in more),
            ]
        elif folder == ".":
            imports = ["from peft import PeftModel"]
            lines = ['model = PeftModel.from_pretrained(base, ".")  # on the model that the adapters were trained on']
        else:
            imports = ["from pathlib import Path", "", "from samner.backbones import load_backbone"]
            lines = ['backbone = load_backbone(Path("my-domain/base"))  # of the model that was exported']
            lines += [f'backbone.add_expert("{name}", Path("{folder}"))' for name, folder in parts.items()]
        return "Plain PEFT adapters.\n\n" + code("\n".join([*imports, "", *lines]), "python")


def _write_weights(deltas: Deltas, path: Path, rank: int, dtype: torch.dtype, progress: Progress) -> dict[str, Any]:
    """Write the factors; returns rank, relative error and retained energy, over all modules and in each."""
    names = [_tensor(module, letter) for module in deltas.shapes for letter in "AB"]
    total = sum(map(math.prod, deltas.shapes.values()))
    done = 0
    modules = {}
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
            progress(f"adapter of rank {rank}", done, total)
    return {"rank": rank, **_error(losses), "modules": modules}


def _approximations(deltas: Deltas, rank: int, dtype: torch.dtype) -> Iterator[tuple[str, Pair, tuple[float, float]]]:
    """Of each module the factors as they are stored, and the squared norms of it and of what they miss."""
    if deltas.low_rank:
        for module in deltas.shapes:
            factors = deltas.factors(module)
            b, a = (factor.to(dtype) for factor in truncate_product(factors, rank))
            yield module, (b, a), product_loss(factors, (b, a))
    else:
        for module, dense in deltas.dense():
            check_finite(module, dense)
            b, a = (factor.to(dtype) for factor in truncate(dense, rank))
            losses = loss(dense, (b, a))
            del dense  # before the next one is made
            yield module, (b, a), losses


def _error(losses: Sequence[tuple[float, float]]) -> dict[str, float]:
    norm, lost = (sum(values) for values in zip(*losses, strict=True))
    share = lost / norm if norm else 0.0
    return {"relative_error": math.sqrt(share), "energy": 1 - share}


def _tensor(module: str, letter: str) -> str:
    return f"base_model.model.{module}.lora_{letter}.weight"


def truncate(dense: Tensor, rank: int) -> Pair:
    """The best approximation of a matrix by a randomised SVD, the same every time; exact if the rank allows it."""
    rows, columns = dense.shape
    if rank >= columns:
        return dense, torch.eye(columns)
    if rank >= rows:
        return torch.eye(rows), dense
    block = rank + _OVERSAMPLING
    if _BLOCKS * block >= min(rows, columns):
        u, s, vt = torch.linalg.svd(dense, full_matrices=False)
        root = s[:rank].sqrt()
        return u[:, :rank] * root, root[:, None] * vt[:rank]
    basis, projected = _krylov(dense, block)
    # an SVD of what is so wide takes several times as long as that of its Gram matrix, in float64 as exact
    wide = projected.double()
    squares, vectors = torch.linalg.eigh(wide @ wide.T)
    u = vectors.flip(1)[:, :rank]
    root = squares.flip(0)[:rank].clamp(min=0).pow(0.25)
    a = (u.T @ wide).div_(root.clamp(min=torch.finfo(torch.float64).tiny)[:, None])
    return basis @ (u * root).float(), a.float()


def _krylov(dense: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """An orthonormal basis ``Q`` of the space of ``D G, D D^T D G, ...`` for random ``G``, and ``Q^T D``.

    Musco and Musco 2015 (arXiv 1504.05477). Each block is read off the matrix twice, as a step of a power iteration
    is, but none is lost: the error is smaller after half as many.
    """
    basis, projected = torch.empty(len(dense), 0), torch.empty(0, dense.shape[1])
    step = torch.randn(dense.shape[1], block, generator=torch.Generator().manual_seed(0))
    for _ in range(_BLOCKS):
        new = dense @ step
        for _ in range(2):  # once leaves rounding, and all where nothing is left of the block
            new = torch.linalg.qr(new - basis @ (basis.T @ new)).Q
        step = dense.T @ new
        basis, projected = torch.cat([basis, new], dim=1), torch.cat([projected, step.T])
    return basis, projected


def truncate_product(factors: LoraFactors, rank: int) -> Pair:
    """The best approximation of a product, in float64 and without making it; exact if the rank allows it."""
    b, a = _exact(factors)
    if rank >= factors.rank:
        return b, a
    left, upper_left = torch.linalg.qr(b)
    right, upper_right = torch.linalg.qr(a.T)
    u, s, vt = torch.linalg.svd(upper_left @ upper_right.T, full_matrices=False)
    root = s[:rank].sqrt()
    return left @ (u[:, :rank] * root), (root[:, None] * vt[:rank]) @ right.T


def loss(dense: Tensor, pair: Pair) -> tuple[float, float]:
    """The squared norms of a matrix and of its difference to a product.

    The difference is made, a few rows at a time: as the difference of the two norms a small one would be all rounding.
    """
    b, a = pair
    rows = max(1, _CHUNK // dense.shape[1])
    norm = lost = 0.0
    for part, b_part in zip(dense.split(rows), b.split(rows), strict=True):
        difference = torch.addmm(part, b_part.float(), a.float(), alpha=-1)
        norm += float(torch.dot(part.flatten(), part.flatten()))
        lost += float(torch.dot(difference.flatten(), difference.flatten()))
    return norm, lost


def product_loss(factors: LoraFactors, pair: Pair) -> tuple[float, float]:
    """The same for a matrix that is a product itself, which is not made."""
    b, a = _exact(factors)
    both = torch.cat([b, -pair[0].double()], dim=1), torch.cat([a, pair[1].double()])
    return _squared(b, a), max(0.0, _squared(*both))


def _exact(factors: LoraFactors) -> Pair:
    return factors.b.cpu().double() * factors.scale, factors.a.cpu().double()


def _squared(b: Tensor, a: Tensor) -> float:
    """``|b a|^2 = <b^T b, a a^T>``."""
    return float(((b.T @ b) * (a @ a.T)).sum())
