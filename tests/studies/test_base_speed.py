"""Which base of which pool is timed on how many types."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from samner.backbones import BASE
from studies.base_speed import rates


def test_every_base_reads_all_texts_for_each_number_of_types() -> None:
    asked: list[tuple[str, int, int]] = []

    def base(name: str) -> Any:
        def predict(texts: list[str], types: tuple[Any, ...], models: list[str], threshold: float) -> None:
            assert models == [BASE]
            asked.append((name, len(texts), len(types)))
            sum(range(20_000))  # takes processor time

        return SimpleNamespace(predict=predict, threshold=0.5)

    rows = rates([base("a"), base("b")], ["one", "two"], [6, 24], rounds=2)
    assert [len(row) for row in rows] == [2, 2]
    assert all(rate > 0 for row in rows for rate in row)
    # known before the clock starts, then in turn
    assert asked[:6] == [("a", 1, 6), ("b", 1, 6), ("a", 2, 6), ("b", 2, 6), ("a", 2, 6), ("b", 2, 6)]
    assert {types for *_, types in asked[6:]} == {24}
