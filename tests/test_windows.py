from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from samner.windows import Window, Word, windows


def words_of(costs: list[int]) -> list[Word]:
    return [Word(4 * i + 1, 4 * i + 4, cost) for i, cost in enumerate(costs)]


costs = st.lists(st.integers(1, 6), max_size=40)
sizes = st.integers(1, 12)
overlaps = st.integers(0, 14)


def spent(words: list[Word], window: Window) -> int:
    return sum(word.cost for word in words[window.first : window.last])


@given(costs, sizes, overlaps)
def test_windows_cover_all_words_in_order(costs: list[int], size: int, overlap: int) -> None:
    words = words_of(costs)
    found = windows(words, size, overlap)
    assert {i for window in found for i in range(window.first, window.last)} == set(range(len(words)))
    for one, other in itertools.pairwise(found):
        assert one.first < other.first <= one.last < other.last
    for window in found:
        assert (window.start, window.end) == (words[window.first].start, words[window.last - 1].end)


@given(costs, sizes, overlaps)
def test_no_window_is_larger_than_asked_unless_it_is_one_word(costs: list[int], size: int, overlap: int) -> None:
    words = words_of(costs)
    for window in windows(words, size, overlap):
        assert spent(words, window) <= size or window.last - window.first == 1


@given(costs, sizes, overlaps)
def test_no_window_could_take_another_word(costs: list[int], size: int, overlap: int) -> None:
    words = words_of(costs)
    for window in windows(words, size, overlap):
        assert window.last == len(words) or spent(words, window) + words[window.last].cost > size


@given(costs, sizes, overlaps)
def test_neighbours_share_as_many_words_as_the_overlap_allows(costs: list[int], size: int, overlap: int) -> None:
    words = words_of(costs)
    found = windows(words, size, overlap)
    for one, other in itertools.pairwise(found):
        shared = sum(word.cost for word in words[other.first : one.last])
        room = min(overlap, size - words[one.last].cost)
        assert shared <= max(room, 0)
        # one more word would be too much, or would lead back to the window itself
        assert shared + words[other.first - 1].cost > room or other.first - 1 == one.first


@given(st.integers(0, 60), st.integers(2, 12), st.data())
def test_a_run_of_words_no_longer_than_the_overlap_is_whole_in_a_window(
    count: int, size: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(1, size - 1))
    found = windows(words_of([1] * count), size, overlap)
    for first in range(count - overlap + 1):
        assert any(window.first <= first and first + overlap <= window.last for window in found)


def test_a_text_that_fits_is_one_window() -> None:
    words = words_of([2, 3, 3])
    assert windows(words, 8, 2) == [Window(0, 3, 1, 12)]


def test_a_text_without_words_has_no_window() -> None:
    assert windows([], 8, 2) == []


def test_an_example() -> None:
    found = windows(words_of([1] * 7), 4, 2)
    assert [(window.first, window.last) for window in found] == [(0, 4), (2, 6), (4, 7)]


def test_a_large_word_leaves_less_room_to_share() -> None:
    found = windows(words_of([1, 1, 2]), 2, 1)
    assert [(window.first, window.last) for window in found] == [(0, 2), (2, 3)]


def test_a_word_that_is_too_large_has_a_window_of_its_own() -> None:
    found = windows(words_of([1, 9, 1]), 4, 2)
    assert [(window.first, window.last) for window in found] == [(0, 1), (1, 2), (2, 3)]
