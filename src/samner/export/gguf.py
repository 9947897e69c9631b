"""llama.cpp's converters, run on what was exported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samner.errors import SamnerError
from samner.export.adapter import AdapterTarget
from samner.export.fused import FusedTarget
from samner.export.target import Request, Target, code
from samner.merging.stream import Deltas
from samner.merging.task_vectors import Progress

ADAPTER_CONVERTER = "convert_lora_to_gguf.py"
MODEL_CONVERTER = "convert_hf_to_gguf.py"
_MAGIC = b"GGUF"


def find_converter(name: str) -> list[str]:
    """The command that runs a converter: of the folder in ``LLAMA_CPP``, or on ``PATH``.

    Raises:
        SamnerError: If there is none; says how to get it.
    """
    if folder := os.environ.get("LLAMA_CPP"):
        script = Path(folder) / name
        if not script.is_file():
            raise SamnerError(f"{script}: no such file; LLAMA_CPP must name a folder of llama.cpp's source")
        return [sys.executable, str(script)]  # finds its gguf package beside itself, the others are samner's own
    if found := shutil.which(name):
        return [found]
    raise SamnerError(
        f"llama.cpp's {name} is not found: git clone https://github.com/ggml-org/llama.cpp and set LLAMA_CPP to that "
        "folder"
    )


@dataclass(frozen=True)
class GgufTarget(Target):
    """A file of llama.cpp for each part: an adapter if rank, error or type of one are given, else a whole model.

    Args:
        before: What is converted.
        base: Folder or hub id of the base model, of whose adapters only the configuration is read.
    """

    before: AdapterTarget | FusedTarget
    base: str

    @classmethod
    def refuse(cls, request: Request) -> None:
        if not request.causal:
            raise SamnerError(
                "llama.cpp runs language models that answer in text only; export this one to peft or fused"
            )
        (AdapterTarget if request.of_adapters else FusedTarget).refuse(request)
        find_converter(ADAPTER_CONVERTER if request.of_adapters else MODEL_CONVERTER)

    @classmethod
    def of(cls, request: Request) -> GgufTarget:
        assert request.named
        before = AdapterTarget.of(request) if request.of_adapters else FusedTarget.of(request)
        return cls(before, request.named)

    def check(self, low_rank: bool) -> None:
        self.before.check(low_rank)

    def write(self, deltas: Deltas, place: Path, progress: Progress) -> dict[str, Any]:
        with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as name:
            report = self.before.write(deltas, Path(name), progress)
            progress(f"converting {place.name} to GGUF", 0, 1)
            if isinstance(self.before, AdapterTarget):
                option = "--base" if Path(self.base).is_dir() else "--base-model-id"
                command = [*find_converter(ADAPTER_CONVERTER), name, option, self.base]
            else:
                command = [*find_converter(MODEL_CONVERTER), name]
            _run(command, place.with_name(f"{place.name}.gguf"))
        return report

    def usage(self, parts: Mapping[str, str], reports: Mapping[str, Mapping[str, Any]]) -> str:
        if isinstance(self.before, FusedTarget):
            return code("\n".join(f"llama-server -m {part}.gguf --alias {part}" for part in parts))
        options = " ".join(f"--lora {part}.gguf" for part in parts)
        remote = "" if Path(self.base).is_dir() else "--remote "
        lines = (
            f"python {MODEL_CONVERTER} {remote}{self.base} --outfile base.gguf",
            f"llama-server -m base.gguf --lora-init-without-apply {options}",
        )
        return (
            "The base model is converted once, by llama.cpp's own program, and served with the adapters:\n\n"
            + code("\n".join(lines))
            + "\n\n`samner extract --device http://127.0.0.1:8080/v1` asks each by its name, the file's. Others name "
            'the part that is to answer by its number: `"lora": [{"id": 0, "scale": 1.0}]`.'
        )


def _run(command: list[str], file: Path) -> None:
    name = next(Path(part).name for part in command if part.endswith(".py"))
    try:
        process = subprocess.run(
            [*command, "--outfile", str(file)], capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        raise SamnerError(f"{command[0]}: cannot be run ({error.strerror})") from error
    if process.returncode:
        last = next((line for line in reversed(process.stderr.splitlines()) if line.strip()), "it says nothing")
        lacks = "; it needs what llama.cpp's requirements.txt lists" if "ModuleNotFoundError" in last else ""
        raise SamnerError(f"llama.cpp's {name} failed: {last.strip()}{lacks}")
    if not file.is_file() or file.open("rb").read(len(_MAGIC)) != _MAGIC:
        raise SamnerError(f"llama.cpp's {name} wrote no GGUF file")
