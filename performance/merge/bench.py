"""What the parts share: where files go, at which size to measure, and adapters made once."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from performance.merge.measure import ROOT, Result, run
from performance.merge.shapes import LLAMA_1B, LLAMA_8B, LLAMA_70B, SMALL, Shape
from samner.errors import SamnerError

MERGEKIT = ROOT / "performance" / ".venv-mergekit" / "bin" / "python"


@dataclass
class Bench:
    """A run of the benchmark.

    Args:
        folder: Temporary; holds what the cases read and write.
        quick: Small widths and few layers, to try everything.
        full: Also what takes hours.
    """

    folder: Path
    quick: bool
    full: bool
    failures: list[str] = field(default_factory=list)
    _made: dict[str, list[str]] = field(default_factory=dict)

    @property
    def largest(self) -> Shape:
        return SMALL if self.quick else LLAMA_70B

    @property
    def large(self) -> Shape:
        return SMALL if self.quick else LLAMA_8B

    @property
    def medium(self) -> Shape:
        return SMALL if self.quick else LLAMA_1B

    def run(self, case: str, **params: object) -> Result:
        """Run a case; a failure is noted, and the rest goes on."""
        python = {"python": MERGEKIT} if case.startswith("mergekit") else {}
        result = run(case, **python, **params)
        if result.failure:
            self.failures.append(f"{case}: {result.failure}")
        return result

    def adapters(self, shape: Shape, layers: int, experts: int = 3, rank: int = 16, only: str = "") -> list[str]:
        """Paths of generated adapters."""
        name = f"adapters-{shape.hidden}-{layers}-{experts}-{rank}-{only}"
        if name not in self._made:
            params = {"layers": layers, "experts": experts, "rank": rank, "only": only}
            result = run("ours.adapters", folder=str(self.folder / name), shape=shape.widths, **params)
            if result.failure:
                raise SamnerError(f"the adapters cannot be made: {result.failure}")
            self._made[name] = result.answer["paths"]
        return self._made[name]

    def path(self, name: str) -> str:
        """Where a case may write; what another one left there is gone."""
        path = self.folder / name
        with suppress(FileNotFoundError):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return str(path)
