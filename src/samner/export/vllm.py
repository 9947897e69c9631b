"""Adapters with the exact command by which vLLM serves them over one base."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samner.errors import SamnerError
from samner.export.adapter import RANKS, AdapterTarget
from samner.export.target import Request, code

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


@dataclass(frozen=True)
class VllmTarget(AdapterTarget):
    """PEFT adapters of a language model, and the script that serves them, wherever their folder is moved."""

    @classmethod
    def refuse(cls, request: Request) -> None:
        if not request.causal:
            raise SamnerError("vLLM runs language models that answer in text only; export this one to peft or fused")
        super().refuse(request)
        if request.rank:
            vllm_rank(request.rank)

    def finish(self, folder: Path, reports: Mapping[str, Mapping[str, Any]]) -> None:
        text = (
            "#!/bin/sh\n"
            "# Serves the adapters beside this file over one copy of the base model, by an OpenAI-compatible API. "
            'Which\n# adapter answers is the "model" of a request. More options of vLLM can be given: sh serve.sh '
            f'--port 8001\ncd "$(dirname "$0")" && exec {self._command(reports)} "$@"\n'
        )
        (folder / SCRIPT).write_text(text, encoding="utf-8")

    def usage(self, parts: Mapping[str, str], reports: Mapping[str, Mapping[str, Any]]) -> str:
        return (
            f"`sh {SCRIPT}`, or from within this folder:\n\n{code(self._command(reports))}\n\n"
            f'A request names the part that is to answer: `"model": {json.dumps(next(iter(parts)))}`.'
        )

    def _command(self, reports: Mapping[str, Mapping[str, Any]]) -> str:
        return vllm_command(
            self.base or "BASE", {name: name for name in reports}, max(r["rank"] for r in reports.values())
        )
