"""The merged task vectors themselves, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samner.errors import SamnerError
from samner.export.target import Request, Target, code
from samner.merging.stream import Deltas, write_delta
from samner.merging.task_vectors import Progress

DELTA_FILE = "delta.safetensors"


@dataclass(frozen=True)
class DeltaTarget(Target):
    """A file of task vectors; see ``samner.merging.stream``."""

    @classmethod
    def of(cls, request: Request) -> DeltaTarget:
        request.no_adapter()
        if request.base:
            raise SamnerError("--base is for --to fused")
        return cls()

    def write(self, deltas: Deltas, place: Path, progress: Progress) -> dict[str, Any]:
        place.mkdir(exist_ok=True)
        write_delta(deltas, place / DELTA_FILE)
        return {"modules": len(deltas.shapes), "bytes": (place / DELTA_FILE).stat().st_size}

    def usage(self, parts: Mapping[str, str], reports: Mapping[str, Mapping[str, Any]]) -> str:
        return "The merged task vectors, exactly: what is to be added to the weights of the base model.\n\n" + code(
            "from pathlib import Path\n\n"
            "from samner.merging.stream import DeltaFile\n\n"
            f'for module, delta in DeltaFile.open(Path("{DELTA_FILE}")).dense():\n'
            "    model.get_submodule(module).weight.data += delta",
            "python",
        )
