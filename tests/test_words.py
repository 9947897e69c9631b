from __future__ import annotations

import itertools

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from samner.words import Window, Word, borders, characters, pieces, windows, words

NASTY = [
    *("\u2764\ufe0f", "\U0001f44d\U0001f3fd", "\U0001f469\u200d\U0001f52c", "\U0001f1eb\U0001f1f7", "1\ufe0f\u20e3"),
    *(
        "e\u0301",
        "\u0301",
        "\u200d",
        "\u200c",
        "\u00ad",
        "\u2060",
        "\ufeff",
        "\u0600",
        "\ud83d",
        "\r\n",
        "\r",
        "\n",
        " ",
    ),
    *("क्षत्रिय", "กรุงเทพ", "ハ\u3099リ", "葛\U000e0100", "한\u1100\u1161", "Rome", "'s", "_", "日本", "\ufe0f"),
]
texts = st.lists(st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=()), max_size=4)).map("".join)


def split(text: str, longest: int | None = None) -> list[str]:
    return [text[start:end] for start, end in words(text, longest)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Ada's C++, e-mail_me", ["Ada", "'", "s", "C", "+", "+", ",", "e", "-", "mail", "_", "me"]),
        ("a\r\nb\x00\tc", ["a", "b", "\x00", "c"]),
        # a sign of several code points is one word, and no part of a neighbour
        ("to \u2764\ufe0fBonn", ["to", "\u2764\ufe0f", "Bonn"]),
        ("\U0001f44b\U0001f3ffBonn", ["\U0001f44b\U0001f3ff", "Bonn"]),
        ("\U0001f468\u200d\U0001f373Bonn", ["\U0001f468\u200d\U0001f373", "Bonn"]),
        ("\U0001f1e9\U0001f1ea\U0001f1e8\U0001f1edBern", ["\U0001f1e9\U0001f1ea", "\U0001f1e8\U0001f1ed", "Bern"]),
        ("\U0001f3f4\U000e0067\U000e0062\U000e007f!", ["\U0001f3f4\U000e0067\U000e0062\U000e007f", "!"]),
        ("2\ufe0f\u20e3Bonn \u2139\ufe0fBern", ["2\ufe0f\u20e3", "Bonn", "\u2139\ufe0f", "Bern"]),
        # marks stay with what bears them
        ("Zu\u0308rich", ["Zu\u0308rich"]),
        ("か\u3099っこう", ["か\u3099", "っ", "こ", "う"]),
        ("コーラ", ["コ", "ー", "ラ"]),
        ("辻\U000e0100さん", ["辻\U000e0100", "さ", "ん"]),
        ("x \u0301y", ["x", " \u0301", "y"]),
        # format characters within a word do not part it
        ("نمی\u200cدانم", ["نمی\u200cدانم"]),
        ("क्\u200dष", ["क्\u200dष"]),
        ("Haupt\u00adbahn\u00adhof", ["Haupt\u00adbahn\u00adhof"]),
        ("Tel\u2060Aviv\u2060 is", ["Tel\u2060Aviv", "\u2060", "is"]),
        ("\u200fשלום\u200e", ["\u200f", "שלום", "\u200e"]),
        ("ภาษา\u200bไทย", ["ภ", "า", "ษ", "า", "\u200b", "ไ", "ท", "ย"]),
        ("น้ำ", ["น้ำ"]),
        ("दिल्ली में", ["दिल्ली", "में"]),
        ("a\ud83d\udc00b", ["a", "\ud83d", "\udc00", "b"]),
    ],
)
def test_words(text: str, wanted: list[str]) -> None:
    assert split(text) == wanted


@given(st.text(st.characters(codec="ascii")))
def test_ascii_is_runs_of_letters_and_digits_and_single_signs(text: str) -> None:
    assert split(text) == regex.findall(r"[A-Za-z0-9]+|\S", text)


@given(texts, st.sampled_from([None, 1, 2, 64]))
def test_no_character_is_cut_and_none_that_is_seen_is_lost(text: str, longest: int | None) -> None:
    place = 0
    for start, end in words(text, longest):
        assert place <= start < end
        assert start in borders(text) and end in borders(text)
        assert not text[place:start].strip()
        if longest:
            assert len([c for c in characters(text[start:end]) if regex.search(r"[\p{L}\p{N}\p{M}]", c)]) <= longest
        place = end
    assert not text[place:].strip()
    assert "".join(pieces(text, longest)) == "".join(characters(text)) == text


@given(texts, texts)
def test_a_text_further_on_has_the_same_words_shifted(before: str, text: str) -> None:
    whole = f"{before}\n{text}"
    shift = len(before) + 1
    assert words(whole) == words(before) + [(start + shift, end + shift) for start, end in words(text)]


def test_a_long_word_is_cut_between_characters() -> None:
    assert split("e\u0301" * 3, 2) == ["e\u0301e\u0301", "e\u0301"]
    assert split("x" * 130, 64) == ["x" * 64, "x" * 64, "xx"]


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
