"""Tables, and their places in docs/benchmarks.md."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from samner.benchmark.report.document import check_part, write_part


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns padded so that it can be read as text too."""
    cells = [list(header), *map(list, rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def seconds(value: float) -> str:
    """Three digits, at least; a dash for what was not measured."""
    return "-" if value != value else f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def megabytes(value: int) -> str:
    return f"{value / 1e6:,.0f}" if value else "-"


def machine() -> str:
    """What this ran on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    packages = ("torch", "numpy", "peft", "transformers")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    return (
        f"{date.today()}, {processor()}, {os.cpu_count()} cores, {memory:.0f} GB; "
        f"{platform.system()}, Python {platform.python_version()}, {versions}."
    )


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def check(path: Path, part: str) -> None:
    """Make sure that a part has its place, before anything is measured; see ``check_part``."""
    check_part(path, _maker(part))


def write(path: Path, part: str, text: str) -> None:
    """Put a part between its markers; what people wrote around it stays."""
    write_part(path, _maker(part), text)
    print(f"{path}: wrote {part}", file=sys.stderr)


def _maker(part: str) -> str:
    return f"performance.merge {part}"
