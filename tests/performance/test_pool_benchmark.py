from __future__ import annotations

from pathlib import Path

import pytest

from performance import pool
from samner.pool import ExpertPool


def test_random_experts_fit_the_base_and_grow_by_more_of_them(tmp_path: Path) -> None:
    made = pool.grow(tmp_path / "pool", 1)
    card = made.experts["expert-00000"]
    assert pool.grow(tmp_path / "pool", 2).experts["expert-00000"] == card
    grown = ExpertPool(tmp_path / "pool")
    assert list(grown.names) == ["expert-00000", "expert-00001"]
    assert grown.verify() == []
    assert grown.experts["expert-00001"].embedding != card.embedding


def test_more_experts_are_arithmetic() -> None:
    names = (*pool.TIMES.values(), *pool.MEMORY.values())
    found = {count: dict.fromkeys(names, (5 + 2 * count) / 1000) for count in (1000, 3000)}
    (line,) = (line for line in pool.report(found).splitlines() if "after embedding" in line)
    assert [cell.strip() for cell in line.split("|")[2:-1]] == ["2005.0", "6005.0", "2000.0", "20005"]


def test_one_size_tells_nothing_of_more(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        pool.main(["--experts", "100"])
    assert "give two sizes or more" in capsys.readouterr().err
