from __future__ import annotations

from pathlib import Path

import pytest

from performance import growth
from performance.growth import Curve


def test_the_exponent_is_that_of_a_power() -> None:
    curve = Curve("merging", "rank", {size: 0.5 * size**1.5 for size in (1, 2, 4, 8)})
    assert curve.exponent == pytest.approx(1.5)
    assert curve.last == pytest.approx(1.5)


def test_the_exponent_is_of_the_larger_sizes() -> None:
    curve = Curve("merging", "rank", {1: 7.0, 2: 7.0, 4: 1.0, 8: 2.0, 16: 4.0})
    assert curve.last == pytest.approx(1)
    assert growth.measured("nothing", "sizes", {1: lambda: None, 2: lambda: None}).seconds.keys() == {1, 2}


def test_the_plot_names_each_curve(tmp_path: Path) -> None:
    works = ("embedding", "extraction", "selection by sampling", "merging")
    growth.draw([Curve(work, "things", {1: 1.0, 2: 2.0, 4: 4.0}) for work in works], tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert all(
        label in drawn for label in ("embedding, things: 1.00", "sampling, things: 1.00", "merging, things: 1.00")
    )
