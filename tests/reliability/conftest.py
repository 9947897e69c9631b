"""The campaign's table, and a pool so small that much can be done with it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.reliability.tiny import make_pool

_BEGIN, _END = "<!-- reliability: begin -->", "<!-- reliability: end -->"
_ROWS = pytest.StashKey[dict[str, "Tally"]]()


class Tally:
    """What was done how often, and each way in which it failed, with an example."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.count = 0
        self.failures: dict[str, tuple[int, str]] = {}

    def done(self, times: int = 1) -> None:
        self.count += times

    def failed(self, kind: str, example: object = "") -> None:
        """Note a failure; those of one kind are counted together."""
        times, first = self.failures.get(kind, (0, str(example)))
        self.failures[kind] = (times + 1, first)

    @property
    def result(self) -> str:
        if not self.count:
            return "not done"
        return "; ".join(f"{times} x {kind}" for kind, (times, _) in self.failures.items()) or "nothing"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-table", metavar="FILE", help="Put the campaign's table into this file, between its marks."
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_ROWS] = {}


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Tally]]:
    """``tally(what)`` opens a row of the table; what failed in it fails the test in the end."""
    mine: list[Tally] = []

    def opened(what: str) -> Tally:
        row = request.config.stash[_ROWS].setdefault(what, Tally(what))
        mine.append(row)
        return row

    yield opened
    told = [f"{row.what}: {n} x {kind}: {example}" for row in mine for kind, (n, example) in row.failures.items()]
    assert not told, "\n".join(told)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = {row.what: f"| {row.what} | {row.count:,} | {row.result} |" for row in config.stash[_ROWS].values()}
    if not rows:
        return
    place = config.getoption("--write-table", default=None)
    if place:
        rows = _written(Path(place), rows)
    terminalreporter.write_line(
        "\n".join(["", "| what was done | how often | what failed |", "|---|--:|---|", *rows.values()])
    )


def _written(path: Path, rows: dict[str, str]) -> dict[str, str]:
    """Put rows into a file's table, whose other rows stay; returns them all."""
    before, table, after = re.split(f"{_BEGIN}\n|{_END}", path.read_text(encoding="utf-8"))
    kept = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()[2:]}
    rows = kept | rows
    lines = ["| what was done | how often | what failed |", "|---|--:|---|", *rows.values()]
    text = before + _BEGIN + "\n" + "\n".join(lines) + "\n" + _END + after
    path.write_text(text, encoding="utf-8")
    return rows


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Processes are forked, which threads of torch would not survive."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def pool_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the small pool. Copy it to change it."""
    return make_pool(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def texts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.reliability.tiny import TEXTS

    path = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def model_folder(pool_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model adapted from the small pool."""
    from samner import ExpertPool, adapt
    from tests.reliability.tiny import LABELS, TEXTS

    folder = tmp_path_factory.mktemp("adapted") / "model"
    adapt(ExpertPool(pool_folder), TEXTS, LABELS, experts=2).save(folder)
    return folder


@pytest.fixture(scope="session")
def as_root() -> None:
    """For what only root may do."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount a small file system")
