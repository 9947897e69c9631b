"""llama.cpp's converters, run on what was exported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from samner.errors import SamnerError

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


def adapter_to_gguf(adapter: Path, base: str, file: Path) -> None:
    """Convert a PEFT adapter.

    Args:
        adapter: Its folder.
        base: Folder or hub id of the base model, of which only the configuration is read.
        file: To write.

    Raises:
        SamnerError: If there is no converter, or it fails.
    """
    option = "--base" if Path(base).is_dir() else "--base-model-id"
    _run([*find_converter(ADAPTER_CONVERTER), str(adapter), option, base], file)


def model_to_gguf(model: Path, file: Path) -> None:
    """Convert a transformers checkpoint.

    Raises:
        SamnerError: If there is no converter, or it fails.
    """
    _run([*find_converter(MODEL_CONVERTER), str(model)], file)


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
        raise SamnerError(f"llama.cpp's {name} failed: {last.strip()}")
    if not file.is_file() or not _is_gguf(file):
        raise SamnerError(f"llama.cpp's {name} wrote no GGUF file")


def _is_gguf(file: Path) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(_MAGIC)) == _MAGIC
