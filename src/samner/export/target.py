"""What a form of export is, and the plainest: the task vectors as they are. An entry in ``folders`` makes it known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from samner.backbones import Backbone
from samner.entities import EntityType
from samner.errors import SamnerError
from samner.merging.stream import Deltas, write_delta
from samner.merging.task_vectors import Progress


@dataclass(frozen=True)
class Request:
    """What is asked for, and what is known of the base model.

    Args:
        rank: Of adapters.
        max_error: Instead of a rank, the relative error that they may have.
        dtype: In which their factors are stored: float32, float16 or bfloat16.
        base: Folder of the base model, as the user gives it.
        named: The base model's name or folder, as the adapters or the task model name it.
        causal: Whether that is a causal language model, which others can run.
        graphs: Whether its family writes ONNX graphs.
        backbone: The base model itself, where it is loaded.
        fingerprint: Of the base model, where it is known.
        parts: Of a task model: each part's name, to that which the base model has it under.
        types: Of a task model: what it was adapted for.
        int8: Whether weights are to be stored in eight bits.
    """

    rank: int | None = None
    max_error: float | None = None
    dtype: str | None = None
    base: Path | None = None
    named: str | None = None
    causal: bool = False
    graphs: bool = False
    backbone: Backbone | None = None
    fingerprint: str | None = None
    parts: Mapping[str, str] = field(default_factory=dict)
    types: tuple[EntityType, ...] = ()
    int8: bool = False

    @property
    def of_adapters(self) -> bool:
        """Whether anything is asked that only adapters have."""
        return (self.rank, self.max_error, self.dtype) != (None, None, None)

    def no_adapter(self) -> None:
        """Refuse what only adapters have."""
        if self.of_adapters:
            raise SamnerError("--rank, --max-error and --dtype are of adapters; what is asked for is exact")


class Target(ABC):
    """A form of export: what is written of merged task vectors, and what its card says on how to use it.

    Attributes:
        library: That loads it, as a model hub calls it.
    """

    library: ClassVar[str | None] = None

    @classmethod  # noqa: B027 - most can be had of any
    def refuse(cls, request: Request) -> None:
        """Refuse what cannot be had of a task model, as far as that is known before its base is loaded.

        Raises:
            SamnerError: If so.
        """

    @classmethod
    @abstractmethod
    def of(cls, request: Request) -> Target:
        """The target that was asked for; everything else that can be wrong is found here, before the work.

        Raises:
            SamnerError: If it cannot be had like that.
        """

    def check(self, low_rank: bool) -> None:  # noqa: B027 - most have nothing to check
        """Refuse task vectors that could not be written, which may have low rank."""

    @abstractmethod
    def write(self, deltas: Deltas, place: Path, progress: Progress) -> dict[str, Any]:
        """Write task vectors to a folder, made if missing; returns what is to be said about it, as JSON values."""

    def finish(self, folder: Path, reports: Mapping[str, Mapping[str, Any]]) -> None:  # noqa: B027
        """Write what belongs to all parts, when they are written to subfolders by their names."""

    @abstractmethod
    def usage(self, parts: Mapping[str, str], reports: Mapping[str, Mapping[str, Any]]) -> str:
        """How to use what was written, as Markdown.

        Args:
            parts: Name to folder, seen from the card; ``"."`` is the card's own.
            reports: Name to what ``write`` returned.
        """


def code(text: str, language: str = "sh") -> str:
    """A block of code in Markdown."""
    return f"```{language}\n{text}\n```"


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
