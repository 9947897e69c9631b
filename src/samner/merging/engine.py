"""Where a merge computes, on how many threads, in which memory, and whom it tells how far it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from samner.errors import SamnerError

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with the name of a stage, how many values of it are done, and how many there are."""


class Engine:
    """Device, threads and working memory of a merge.

    Args:
        device: A torch device name.
        threads: How many, of torch; as it is set by default. ``close`` sets it back.
        progress: Called as work gets done.

    Raises:
        SamnerError: If the device cannot be used or ``threads`` is below 1.
    """

    def __init__(self, device: str = "cpu", threads: int | None = None, progress: Progress | None = None) -> None:
        try:
            self.device = torch.device(device)
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise SamnerError(f"cannot compute on the device {device!r} ({str(error).splitlines()[0]})") from error
        if threads is not None and threads < 1:
            raise SamnerError(f"threads must be at least 1, not {threads}")
        self.progress: Progress = progress or (lambda stage, done, total: None)
        self._threads = torch.get_num_threads()
        self._buffers: dict[str, Tensor] = {}
        torch.set_num_threads(threads or self._threads)

    def buffer(self, name: str, shape: Sequence[int]) -> Tensor:
        """Working memory of a shape, float32, which keeps what was last written to it under that name and shape.

        New memory for every step of every tile would take longer to get than the steps themselves.
        """
        size = math.prod(shape)
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = torch.empty(size, device=self.device)
        return self._buffers[name][:size].view(*shape)

    def close(self) -> None:
        """Give back the memory and set torch's threads to what they were."""
        self._buffers.clear()
        torch.set_num_threads(self._threads)
