"""A merge at once, for models whose task vectors fit into memory."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from samner.lora import LoraAdapter
from samner.merging.merger import Merger


def merge(
    adapters: Sequence[LoraAdapter], method: str = "ties", weights: Sequence[float] | None = None, **params: object
) -> dict[str, Tensor]:
    """Merge adapters in weight space; see :class:`Merger`, which does the same for models of any size.

    Returns:
        Module name to merged dense ``dW``, float32 of shape (out, in), to be added to the base weight.

    Raises:
        SamnerError: As :class:`Merger` does.

    Example:
        >>> experts = [LoraAdapter.load("news"), LoraAdapter.load("medicine")]
        >>> merge(experts, "ties", weights=[2, 1], density=0.2)["encoder.layer.0.output.dense"].shape
        torch.Size([384, 1536])
    """
    with Merger(adapters, method, weights, **params) as merger:  # type: ignore[arg-type]  # any of them a parameter
        return dict(merger.dense())
