"""The command line in this process, and a model that it saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from tests import command_line

LABELS = "drug,disease,person,team"
TEXTS = [
    "Aspirin relieves headache within hours.",
    "Rovers lost to Harbour City.",
    "Café ☕: Ada Moreno scored twice for Rovers on Sunday.",
    "",
    "Nothing here.",
]

Samner = Callable[..., Result]


@pytest.fixture(scope="session")
def samner() -> Samner:
    """Runs ``samner`` with some arguments."""
    return command_line.samner


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A JSON Lines file of unlabelled texts that the tiny pool knows something of."""
    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in TEXTS), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def saved_model(tiny_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a model adapted from the tiny pool; read only."""
    folder = tmp_path_factory.mktemp("adapted")
    (folder / "texts.txt").write_text("\n".join(text for text in TEXTS if text), encoding="utf-8")
    some = folder / "texts.txt", "--pool", tiny_pool, "--labels", LABELS, "--experts", 2
    result = command_line.samner("adapt", *some, "-o", folder / "model")
    assert result.exit_code == 0, result.stderr
    yield folder / "model"
