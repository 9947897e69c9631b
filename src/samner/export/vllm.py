"""The exact command by which vLLM serves adapters over one base."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from samner.errors import SamnerError
from samner.export.adapter import RANKS

SCRIPT = "serve.sh"


def vllm_rank(rank: int) -> int:
    """The least value of vLLM's ``--max-lora-rank`` that an adapter's rank fits.

    Raises:
        SamnerError: If vLLM serves no adapter of that rank.
    """
    if rank > RANKS[-1]:
        raise SamnerError(f"vLLM serves adapters up to rank {RANKS[-1]}, not {rank}: give a smaller --rank")
    return next(allowed for allowed in RANKS if allowed >= rank)


def vllm_command(base: str, adapters: Mapping[str, str], rank: int) -> str:
    """The command, as a line for a shell.

    Args:
        base: Folder or hub id of the base model.
        adapters: Name in requests to folder.
        rank: The largest of their ranks.
    """
    modules = [f"{name}={folder}" for name, folder in adapters.items()]
    options = ["--enable-lora", "--max-lora-rank", str(vllm_rank(rank)), "--max-loras", str(len(adapters))]
    return shlex.join(["vllm", "serve", base, *options, "--lora-modules", *modules])


def write_vllm_script(folder: Path, base: str, ranks: Mapping[str, int]) -> str:
    """Write the script that serves the adapters below a folder, wherever that is moved; returns the command in it.

    Args:
        folder: Holds a PEFT adapter under each name.
        base: Folder or hub id of the base model.
        ranks: Name to rank of each adapter.
    """
    command = vllm_command(resolved(base), {name: name for name in ranks}, max(ranks.values()))
    text = (
        "#!/bin/sh\n"
        "# Serves the adapters beside this file over one copy of the base model, by an OpenAI-compatible API. Which\n"
        '# adapter answers is the "model" of a request. More options of vLLM can be given: sh serve.sh --port 8001\n'
        f'cd "$(dirname "$0")" && exec {command} "$@"\n'
    )
    (folder / SCRIPT).write_text(text, encoding="utf-8")
    return command


def resolved(base: str) -> str:
    """A base model's reference that means the same in another folder: a path in full, a hub id as it is."""
    return str(Path(base).resolve()) if Path(base).is_dir() else base
