"""Linear layers in eight bits, for processors that multiply eight-bit integers at once but have no bfloat16.

Rows of the weight and rows of the input (a sub-token's state each) are scaled to the range of int8, as in Dettmers et
al., *LLM.int8()* (2022), and so are exact but for rounding. What does not round well are the few columns of the input
that are far larger than all others: these are taken apart and multiplied as they are. Which ones they are is seen
once, on a few texts, as it hardly changes from text to text.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

OUTLIERS = 16
"""Columns of each input that are multiplied as they are."""

_ROWS = 128  # at once: what lies between two steps stays in the processor's cache


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of an input that are taken apart, and 0 for them and 1 for all others, in."""

    outliers: Tensor
    others: Tensor

    @classmethod
    def largest(cls, peaks: Tensor) -> Columns:
        """Those with the highest peaks: the greatest absolute values seen in each column, in."""
        outliers = peaks.topk(min(OUTLIERS, len(peaks) // 2)).indices
        return cls(outliers, torch.ones_like(peaks).index_fill_(0, outliers, 0.0))


@dataclass(frozen=True, slots=True)
class Int8Input:
    """What layers are given, N x in.

    Args:
        values: In eight bits, 0 where an outlier stands.
        scales: Of each row, N x 1.
        outliers: N x O, as they were.
    """

    values: Tensor
    scales: Tensor
    outliers: Tensor

    @classmethod
    def of(cls, x: Tensor, columns: Columns, dtype: torch.dtype) -> Int8Input:
        """An input; its outliers in a type to multiply in."""
        values, scales = torch.empty(x.shape, dtype=torch.int8), torch.empty(len(x), 1)
        for part, its_values, its_scales in zip(x.split(_ROWS), values.split(_ROWS), scales.split(_ROWS), strict=True):
            rest = part * columns.others  # in float32
            torch.div(rest.abs().amax(1, keepdim=True).clamp_min_(1e-12), 127, out=its_scales)
            its_values.copy_(rest.div_(its_scales).round_())
        return cls(values, scales, x.index_select(1, columns.outliers).to(dtype))

    def rows(self, start: int, stop: int) -> Int8Input:
        """Some of its rows."""
        return Int8Input(self.values[start:stop], self.scales[start:stop], self.outliers[start:stop])


@dataclass(frozen=True, slots=True)
class Int8Weight:
    """A layer's weight.

    Args:
        values: In eight bits, out x in, 0 in the columns of outliers.
        scales: Of each row, out.
        outliers: O x out, as they were.
    """

    values: Tensor
    scales: Tensor
    outliers: Tensor

    @classmethod
    def of(cls, weight: Tensor, columns: Columns, dtype: torch.dtype) -> Int8Weight:
        """A weight, out x in; its outliers in a type to multiply in."""
        rest = weight.float() * columns.others
        scales = rest.abs().amax(1).clamp_min_(1e-12).div_(127)
        outliers = weight.index_select(1, columns.outliers).T.to(dtype).contiguous()
        return cls(rest.div_(scales[:, None]).round_().to(torch.int8), scales, outliers)

    def multiply(self, x: Int8Input, out: Tensor) -> Tensor:
        """The input times the transposed weight, N x out, which it writes to ``out``."""
        parts = (x.values.split(_ROWS), x.scales.split(_ROWS), x.outliers.split(_ROWS), out.split(_ROWS))
        for values, scales, outliers, its_out in zip(*parts, strict=True):
            product = torch._int_mm(values, self.values.T).float().mul_(scales).mul_(self.scales)
            torch.add(product, torch.mm(outliers, self.outliers), out=its_out)
        return out
