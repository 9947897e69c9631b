from __future__ import annotations

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from samner.words import borders, characters, pieces, words

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
