from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.backbones.language_model.generation.alignment import align
from samner.backbones.language_model.generation.answer import Mention


def places(text: str, *strings: str) -> list[tuple[int, int, str]]:
    aligned, missing = align(text, [Mention("x", string, (0, 0)) for string in strings])
    assert {place.mention.text for place in aligned} | {mention.text for mention in missing} <= set(strings)
    return [(place.start, place.end, place.how) for place in aligned]


@pytest.mark.parametrize(
    ("text", "string", "wanted"),
    [
        ("Ada met Ada.", "Ada", [(0, 3, "exact"), (8, 11, "exact")]),
        ("C++, not C", "C++", [(0, 3, "exact")]),
        ('He said "yes" [1].', '"yes"', [(8, 13, "exact")]),
        ('He said "yes" [1].', "[1]", [(14, 17, "exact")]),
        ("😀 Rome 😀", "Rome", [(2, 6, "exact")]),
        ("גר בירושלים, ירושלים", "ירושלים", [(13, 20, "exact")]),
        ("東京は東京、", "東京", [(0, 2, "exact"), (3, 5, "exact")]),
        ("in Rome's forum", " Rome\n", [(3, 7, "exact")]),
        # case, blanks, what cannot be seen, composed or not
        ("ROME and rome", "Rome", [(0, 4, "normalised"), (9, 13, "normalised")]),
        ("New \n York", "new york", [(0, 10, "normalised")]),
        ("U.S. - based", "U.S.-based", [(0, 12, "normalised")]),
        ("Straße, STRASSE", "strasse", [(0, 6, "normalised"), (8, 15, "normalised")]),
        ("in İstanbul now", "i̇stanbul", [(3, 11, "normalised")]),
        ("a cafe\u0301!", "café", [(2, 7, "normalised")]),
        ("soft\u00adware \u200fX", "software", [(0, 9, "normalised")]),
        ("tea ☕\ufe0f!", "☕", [(4, 6, "normalised")]),
        # whole words first
        ("a party, art, Art", "art", [(9, 12, "exact")]),
        ("a party, Art", "art", [(9, 12, "normalised")]),
        ("a party", "art", [(3, 6, "exact")]),
        ("a Party", "ART", []),
        ("B12", "B", []),
        ("חיים בירושלים", "ירושלים", [(6, 13, "exact")]),
        # nothing within a character
        ("cafe\u0301", "cafe", []),
        ("👩\u200d👩\u200d👧", "👩", []),
        ("ß", "s", []),
        ("\r\n", "\r", []),
        # repeats that overlap
        ("aaaa", "aa", [(0, 2, "exact"), (2, 4, "exact")]),
        ("ba a a", "a a", [(3, 6, "exact")]),
        # nothing to look for, nothing to look in
        ("Rome", "", []),
        ("a b", " ", []),
        ("a b", "\u200b", []),
        ("", "Rome", []),
    ],
)
def test_places(text: str, string: str, wanted):
    assert places(text, string) == wanted


def test_places_within_longer_mentions():
    text = "Bank of England in England"
    assert places(text, "England", "Bank of England") == [(19, 26, "exact"), (0, 15, "exact")]
    assert places(text[:15], "England", "Bank of England") == [(8, 15, "exact"), (0, 15, "exact")]
    assert places("C and C++", "C", "C++") == [(0, 1, "exact"), (6, 9, "exact")]


def test_no_place_twice_under_one_label():
    aligned, missing = align("Rome", [Mention(label, text, (0, 0)) for label in "xy" for text in ("ROME", "Rome")])
    assert [(place.mention.label, place.mention.text, place.how) for place in aligned] == [
        ("x", "Rome", "exact"),
        ("y", "Rome", "exact"),
    ]
    assert missing == []


def test_what_is_not_in_the_text():
    bonn = Mention("city", "Bonn", (2, 6))
    assert align("Rome", [bonn, Mention("city", "Rome", (0, 4))])[1] == [bonn]


letters = st.text("aAbß İi\u0301\u200d👩😀\u00adא漢 \n\r.", max_size=12)


@given(letters, st.lists(letters, max_size=4))
def test_places_hold_what_was_looked_for(text: str, strings: list[str]):
    mentions = [Mention("x", string, (0, 0)) for string in strings]
    aligned, missing = align(text, mentions)
    for place in aligned:
        found = text[place.start : place.end]
        assert place.mention in mentions and place.mention not in missing and found == found.strip()
        assert (found == place.mention.text.strip()) == (place.how == "exact")
    for mention in mentions:
        places = sorted((p.start, p.end) for p in aligned if p.mention.text == mention.text)
        assert all(one[1] <= other[0] for one, other in pairwise(places))


def stands_alone(string: str) -> bool:
    """Whether it does not become part of the character before it, and there is something to see."""
    return string.strip(" \n\r")[:1] not in set("\u0301\u200d") and bool(string.strip(" \n\r\u0301\u200d\u00ad"))


@given(letters.filter(stands_alone), letters, letters)
def test_a_string_between_blanks_is_found(string: str, before: str, after: str):
    text = f"{before} {string.strip()} {after}"
    aligned, missing = align(text, [Mention("x", string, (0, 0))])
    assert aligned and not missing
