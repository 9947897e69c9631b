from __future__ import annotations

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


def test_results_that_are_missing_are_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["goals", "no/results.json"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith("error: no/results.json: ")
