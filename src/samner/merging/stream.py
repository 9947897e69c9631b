"""Merged task vectors one at a time: what gives them, and files that take them as they come.

A file of task vectors is exact, and small where they are sparse. A module has either ``<module>.mask``, a bit for
every position that says whether it is not zero (row by row, the first position in the highest bit, filled up to four
bytes), and ``<module>.values``, those that are not; or ``<module>.dense``, where that is smaller. The shapes are in
the header.

The safetensors package writes only what is in memory as a whole. The format is eight bytes that say how long the
header is, the header (JSON, may end in blanks), and the data. So room is left for the longest header that the tensors'
names allow, the data follow as they come, and the header is written last: what is interrupted cannot be read.
"""

from __future__ import annotations

import json
import math
import os
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from samner.backbones.base import LazyDeltas, shapes_of
from samner.errors import ModelError, SamnerError
from samner.files import atomic_file, naming
from samner.lora import LoraFactors, check_header

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}
"""The types that are written here, by their names in a header."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_NUMBER = 20  # digits of the longest number
_ENTRY = len('"":{"dtype":"BF16","shape":[,],"data_offsets":[,]},') + 4 * _NUMBER

Add: TypeAlias = Callable[[str, Tensor], None]
"""Writes a tensor of at most two dimensions under its name."""

_FORMAT = "samner-delta-1"
_PARTS = {"mask": np.uint8, "values": np.float32, "dense": np.float32}
_ALIGNMENT = 4  # bytes of a mask come in multiples of this, so that the values after it lie where float32 may


class Deltas(Protocol):
    """Merged task vectors of a model, by module."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, int]]:
        """Shape (out, in) of each module, in the order of their names."""

    @property
    def low_rank(self) -> bool:
        """Whether they have low rank, so that ``factors`` gives them."""

    def dense(self, modules: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """(module, ``dW``) of some modules, in the order given, or of all; float32 on the CPU, one at a time."""

    def factors(self, module: str) -> LoraFactors:
        """The task vector of a module as factors, exactly; only if ``low_rank``."""


class Entry(NamedTuple):
    """A tensor in a file: from byte ``start`` up to ``stop``."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


class Header(NamedTuple):
    """What a file says of itself; the entries are in the order of their places."""

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """The header of a safetensors file.

    Raises:
        ModelError: If the file is missing, truncated or damaged as far as that shows in its header and length.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        with path.open("rb") as file:
            check_header(file.read(8), path.stat().st_size)
        with safe_open(path, framework="pt"):  # checks that header and length agree, that no two tensors overlap, ...
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ModelError(f"{path}: not a complete safetensors file ({reason})") from error
    metadata = header.pop("__metadata__", {})
    entries = {
        name: Entry(entry["dtype"], tuple(entry["shape"]), *(8 + length + offset for offset in entry["data_offsets"]))
        for name, entry in header.items()
    }
    return Header(dict(sorted(entries.items(), key=lambda item: item[1].start)), metadata)


@contextmanager
def writing(path: Path, names: Collection[str], metadata: Mapping[str, str]) -> Iterator[Add]:
    """Write a safetensors file tensor by tensor; it is complete when the ``with`` statement ends without an error.

    Args:
        path: The file.
        names: All that may be added.
        metadata: Goes into the header.

    Raises:
        OSError: If it cannot be written; names the file.
    """
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    room = len(_json(header)) + sum(len(_json(name)) + _ENTRY for name in names)
    room += -room % 8  # the data begin at a multiple of eight bytes
    with naming(path), path.open("wb") as file:
        file.seek(8 + room)
        end = 0

        def add(name: str, tensor: Tensor) -> None:
            nonlocal end
            size = tensor.numel() * tensor.itemsize
            header[name] = {
                "dtype": _NAMES[tensor.dtype],
                "shape": list(tensor.shape),
                "data_offsets": [end, end + size],
            }
            end += size
            with naming(path):
                file.write(raw(tensor))

        yield add
        file.seek(0)
        file.write(room.to_bytes(8, "little") + _json(header).ljust(room))


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is NaN or infinite; many times as fast as ``isfinite().all()``."""
    return all(math.isfinite(bound) for bound in tensor.aminmax())


def check_finite(module: str, dense: Tensor) -> None:
    """Refuse a task vector that is not all numbers.

    Raises:
        SamnerError: If it holds NaN or infinite values.
    """
    if not is_finite(dense):
        raise SamnerError(f"the task vector of {module} holds NaN or infinite values")


def raw(tensor: Tensor) -> memoryview:
    """The bytes of a tensor, not copied if it is contiguous."""
    if not tensor.numel():  # of which there may be no view
        return memoryview(b"")
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class _FullRank:
    """What is not known to have low rank."""

    @property
    def low_rank(self) -> bool:
        return False

    def factors(self, module: str) -> LoraFactors:
        raise TypeError(f"the task vector of {module} has no factors")


class TensorDeltas(_FullRank):
    """Task vectors that are in memory, or made one at a time, as ``Deltas``.

    Args:
        matrices: Module to dense ``dW``.
    """

    def __init__(self, matrices: Mapping[str, Tensor]) -> None:
        self._matrices = matrices
        self.shapes: Mapping[str, tuple[int, int]] = {m: _shape(s) for m, s in sorted(shapes_of(matrices).items())}

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
            for part, array in _pack(dense).items():
                add(f"{module}.{part}", torch.from_numpy(array))
            del dense  # before the next one is made


class PackedDeltas(LazyDeltas):
    """Task vectors in memory as ``write_delta`` writes them: what a copy of others is, as of ``pickle``.

    Args:
        parts: Of each module, as they are in the file.
        shapes: Of each module.
    """

    def __init__(self, parts: Mapping[str, Mapping[str, NDArray[Any]]], shapes: Mapping[str, tuple[int, int]]) -> None:
        self._parts = parts
        self.shapes = shapes

    @classmethod
    def reduced(cls, deltas: LazyDeltas) -> tuple[Any, ...]:
        """What ``__reduce__`` of others gives, each task vector packed before the next one is made."""
        return cls, ({module: _pack(delta) for module, delta in deltas.items()}, dict(deltas.shapes))

    def __getitem__(self, module: str) -> Tensor:
        dense = _unpack(self._parts[module], self.shapes[module])
        assert dense is not None
        return dense


class DeltaFile(_FullRank, LazyDeltas):
    """Task vectors that ``write_delta`` wrote, as ``Deltas``: a module is read when it is asked for.

    The file stays open, so that it may be removed, or another take its name. Flipped bits among the values cannot be
    noticed here; whoever keeps such a file keeps its checksum. A copy, as of ``pickle``, has all in memory.
    """

    def __init__(self, file: Path, shapes: Mapping[str, tuple[int, int]], entries: Mapping[str, Entry]) -> None:
        self._file = file
        self.shapes = shapes
        self._entries = entries
        self._read = _reader(file)

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
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ModelError(f"{file}: damaged, it does not say the shapes of its modules") from error
        stored = {name: (entry.dtype, entry.shape) for name, entry in header.entries.items()}
        for module, shape in shapes.items():
            mask, values = stored.pop(f"{module}.mask", None), stored.pop(f"{module}.values", ("", ()))
            sparse = mask == ("U8", (_mask_size(math.prod(shape)),)) and values[0] == "F32" and len(values[1]) == 1
            if not sparse and stored.pop(f"{module}.dense", None) != ("F32", shape):
                raise ModelError(f"{file}: damaged, module {module} is not stored as it should be")
        if stored:
            raise ModelError(f"{file}: damaged, {min(stored)} belongs to no module")
        return cls(file, shapes, header.entries)

    def __getitem__(self, module: str) -> Tensor:
        """The task vector of a module.

        Raises:
            ModelError: If values are missing or are no numbers, or the file was written over.
        """
        shape = self.shapes[module]
        parts = {}
        for part, dtype in _PARTS.items():
            if entry := self._entries.get(f"{module}.{part}"):
                parts[part] = np.frombuffer(self._read(entry.start, entry.stop), dtype)
        dense = _unpack(parts, shape)
        if dense is None or not is_finite(dense):
            raise ModelError(f"{self._file}: damaged, the values of module {module} are not as they should be")
        return dense

    def dense(self, modules: Iterable[str] | None = None) -> Iterator[tuple[str, Tensor]]:
        """(module, ``dW``) of some modules, in the order given, or of all.

        Raises:
            ModelError: If values are missing or are no numbers, or the file was written over.
        """
        for module in self.shapes if modules is None else modules:
            yield module, self[module]

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedDeltas.reduced(self)


def _reader(file: Path) -> Callable[[int, int], bytearray]:
    """What gives the bytes of a file from one place up to another, also once it was removed; for several threads."""
    if not hasattr(os, "pread"):  # on Windows, where a file that is open could not be removed
        content = file.read_bytes()
        return lambda start, stop: bytearray(content[start:stop])

    def state() -> tuple[int, int]:
        status = os.fstat(descriptor)
        return status.st_size, status.st_mtime_ns

    def read(start: int, stop: int) -> bytearray:
        content = bytearray()
        try:
            while state() == opened and len(content) < stop - start:  # the system may give less than was asked for
                content += os.pread(descriptor, stop - start - len(content), start + len(content))
        except OSError as error:
            raise ModelError(f"{file}: can no longer be read ({error.strerror})") from error
        if len(content) < stop - start:
            raise ModelError(f"{file}: can no longer be read (it was written over since it was opened)")
        return content

    descriptor = os.open(file, os.O_RDONLY)
    weakref.finalize(read, os.close, descriptor)
    opened = state()
    return read


def _pack(dense: Tensor) -> dict[str, NDArray[Any]]:
    """A task vector in the parts that the file has of it; of negative zeros it makes zeros."""
    array = dense.numpy()
    bits = array.ravel() != 0
    if _mask_size(array.size) + 4 * np.count_nonzero(bits) >= 4 * array.size:
        return {"dense": array + 0}
    mask = np.packbits(bits)
    mask.resize(_mask_size(array.size))
    return {"mask": mask, "values": array.ravel()[bits]}


def _unpack(parts: Mapping[str, NDArray[Any]], shape: tuple[int, int]) -> Tensor | None:
    """The task vector, float32, if there are as many values as the mask says."""
    if "dense" in parts:
        return torch.from_numpy(parts["dense"]).view(shape)
    size = math.prod(shape)
    bits = np.unpackbits(parts["mask"]).view(bool)
    if np.count_nonzero(bits) != len(parts["values"]) or bits[size:].any():
        return None
    dense = np.zeros(size, np.float32)
    dense[bits[:size]] = parts["values"]
    return torch.from_numpy(dense).view(shape)


def _mask_size(positions: int) -> int:
    """Bytes of a mask."""
    return math.ceil(positions / (8 * _ALIGNMENT)) * _ALIGNMENT


def _shape(shape: Iterable[Any]) -> tuple[int, int]:
    rows, columns = shape
    if not (isinstance(rows, int) and isinstance(columns, int) and rows > 0 and columns > 0):
        raise ValueError(f"{rows} x {columns} is not the shape of a matrix")
    return rows, columns
