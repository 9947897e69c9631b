"""Imports between files go one way; between rooms, import-linter sees to that (``make lint``)."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]


def test_no_circles_between_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "src"))
    graph = grimp.build_graph("samner", exclude_type_checking_imports=True, cache_dir=None)
    try:
        TopologicalSorter({m: graph.find_modules_directly_imported_by(m) for m in graph.modules}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
