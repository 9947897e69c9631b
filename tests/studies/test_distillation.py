from __future__ import annotations

from pathlib import Path

import pytest

from samner.files import write_json
from studies.distillation import BEGIN, END, rows, targets, write_table


def test_the_table_goes_to_its_place(tmp_path: Path) -> None:
    measured = {name: {"f1": f1, "rate": rate} for name, f1, rate in (("teacher", 40, 5), ("pupil", 38, 110))}
    measured["fast"] = {"f1": 20, "rate": 60}
    result = {"name": "cooking", "texts": 500, "taught": 2, "left_out": {"spoon": 1}, "training": 70.2, **measured}
    (tmp_path / "cooking").mkdir()
    write_json(tmp_path / "cooking" / "result-500.json", result)
    page = tmp_path / "page.md"
    page.write_text(
        f"before\n{BEGIN}\nold\n| cooking | 5000 | 3 of 3 |\n| cooking | 500 | 1 of 3 |\n{END}\nafter\n",
        encoding="utf-8",
    )
    write_table(page, rows(tmp_path))
    row = "| cooking | 500 | 2 of 3 | 40.0 | 38.0 | 20.0 | 5.0 | 110.0 | 60.0 | 22 | 70 |"
    text = page.read_text("utf-8")
    assert row in text and "old" not in text and "1 of 3" not in text
    assert f"{row}\n| cooking | 5000 | 3 of 3 |" in text and text.startswith("before\n") and text.endswith("\nafter\n")
    page.write_text("no place")
    with pytest.raises(SystemExit, match="holds no"):
        write_table(page, {})


def test_no_target_learns_from_a_text_that_it_is_tested_on(shared_data: Path) -> None:
    if not (shared_data.parent / "cases").is_dir():
        pytest.skip("the sentences of ordinary news are not there (expected in ../shared/cases)")
    every = list(targets(shared_data, 500))
    assert len(every) == 8
    for target in every:
        assert not {e.text for e in target.test} & set(target.unlabelled)
        assert len(target.unlabelled) == 500 and target.types
