from __future__ import annotations

from pathlib import Path

import pytest

from studies.goals import goals, main
from tests.benchmark.report.small import arm, small


def test_goals_are_judged_by_what_was_measured() -> None:
    fixed = [arm(f"union k={k}", f1, f1, group="k", x=k, mode="union") for k, f1 in ((1, 20), (2, 25))]
    auto = arm("union-auto-k", 24.5, 24.5, group="beyond", mode="union", experts="auto")
    found = list(goals(small(arm("unified", 20, 30), arm("union", 18.5, 40), arm("economy", 28, 29), *fixed, auto)))
    assert [met for met, _ in found] == [True, False, True, False, False]
    assert "below unified: a" in found[1][1]
    assert "best fixed k (2) 25.0" in found[3][1]
    assert list(goals(small(arm("base", 20, 30)))) == []


@pytest.mark.parametrize("content", [None, "no JSON", "[]", "{}"])
def test_results_that_are_none_are_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    file = tmp_path / "results.json"
    if content is not None:
        file.write_text(content)
    monkeypatch.setattr("sys.argv", ["goals", str(file)])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
