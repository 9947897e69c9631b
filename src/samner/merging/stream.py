"""Safetensors files written one tensor at a time, and the places of the tensors in one that is there.

The safetensors package writes only what is in memory as a whole. The format is eight bytes that say how long the
header is, the header (JSON, may end in blanks), and the data. So room is left for the longest header that the tensors'
names allow, the data follow as they come, and the header is written last: what is interrupted cannot be read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from samner.errors import ModelError, SamnerError

DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "U8": torch.uint8}
"""The types that are written here, by their names in a header."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_NUMBER = 20  # digits of the longest number
_ENTRY = len('"":{"dtype":"BF16","shape":[,],"data_offsets":[,]},') + 4 * _NUMBER

Add: TypeAlias = Callable[[str, Tensor], None]
"""Writes a tensor of at most two dimensions under its name."""


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
        with safe_open(path, framework="pt"):  # checks that header and length agree, that no two tensors overlap, ...
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError) as error:
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


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let errors of a file that is written (a full disk, say) name it, which Python's own do not."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


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
