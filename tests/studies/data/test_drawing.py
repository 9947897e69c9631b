from __future__ import annotations

from samner.entities import Entity, Example
from studies.data.drawing import cover, distinct, draw, hold_out, key, tenths, tenths_of_files, thin


def row(text: str, *labels: str) -> Example:
    return Example(text, tuple(Entity(0, 1, label) for label in labels))


ROWS = [row(f"text {i}", *(["rare"] if i == 70 else ["often"] if i % 2 else [])) for i in range(100)]


def test_texts_are_compared_by_letters_and_digits() -> None:
    assert key("A b, C_1!") == key("abc1") == "abc1"
    assert key("?!") != key("...")


def test_empty_and_repeated_texts_go() -> None:
    assert [r.text for r in distinct([row("a"), row(" "), row("b"), row("a", "x")])] == ["a", "b"]


def test_a_draw_is_the_same_each_time_and_in_order() -> None:
    drawn = draw(ROWS, 10)
    assert drawn == draw(ROWS, 10) == sorted(drawn, key=ROWS.index)
    assert len(drawn) == 10 and draw(ROWS, 1000) == ROWS


def test_what_is_held_out_is_not_in_the_rest() -> None:
    rest, held = hold_out(ROWS, 0.12)
    assert len(held) == 12 and sorted(rest + held, key=ROWS.index) == ROWS


def test_documents_are_not_parted() -> None:
    documents = [ROWS[start : start + 2] for start in range(0, 100, 2)]
    for parts in (tenths(documents), tenths_of_files(documents)):
        assert [len(parts[part]) for part in ("train", "dev", "test")] == [80, 10, 10]
        assert all((ROWS[2 * i] in rows) == (ROWS[2 * i + 1] in rows) for rows in parts.values() for i in range(50))


def test_texts_without_entities_are_thinned() -> None:
    assert [bool(r.entities) for r in thin(ROWS, 0.1)] == [True] * 51 + [False] * 5


def test_a_draw_that_covers_has_the_rare_label() -> None:
    drawn = cover(ROWS, 20)
    assert len(drawn) == 20 and drawn == sorted(drawn, key=ROWS.index)
    assert ROWS[70] in drawn
