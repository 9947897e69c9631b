"""Linear layers in eight bits, for processors that multiply eight-bit integers at once but have no bfloat16.

Rows of the weight and rows of the input (a sub-token's state each) are scaled to the range of int8, as in Dettmers et
al., *LLM.int8()* (2022), and so are exact but for rounding. What does not round well are the few columns of the input
that are far larger than all others: these are taken apart and multiplied as they are. Which ones they are is seen
once, on a few texts, as it hardly changes from text to text. The products are oneDNN's, which scales what comes out in
the same pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

OUTLIERS = 16
"""Columns of each input that are multiplied as they are."""

_ZERO = 128  # what zero is in an input's unsigned values: the instructions multiply unsigned by signed


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of an input that are taken apart."""

    outliers: Tensor

    @classmethod
    def largest(cls, peaks: Tensor) -> Columns:
        """Those with the highest peaks: the greatest absolute values seen in each column, in."""
        return cls(peaks.topk(min(OUTLIERS, len(peaks) // 2)).indices)


@dataclass(frozen=True, slots=True)
class Int8Input:
    """What layers are given, N x in.

    Args:
        values: In eight bits, unsigned; of no meaning where an outlier stands.
        scales: Of each row, N x 1, in the type that results are in.
        outliers: N x O, over the scales.
    """

    values: Tensor
    scales: Tensor
    outliers: Tensor

    @classmethod
    def of(cls, x: Tensor, columns: Columns, dtype: torch.dtype) -> Int8Input:
        """An input; results are to be in ``dtype``."""
        x = x.float()
        peaks = x.abs().index_fill_(1, columns.outliers, 0.0).amax(1, keepdim=True)
        scales = peaks.clamp_min_(1e-12).div_(127).to(dtype)
        inverse = scales.float().reciprocal()
        values = torch.addcmul(torch.tensor(_ZERO + 0.5), x, inverse).to(torch.uint8)  # cut off, so rounded
        return cls(values, scales, (x.index_select(1, columns.outliers) * inverse).to(dtype))

    def rows(self, start: int, stop: int) -> Int8Input:
        """Some of its rows."""
        return Int8Input(self.values[start:stop], self.scales[start:stop], self.outliers[start:stop])


class Int8Weight:
    """A layer's weight.

    Args:
        values: In eight bits, in x out, 0 in the columns of outliers.
        scales: Of each output, out.
        outliers: O x out, as they were.

    Attributes:
        dtype: Of results.
    """

    def __init__(self, values: Tensor, scales: Tensor, outliers: Tensor) -> None:
        self._values = torch.ops.onednn.qlinear_prepack(values.T.contiguous(), None)
        self._scales, self._outliers = scales, outliers
        self._zeros = torch.zeros(len(scales), dtype=torch.int32)
        self.dtype = outliers.dtype

    def __reduce__(self) -> tuple[Any, ...]:  # as what is laid out for the processor cannot be pickled
        return type(self), (self._values.to_dense(), self._scales, self._outliers)

    @classmethod
    def of(cls, weight: Tensor, columns: Columns, dtype: torch.dtype) -> Int8Weight:
        """A weight, out x in; results are to be in ``dtype``."""
        rest = weight.float().index_fill(1, columns.outliers, 0.0)
        scales = rest.abs().amax(1).clamp_min_(1e-12).div_(127)
        outliers = weight.index_select(1, columns.outliers).T.to(dtype).contiguous()
        return cls(rest.div_(scales[:, None]).round_().to(torch.int8).T, scales, outliers)

    def multiply(self, x: Int8Input, out: Tensor) -> Tensor:
        """The input times the transposed weight, N x out, which it writes to ``out``."""
        weight = (self._values, self._scales, self._zeros)
        product = torch.ops.onednn.qlinear_pointwise(
            *(x.values, 1.0, _ZERO), *weight, None, *(1.0, 0, self.dtype), *("none", [], "")
        )
        return torch.mul(product.addmm_(x.outliers, self._outliers), x.scales, out=out)
