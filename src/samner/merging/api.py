"""Merging adapters: what the rest of samner calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from samner.adapters import LoraAdapter
from samner.errors import SamnerError
from samner.merging.registry import is_number, make_method
from samner.merging.sparsify import Expert


def merge(
    adapters: Sequence[LoraAdapter], method: str = "ties", weights: Sequence[float] | None = None, **params: object
) -> dict[str, Tensor]:
    """Merge adapters in weight space.

    Args:
        adapters: The experts, of one base model. They may differ in rank, scale and adapted modules; a module that
            an expert does not adapt counts as zero for it. Their order does not matter.
        method: One of :func:`methods`.
        weights: One per adapter, not negative; only their ratios matter. Equal by default. A whole-number weight does
            the same as giving the adapter that often.
        **params: The method's parameters, for instance ``density=0.2, lam=1.0``.

    Returns:
        Module name to merged dense ``dW``, float32 of shape (out, in), to be added to the base weight. The modules are
        those that any adapter of positive weight adapts.

    Raises:
        SamnerError: If the method or a parameter is unknown, a value is out of range, there are no adapters, the
            weights do not fit, or two adapters give a module different shapes.

    Example:
        >>> experts = [LoraAdapter.load("pool/news"), LoraAdapter.load("pool/medicine")]  # doctest: +SKIP
        >>> merge(experts, "ties", weights=[2, 1], density=0.2)["encoder.layer.0.output.dense"].shape  # doctest: +SKIP
        torch.Size([384, 1536])
    """
    return dict(iter_merge(adapters, method, weights, **params))


def iter_merge(
    adapters: Sequence[LoraAdapter], method: str = "ties", weights: Sequence[float] | None = None, **params: object
) -> Iterator[tuple[str, Tensor]]:
    """Like :func:`merge`, but yields (module, ``dW``) one at a time, in the order of the modules' names.

    Memory is bounded by the largest module. Wrong arguments raise at the call, not at the first item.
    """
    chosen = make_method(method, params)
    return chosen.merge(_experts(adapters, weights))


def _experts(adapters: Sequence[LoraAdapter], weights: Sequence[float] | None) -> list[Expert]:
    """The adapters that have a weight, in an order that depends on their content only."""
    if not adapters:
        raise SamnerError("there are no adapters to merge")
    if weights is None:
        weights = [1.0] * len(adapters)
    if len(weights) != len(adapters):
        raise SamnerError(f"{len(weights)} weights do not fit {len(adapters)} adapters")
    for weight in weights:
        if not is_number(weight) or weight < 0:
            raise SamnerError(f"weights must be finite and not negative, not {weight!r}")
    if not any(weights):
        raise SamnerError("at least one weight must be above 0")
    _check_shapes(adapters)
    # of two equal adapters the lighter comes first, so that the order is total as far as it can be seen
    return sorted(
        ((adapter, float(weight)) for adapter, weight in zip(adapters, weights, strict=True) if weight),
        key=lambda expert: (expert[0].digest, expert[1]),
    )


def _check_shapes(adapters: Sequence[LoraAdapter]) -> None:
    seen: dict[str, LoraAdapter] = {}
    for adapter in adapters:
        for module, factors in adapter.factors.items():
            other = seen.setdefault(module, adapter)
            if other.factors[module].shape != factors.shape:
                raise SamnerError(
                    f"module {module} has shape {other.factors[module].shape} in {other.name!r} but {factors.shape} "
                    f"in {adapter.name!r}: the adapters are of different base models"
                )
