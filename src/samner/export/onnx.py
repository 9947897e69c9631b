"""ONNX graphs of all parts, and what ``samner.runtime`` needs beside them to answer without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from samner.errors import SamnerError
from samner.export.target import Request, Target, code
from samner.merging.stream import Deltas
from samner.merging.task_vectors import Progress
from samner.runtime import READER

_NEEDED = ("onnx", "onnxruntime", "onnxscript")


@dataclass(frozen=True)
class OnnxTarget(Target):
    """One graph of all parts, which share their embeddings.

    Args:
        request: What is asked for, of a task model.
    """

    request: Request

    @classmethod
    def refuse(cls, request: Request) -> None:
        request.no_adapter()
        if request.base:
            raise SamnerError(
                "--base is for models of a language model; --to onnx writes models of the encoder family"
            )
        if not request.graphs:
            raise SamnerError(
                "--to onnx is for models of the encoder family, such as one adapted with --pool builtin, which this "
                "one is not"
            )
        if missing := [name for name in _NEEDED if find_spec(name) is None]:
            raise SamnerError(f"--to onnx needs {missing[0]}: pip install 'samner[onnx]'")

    @classmethod
    def of(cls, request: Request) -> OnnxTarget:
        return cls(request)

    def write(self, deltas: Deltas, place: Path, progress: Progress) -> dict[str, Any]:
        return {
            "modules": len(deltas.shapes),
            "int8": self.request.int8,
        }  # the graph is of all parts, so finish writes it

    def finish(self, folder: Path, reports: Mapping[str, Mapping[str, Any]]) -> None:
        assert self.request.backbone is not None
        self.request.backbone.save_onnx(self.request.parts, self.request.types, folder, int8=self.request.int8)

    def usage(self, parts: Mapping[str, str], reports: Mapping[str, Mapping[str, Any]]) -> str:
        names = " and ".join(f"`{name}`" for name in parts)
        numbers = "in eight bits" if self.request.int8 else "exactly"
        return (
            f"`{READER}` is one graph that answers for {names}, {numbers}; samner asks it with onnxruntime, "
            "tokenizers and numpy, and needs neither torch nor transformers for that.\n\n"
            + code(
                "from samner.runtime import ExportedModel\n\n"
                f"model = ExportedModel.load({json.dumps('.')})\n"
                'print(model.predict_entities("Aspirin relieves headache."))',
                "python",
            )
        )
