from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.data.validation import check_example
from samner.entities import Example
from studies.data.texts import apart, bracketed, chunks, covered, example, find, merged, tagged, tidy, trimmed, words


def shown(row: Example) -> list[tuple[str, str]]:
    return [(row.text[e.start : e.end], e.label) for e in row.entities]


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        ("OtherScientificTerm", "other scientific term"),
        ("cell_line", "cell line"),
        ("USPSBoxID", "usps box id"),
        ("killing|victim", "killing victim"),
        ("check in date", "check in date"),
    ],
)
def test_types_are_plain_words(type_: str, said: str) -> None:
    assert words(type_) == said


def test_blanks_are_collapsed_and_spans_follow() -> None:
    row = tidy("  A \n\t new   Rome\x00Paris ", [(2, 3, "X"), (7, 17, "Y"), (15, 30, "beyond"), (0, 2, "blank")], str)
    assert row.text == "A new Rome Paris"
    assert shown(row) == [("A", "X"), ("new Rome", "Y")]


def test_of_tokens_what_has_no_shape_goes() -> None:
    row = tagged(["20\xad04", "\u200b", "Ro\u200bme", "x"], ["O", "B-City", "I-City", "O"], words)
    assert row.text == "2004 Rome x"
    assert shown(row) == [("Rome", "city")]


@given(
    st.text(max_size=30),
    st.lists(st.tuples(st.integers(0, 35), st.integers(0, 35), st.sampled_from("ab"))),
    st.sampled_from(["", " "]),
)
def test_a_tidy_text_is_valid(text: str, spans: list[tuple[int, int, str]], invisible: str) -> None:
    row = tidy(text, spans, str, invisible)
    check_example(row)
    assert row.text == " ".join(row.text.split()) and row.text.isprintable()
    assert all(e.text == e.text.strip() != "" for e in row.entities)


def test_tokens_without_a_beginning_begin_an_entity() -> None:
    assert shown(tagged(["a", "b", "c", "d"], ["I-X", "I-X", "I-Y", "B-Y"], str)) == [
        ("a b", "X"),
        ("c", "Y"),
        ("d", "Y"),
    ]


def test_layers_overlap() -> None:
    row = merged([tagged(["a", "b"], ["B-X", "I-X"], str), tagged(["a", "b"], ["O", "B-Y"], str)])
    assert shown(row) == [("a b", "X"), ("b", "Y")]
    assert row == covered(["a", "b"], [(0, 2, "X"), (1, 2, "Y")], str)


def test_whole_words_are_found_whatever_case_and_hyphen() -> None:
    assert find("Non-Stop, a nonstop non stop", "non stop", every=True) == [(0, 8), (20, 28)]
    assert find("Romeo", "Rome") == find("x", "  ") == []


def test_of_overlapping_spans_the_longest_stays() -> None:
    assert apart([(0, 2, "a"), (1, 9, "b"), (9, 10, "c")]) == [(1, 9, "b"), (9, 10, "c")]


def test_marks_become_spans() -> None:
    mark = r"\[(?P<type>\w+) : (?P<text>[^\]]*)\]"
    assert bracketed("wake [who : me] at [time : five]!", mark) == (
        "wake me at five!",
        [(5, 7, "who"), (11, 15, "time")],
    )


def test_chunks_end_with_sentences_and_keep_spans_whole() -> None:
    text = "One two three. Four et al. Five six. Seven eight nine."
    within = text.index("six. Seven")
    pieces = list(chunks(text, [(4, 7, "X"), (within, within + 10, "Y")], 3))
    assert [piece for piece, _ in pieces] == ["One two three. ", "Four et al. Five six. Seven eight nine."]
    assert [[piece[s:e] for s, e, _ in spans] for piece, spans in pieces] == [["two"], ["six. Seven"]]


@pytest.mark.parametrize(
    ("span", "left"),
    [
        ("Smith,", "Smith"),
        ("Sons Ltd.", "Sons Ltd."),
        ("the Act.", "the Act"),
        ("(Delhi", "Delhi"),
        ("Delhi (North)", "Delhi (North)"),
        ("'X", "X"),
        (", ;", None),
    ],
)
def test_punctuation_at_the_edges_is_cut(span: str, left: str | None) -> None:
    row = trimmed(example(f"a {span} b", [(2, 2 + len(span), "x")]))
    assert [e.text for e in row.entities] == ([left] if left else [])
