"""Merged task vectors in a file of their own: exact, and small where they are sparse.

A safetensors file. A module has either ``<module>.mask``, a bit for every position that says whether it is not zero
(row by row, the first position in the highest bit, filled up to four bytes), and ``<module>.values``, those that are
not; or ``<module>.dense``, where that is smaller. The shapes are in the header.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from samner.errors import ModelError
from samner.files import atomic_file
from samner.lora import LoraFactors
from samner.merging.deltas import Deltas
from samner.merging.stream import Add, check_finite, is_finite, read_header, writing

_FORMAT = "samner-delta-1"
_ALIGNMENT = 4  # bytes of a mask come in multiples of this, so that the values after it lie where float32 may


class _FullRank:
    """What is not known to have low rank."""

    @property
    def low_rank(self) -> bool:
        return False

    def factors(self, module: str) -> LoraFactors:
        raise TypeError(f"the task vector of {module} has no factors")


class TensorDeltas(_FullRank):
    """Task vectors that are in memory, as ``Deltas``.

    Args:
        matrices: Module to dense ``dW``.
    """

    def __init__(self, matrices: Mapping[str, Tensor]) -> None:
        self._matrices = matrices
        self.shapes: Mapping[str, tuple[int, int]] = {m: _shape(matrices[m].shape) for m in sorted(matrices)}

    def dense(self, modules: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """(module, ``dW``) of some modules, in the order given, or of all."""
        for module in self.shapes if modules is None else modules:
            yield module, self._matrices[module].detach().to("cpu", torch.float32)


def write_delta(deltas: Deltas, file: Path) -> None:
    """Write task vectors so that ``DeltaFile`` gives them back bit for bit; only negative zeros become zeros.

    The memory needed is that of one task vector; the file appears when it is complete.

    Raises:
        SamnerError: If a task vector holds NaN or infinite values.
        OSError: If the disk is full.
    """
    names = [f"{module}.{part}" for module in deltas.shapes for part in ("mask", "values")]
    metadata = {"format": _FORMAT, "shapes": json.dumps(deltas.shapes)}
    with atomic_file(file) as temporary, writing(temporary, names, metadata) as add:
        for module, dense in deltas.dense():
            check_finite(module, dense)
            _add(add, module, dense)
            del dense  # before the next one is made


def _add(add: Add, module: str, dense: Tensor) -> None:
    array = dense.numpy().ravel()
    bits = array != 0
    if _mask_size(array.size) + 4 * np.count_nonzero(bits) >= 4 * array.size:
        add(f"{module}.dense", dense + 0)  # of negative zeros makes zeros
        return
    mask = np.packbits(bits)
    mask.resize(_mask_size(array.size))
    add(f"{module}.mask", torch.from_numpy(mask))
    add(f"{module}.values", torch.from_numpy(array[bits]))


class DeltaFile(_FullRank):
    """Task vectors that ``write_delta`` wrote, as ``Deltas``: a module is read when it is asked for.

    Flipped bits among the values cannot be noticed here; whoever keeps such a file keeps its checksum.
    """

    def __init__(self, file: Path, shapes: Mapping[str, tuple[int, int]]) -> None:
        self._file = file
        self.shapes = shapes

    @classmethod
    def open(cls, file: Path) -> DeltaFile:
        """Read what a file holds, but for the values.

        Raises:
            ModelError: If it is missing, truncated or damaged, or not such a file.
        """
        header = read_header(file)
        if header.metadata.get("format") != _FORMAT:
            raise ModelError(f"{file}: is not a file of task vectors")
        try:
            shapes = {str(m): _shape(shape) for m, shape in json.loads(header.metadata["shapes"]).items()}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{file}: damaged, it does not say the shapes of its modules") from error
        stored = {name: (entry.dtype, entry.shape) for name, entry in header.entries.items()}
        for module, shape in shapes.items():
            mask, values = stored.pop(f"{module}.mask", None), stored.pop(f"{module}.values", ("", ()))
            sparse = mask == ("U8", (_mask_size(math.prod(shape)),)) and values[0] == "F32" and len(values[1]) == 1
            if not sparse and stored.pop(f"{module}.dense", None) != ("F32", shape):
                raise ModelError(f"{file}: damaged, module {module} is not stored as it should be")
        if stored:
            raise ModelError(f"{file}: damaged, {min(stored)} belongs to no module")
        return cls(file, shapes)

    def dense(self, modules: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """(module, ``dW``) of some modules, in the order given, or of all.

        Raises:
            ModelError: If values are missing or are no numbers.
        """
        for module in self.shapes if modules is None else modules:
            dense = self._read(module)
            if dense is None or not is_finite(dense):
                raise ModelError(f"{self._file}: damaged, the values of module {module} are not as they should be")
            yield module, dense

    def _read(self, module: str) -> Tensor | None:
        """The dense matrix of a module, if there are as many values as the mask says."""
        try:
            with safe_open(self._file, framework="np") as file:
                if f"{module}.dense" in file.keys():  # noqa: SIM118 - not a dict
                    return torch.from_numpy(file.get_tensor(f"{module}.dense"))
                mask, values = (file.get_tensor(f"{module}.{part}") for part in ("mask", "values"))
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{self._file}: can no longer be read ({error})") from error
        size = math.prod(self.shapes[module])
        bits = np.unpackbits(mask).view(bool)
        if np.count_nonzero(bits) != len(values) or bits[size:].any():
            return None
        dense = np.zeros(size, np.float32)
        dense[bits[:size]] = values
        return torch.from_numpy(dense).view(self.shapes[module])


def _mask_size(positions: int) -> int:
    """Bytes of a mask."""
    return math.ceil(positions / (8 * _ALIGNMENT)) * _ALIGNMENT


def _shape(shape: Iterable[Any]) -> tuple[int, int]:
    rows, columns = shape
    if not (isinstance(rows, int) and isinstance(columns, int) and rows > 0 and columns > 0):
        raise ValueError(f"{rows} x {columns} is not the shape of a matrix")
    return rows, columns
