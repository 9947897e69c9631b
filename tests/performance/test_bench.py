from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from performance import bench


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    found = {"merging: one / other": 2.0}
    monkeypatch.setattr(bench, "child", lambda part: found if part == "merging" else {})
    return found


@pytest.fixture
def expected(tmp_path: Path, measured: dict[str, float]) -> Path:
    path = tmp_path / "expected.json"
    assert bench.main(["--write", "--expected", str(path)]) == 0
    return path


def test_what_was_written_is_as_expected(expected: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--expected", str(expected)]) == 0
    assert "as expected   merging: one / other: 2.00, expected 2.00, at most 2.70\n" in capsys.readouterr().out


def test_a_worse_ratio_fails(expected: Path, measured: dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    measured["merging: one / other"] = 2.8
    assert bench.main(["--expected", str(expected)]) == 1
    assert "WORSE         merging: one / other: 2.80" in capsys.readouterr().out


def test_new_and_missing_ratios_are_told_and_do_not_fail(
    expected: Path, measured: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    del measured["merging: one / other"]
    measured["merging: new / other"] = 9
    assert bench.main(["merging", "--expected", str(expected)]) == 0
    said = capsys.readouterr().out
    assert "new           merging: new / other: 9.00" in said
    assert "not measured  merging: one / other" in said


def test_one_part_is_written_into_the_rest(expected: Path, measured: dict[str, float]) -> None:
    del measured["merging: one / other"]
    measured["merging: new / other"] = 9
    bench.main(["merging", "--write", "--expected", str(expected)])
    assert json.loads(expected.read_text())["ratios"] == {"merging: one / other": 2.0, "merging: new / other": 9}


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "expected.json"
    path.write_text('{"ratios": []}')
    with pytest.raises(SystemExit, match=r"expected\.json: cannot be read"):
        bench.main(["--expected", str(path)])


def test_an_unknown_part_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["no-such"])
    assert "unknown part 'no-such'; there are adapting" in capsys.readouterr().err


def test_a_ratio_is_that_of_processor_time_not_of_waiting() -> None:
    def work(times: int) -> None:
        time.sleep(0.002)
        sum(range(100_000 * times))

    assert 2 < bench.ratio(lambda: work(4), lambda: work(1)) < 8


def test_what_the_repository_expects_is_of_parts_that_exist() -> None:
    ratios = bench.read(bench.EXPECTED)["ratios"]
    assert {name.partition(":")[0] for name in ratios} == set(bench.PARTS)
    assert set(bench.TOLERANCES) <= set(ratios)
