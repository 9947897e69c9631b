"""``samner export``: a saved model in the forms that other programs load."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from samner.cli import options
from samner.cli.merge import show_report
from samner.cli.options import check_output_folder
from samner.cli.output import console, say, status, write_json
from samner.cli.runtime import start
from samner.progress import Progress


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="The folder that 'samner adapt' wrote.")],
    out: options.OutFolder,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="KIND",
            help="peft: LoRA adapters; fused: base models, exact; vllm: LoRA adapters and the command that serves "
            "them; gguf: files for llama.cpp, adapters if --rank or --max-error is given and else whole models; onnx: "
            "a graph that 'samner extract --model' and samner.runtime ask without torch, of models of the encoder "
            "family. vllm and gguf are for language models.",
            show_default=False,
        ),
    ],
    rank: options.Rank = None,
    max_error: options.MaxError = None,
    dtype: options.DType = None,
    base: Annotated[
        Path | None,
        typer.Option(
            "--base",
            metavar="MODEL",
            help="The base language model, a folder or GGUF file, where it is not in a folder under its own name.",
        ),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="With --to onnx: the weights of the models in eight bits.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Export a model that 'samner adapt' saved, for other programs.

    A model has a part for each selection (similarity, sampling), or one where both chose the same experts. Next to
    them lie a manifest, export.json, and a model card.

    Example: samner export my-domain --to peft --rank 64 -o adapters
    """
    check_output_folder(out)
    start("cpu")
    from samner.export import check_task_model, export_task_model
    from samner.task_model import TaskModel

    check_task_model(model, to, rank=rank, max_error=max_error, dtype=dtype, base=base, int8=int8)
    with status("loading the model"):
        loaded = TaskModel.load(model)
    with Progress() as show:
        manifest = export_task_model(
            loaded, out, to, rank=rank, max_error=max_error, dtype=dtype, base=base, int8=int8, progress=show
        )
    if json:
        write_json({"out": str(out), **manifest})
    else:
        for part in manifest["parts"].values():
            show_report(part["report"], console(), f"{' and '.join(part['strategies'])}: ")
    say(
        f"wrote {shlex.quote(str(out))}" + (f"; next: sh {shlex.quote(str(out / 'serve.sh'))}" if to == "vllm" else "")
    )
