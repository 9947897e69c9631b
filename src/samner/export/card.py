"""The parts that the model cards (``README.md``) of exports are put together from, as Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from samner.files import read_json

CARD = "README.md"
_WORST = 5
_ROUNDING = 1e-6


def write_card(folder: Path, title: str, sections: Iterable[str], *, base: str | None, library: str | None) -> None:
    """Write a card.

    Args:
        folder: Where.
        title: The heading.
        sections: What comes below it; empty ones are left out.
        base: Name of the base model, for a hub's search.
        library: The same of the library that loads it.
    """
    # a local folder says nothing to others
    named = base if base and not Path(base).is_absolute() else None
    entries = {"base_model": named, "library_name": library}
    header = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in entries.items() if value]
    front = "\n".join(["---", *header, "tags: [samner, merge, token-classification]", "---"])
    text = "\n\n".join([front, f"# {title}", *filter(None, sections)])
    (folder / CARD).write_text(text + "\n", encoding="utf-8")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(_cell(value) for value in line)} |" for line in lines)


def code(text: str, language: str = "sh") -> str:
    """A block of code."""
    return f"```{language}\n{text}\n```"


def settings(method: str, parameters: Mapping[str, Any]) -> str:
    """A merge method and its parameters in a line."""
    return ", ".join([method, *(f"{name} {value}" for name, value in parameters.items())])


def errors(report: Mapping[str, Any], of: str = "") -> str:
    """What an adapter lost, from the report of ``write_adapter``."""
    heading = f"## What the rank costs{of}\n\n"
    if is_exact(report):
        return f"{heading}Nothing: the task vectors have rank {report['rank']}, and so has the adapter."
    rows = [(name, error["relative_error"], error["energy"]) for name, error in worst(report)]
    return (
        f"{heading}An adapter of rank {report['rank']} stands for task vectors that need a higher one. Over all "
        f"modules its relative error (Frobenius norm of what is missing, over that of the task vectors) is "
        f"{report['relative_error']:.3g}; it retains {report['energy']:.1%} of their energy (squared norm). The "
        f"modules with the largest error:\n\n{table(('module', 'relative error', 'energy retained'), rows)}"
    )


def is_exact(report: Mapping[str, Any]) -> bool:
    """Whether an adapter lost nothing but what float32 rounds off."""
    return bool(report["relative_error"] < _ROUNDING)


def worst(report: Mapping[str, Any]) -> list[tuple[str, Mapping[str, float]]]:
    """The modules of an adapter's report that lost most, the worst first."""
    modules: Mapping[str, Mapping[str, float]] = report["modules"]
    return sorted(modules.items(), key=lambda item: -item[1]["relative_error"])[:_WORST]


def licences(data: Iterable[tuple[str, str, str]]) -> str:
    """The data that went in: (what was trained on it, data set, its licence)."""
    rows = list(data)
    if not rows:
        return "## Data\n\nNothing is stated about the data that went in, nor about its licences."
    return (
        "## Data\n\nLicences as the sources state them; where none is stated, third parties may hold rights in the "
        f"texts.\n\n{table(('part', 'data set', 'licence'), rows)}"
    )


def base_data(folder: Path) -> Iterator[tuple[str, str, str]]:
    """What the base was taught, as far as its ``base.json`` tells."""
    path = folder / "base.json"
    data = read_json(path).get("data") if path.is_file() else None
    for source in data if isinstance(data, list) else []:
        if isinstance(source, dict):
            yield "base", str(source.get("name", "not named")), str(source.get("licence", "not stated"))


def _cell(value: object) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    return " ".join(text.replace("|", "\\|").split())
