"""What merged task vectors are written as."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from samner.backbones import load_backbone
from samner.errors import ModelError, SamnerError
from samner.export.adapter import RANKS, write_adapter
from samner.export.fused import write_fused
from samner.merging.delta_file import write_delta
from samner.merging.deltas import Deltas
from samner.merging.engine import Progress

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
DELTA_FILE = "delta.safetensors"


class Target(ABC):
    """A form of export.

    Attributes:
        kind: Its name on the command line.
    """

    kind: ClassVar[str]

    def check(self, low_rank: bool) -> None:  # noqa: B027 - most have nothing to check
        """Say before the work what would be wrong after it.

        Args:
            low_rank: Whether the task vectors will have low rank.

        Raises:
            SamnerError: If they could not be written.
        """

    @abstractmethod
    def write(self, deltas: Deltas, folder: Path, progress: Progress) -> dict[str, Any]:
        """Write task vectors into an empty folder; returns what is to be said about it, as JSON values."""


@dataclass(frozen=True)
class AdapterTarget(Target):
    """A PEFT adapter.

    Args:
        rank: Of the adapter; if neither this nor ``max_error`` is given, the rank that task vectors of low rank have.
        max_error: Instead of a rank, the relative error that it may have.
        dtype: One of ``DTYPES``, in which the factors are stored.
        base: The base model that the configuration is to name.
        causal: Whether that is a causal language model.
    """

    kind: ClassVar[str] = "adapter"

    rank: int | None = None
    max_error: float | None = None
    dtype: str = "float32"
    base: str | None = None
    causal: bool = False

    def check(self, low_rank: bool) -> None:
        if self.dtype not in DTYPES:
            raise SamnerError(f"unknown type {self.dtype!r} for the factors; known are {', '.join(DTYPES)}")
        if self.rank is not None and self.max_error is not None:
            raise SamnerError("give --rank or --max-error, not both")
        if self.rank is not None and self.rank < 1:
            raise SamnerError(f"--rank must be at least 1, not {self.rank}")
        if self.max_error is not None and not 0 < self.max_error < 1:
            raise SamnerError(f"--max-error must lie between 0 and 1, not {self.max_error}")
        if self.rank is None and self.max_error is None and not low_rank:
            raise SamnerError(
                "an adapter has a rank, and what is to be written has none: give --rank "
                f"({', '.join(map(str, RANKS))}) or --max-error (0.1, for instance)"
            )

    def write(self, deltas: Deltas, folder: Path, progress: Progress) -> dict[str, Any]:
        rank = self.rank
        if rank is None and self.max_error is None:
            rank = max(deltas.factors(module).rank for module in deltas.shapes)
        report = write_adapter(
            deltas,
            folder,
            rank=rank,
            max_error=self.max_error,
            base=self.base,
            causal=self.causal,
            dtype=DTYPES[self.dtype],
            progress=progress,
        )
        return asdict(report)


@dataclass(frozen=True)
class FusedTarget(Target):
    """A base model with the task vectors added to its weights.

    Args:
        base: Folder of the base model: a transformers checkpoint in safetensors, or a base of samner's own.
        fingerprint: That a base of samner's own must have, if it is known.
    """

    kind: ClassVar[str] = "fused"

    base: Path
    fingerprint: str | None = None

    def check(self, low_rank: bool) -> None:
        if not self.base.is_dir():
            raise ModelError(f"{self.base}: no such folder; --base names the one that holds the base model")

    def write(self, deltas: Deltas, folder: Path, progress: Progress) -> dict[str, Any]:
        if not (self.base / "base.json").is_file():
            return asdict(write_fused(deltas, self.base, folder, progress=progress))
        backbone = load_backbone(self.base)
        if self.fingerprint not in (None, backbone.fingerprint):
            raise ModelError(f"{self.base}: is not the base model that the adapters were trained on")
        if backbone.checkpoint is not None:
            if not Path(backbone.checkpoint).is_dir():
                raise ModelError(
                    f"the weights of {backbone.checkpoint} are not in a folder here: --base FOLDER says where they are"
                )
            return asdict(write_fused(deltas, Path(backbone.checkpoint), folder, progress=progress))
        backbone.add_task_model("merged", dict(deltas.dense()))
        backbone.save_fused("merged", folder)
        return {"modules": len(deltas.shapes)}


@dataclass(frozen=True)
class DeltaTarget(Target):
    """The merged task vectors themselves."""

    kind: ClassVar[str] = "delta"

    def write(self, deltas: Deltas, folder: Path, progress: Progress) -> dict[str, Any]:
        write_delta(deltas, folder / DELTA_FILE)
        return {"modules": len(deltas.shapes), "bytes": (folder / DELTA_FILE).stat().st_size}
