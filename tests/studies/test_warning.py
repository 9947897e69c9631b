from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from samner.embedding import MINILM
from samner.entities import entity_types
from studies.warning import choose, counting, far, like_base, main, ranked, table, wrong


def row(name: str, cosine: float, types: float, f1: float, **others: object) -> dict[str, object]:
    values = {
        "group": "hidden",
        "domain": name,
        "nearest": "news",
        "number": 4,
        "unknown": 0.5,
        "like_experts": [types, types],
        "like_base": [1.0, 0.7],
        "home": False,
        "similarity": ["news"],
        "sampling": ["legal", "news"],
        "warnings": [],
        "agreement": 0.5,
        "both": 0.5,
        "score": 0.5,
        "found": 1.0,
    }
    return {"set": name, "cosine": cosine, "types": types, "f1": f1, **values, **others}


ROWS = [
    row("a", 0.3, 0.5, 5, warnings=["no expert is close to this domain"]),
    row("b", 0.3, 0.8, 50),
    row("c", 0.3, 0.5, 60, home=True),
    row("d", 0.3, 0.5, 40, number=1),
]


def test_limits_are_those_that_are_wrong_least_often() -> None:
    assert far(ROWS, 0.66, 0.63).tolist() == [True, False, False, False]
    assert wrong(ROWS, (0.66, 0.63)) == 0
    assert wrong(ROWS, (0.66, 0.9)) == 0.25
    assert choose(ROWS) == (0.4, 0.51)


def test_a_signal_is_as_good_as_it_ranks() -> None:
    values = np.array([1.0, 2.0, 3.0])
    assert ranked(values, np.array([True, False, False])) == 1
    assert ranked(values, np.array([False, True, False])) == 0.5
    assert np.isnan(ranked(values, np.array([False, False, False])))


def test_a_type_of_the_bases_counts_from_a_limit_on() -> None:
    (row_a,) = counting(ROWS[:1], 1.01)
    assert row_a["types"] == 0.5
    assert [counting(ROWS[:1], limit)[0]["types"] for limit in (1.0, 0.7)] == pytest.approx([0.75, 0.85])


def test_the_table_says_what_was_asked_and_said() -> None:
    lines = list(table(ROWS))
    assert "| a, without a | news | 0.30 | 0.50 | 50 % | news + legal, news | far | 5.0 |" in lines
    assert any("news alone" in line for line in lines)
    assert "| hidden | 4 | 1 | 1 | 1 | 0 | 0 | 1 |" in lines
    assert any(line.startswith("| d | ") for line in lines)
    # with the base's types that of "a" is warned of no more, though it is poor
    assert "| never | 0 of 4 |" in lines and "| 1.00 | 1 of 4 |" in lines


@pytest.mark.parametrize("content", ["no JSON", "[]", "{}", '"text"'])
def test_a_table_of_anything_else_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], content: str
) -> None:
    (tmp_path / "measured.jsonl").write_text(content)
    monkeypatch.setattr("sys.argv", ["warning", "--table", str(tmp_path / "measured.jsonl")])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr()
    assert said.err.startswith("error: ") and said.err.count("\n") == 1 and not said.out


def test_types_are_compared_with_those_of_the_base() -> None:
    types = entity_types(["drug", "stadium"])
    same, other = like_base(types, ["drug", "disease"], MINILM)
    assert same == 1 and other < 0.5
    assert like_base(types, [], MINILM) == [-1, -1]
