from __future__ import annotations

import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")

from performance.serve import main


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_measures_one_caller_and_many(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--seconds", "4", "--clients", "4", "--no-write"])
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert [row[0] for row in rows] == ["callers", "1", "4"]
    assert [row[2] for row in rows[1:]] == ["0", "0"]
    assert "4 callers got" in lines[-1]
