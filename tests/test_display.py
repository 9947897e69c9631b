from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.display import brief, cut, known_names, markdown, printable, printable_json
from samner.errors import SamnerError

OBEYED = ["\x1b[2J", "\x9b2J", "\x07", "\r", "\x7f", "\u202e", "\u2066", "\u2028", "\ud83d"]
KEPT = "Zürich 日本語 عربى हिन्दी 👩\u200d🔬 e\u0301 می\u200cخواهم"


@pytest.mark.parametrize("text", OBEYED)
def test_what_a_terminal_would_obey_is_written_out(text: str) -> None:
    shown = printable(f"a{text}b")
    assert text[0] not in shown and "\\" in shown
    shown.encode("utf-8")


def test_letters_of_any_script_stay_as_they_are() -> None:
    assert printable(KEPT) == KEPT


def test_line_breaks_stay_only_where_lines_may_break() -> None:
    assert printable("a\n\tb") == "a\n\tb"
    assert printable("a\n\tb", lines=False) == "a\\n\\tb"


@given(st.recursive(st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_keeps_its_meaning(value: object) -> None:
    text = printable_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert printable(text) == text


def test_a_value_is_shown_briefly_however_large_or_deep() -> None:
    bomb: list[object] = ["x"] * 9
    for _ in range(11):
        bomb = [bomb] * 9
    for value in (bomb, "x" * 10**6, {str(i): i for i in range(10**5)}, "\x1b" * 1000, 10**500, None):
        assert len(brief(value)) < 300 and "\x1b" not in brief(value)
    assert brief("short") == "'short'" and brief(3) == "3"
    assert cut("a" * 5000).startswith("aaa") and len(cut("a" * 5000)) < 1000 and cut("short") == "short"


def test_where_a_name_is_none_of_many_those_like_it_are_named() -> None:
    assert known_names("spots", ["medicine", "sports"]) == "medicine, sports"
    assert known_names("spots", []) == "none"
    many = [f"expert{i}" for i in range(1999)] + ["sports"]
    assert known_names("spots", many) == "sports, ... (2,000 in all)"
    assert known_names("???", many) == "expert0, expert1, expert2, ... (2,000 in all)"


def test_markdown_means_nothing_but_the_text() -> None:
    said = markdown("a|b\n# [x](y) <img src=z> `c` *d* _e_ &lt; \x1b[2J")
    assert "\n" not in said
    for mark in "|[]<>`*_&":
        assert all(said[i - 1] == "\\" for i, letter in enumerate(said) if letter == mark)


def test_errors_never_say_what_a_terminal_obeys_and_have_an_ordinary_length() -> None:
    said = str(SamnerError(f"bad.json: {''.join(OBEYED)} {'x' * 10_000}"))
    assert len(said) < 1200 and not any(text[0] in said for text in OBEYED)
