"""What the engine writes is what the report reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from samner.benchmark.report import write_report
from samner.benchmark.runner import run
from samner.files import read_json


@pytest.mark.slow
def test_a_report_of_a_benchmark_that_ran(configure: Callable[..., Path], tmp_path: Path) -> None:
    run(configure(tmp_path), tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    for heading in ("Goals", "Scores", "Paired comparisons", "Selection", "Number of experts", "Text encoder", "Cost"):
        assert f"<h2>{heading}</h2>" in page
    write_report(read_json(tmp_path / "out" / "results.json"), tmp_path / "again")
    assert (tmp_path / "again" / "report.html").read_text() == page
