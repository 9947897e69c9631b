"""A verb's docstring as its help."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import typer


def add_command(app: typer.Typer, name: str, function: Callable[..., Any]) -> None:
    """Register a verb, its docstring's paragraphs unwrapped: as they stand, typer would keep their line breaks."""
    paragraphs = (inspect.getdoc(function) or "").split("\n\n")
    app.command(name, help="\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs))(function)
