from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.data import read_examples, read_texts, write_examples
from samner.entities import Entity, Example
from samner.errors import DataError
from samner.words import words as split


def spans(path: Path, format: str | None = None) -> list[list[tuple[str, str]]]:
    """What is found: the text and label of each entity."""
    return [
        [(example.text[entity.start : entity.end], entity.label) for entity in example.entities]
        for example in read_examples(path, format)
    ]


def seen(text: str) -> str:
    return "".join(character for character in text if not character.isspace())


def file(folder: Path, *tags: str, name: str = "a.conll") -> Path:
    """One text of the tokens t1, t2, ... with these tags."""
    path = folder / name
    path.write_text("".join(f"t{number} {tag}\n" for number, tag in enumerate(tags, start=1)))
    return path


words = st.one_of(
    st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=5).filter(lambda text: len(split(text)) == 1),
    st.sampled_from([".", "(", "€", "😀", "किताब", "می‌خواهم", "e\u0301", "❤\ufe0f", "\ufeff"]),
)


@st.composite
def tokenised(draw: st.DrawFn) -> Example:
    tokens = draw(st.lists(words, min_size=1, max_size=8))
    text, position = " ".join(tokens), 0
    entities: list[Entity] = []
    open_since, label = 0, ""
    for token in tokens:
        what = draw(st.sampled_from(["outside", "begin", "continue"]))
        if what == "continue" and label:
            entities[-1] = Entity(open_since, position + len(token), label)
        elif what == "begin":
            open_since, label = position, draw(st.sampled_from(["city", "place of birth", "B-side", "O"]))
            entities.append(Entity(open_since, position + len(token), label))
        else:
            label = ""
        position += len(token) + 1
    return Example(text, tuple(entities))


@given(st.lists(tokenised(), min_size=1))
def test_tokenised_text_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, wanted: list[Example]) -> None:
    path = tmp_path_factory.mktemp("conll") / "a.conll"
    write_examples(wanted, path)
    assert read_examples(path) == wanted


@given(st.text().filter(str.strip))
def test_any_text_keeps_all_but_its_white_space(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("conll") / "a.conll"
    write_examples([Example(text)], path)
    [back] = read_texts(path)
    assert seen(back) == seen(text)


def test_punctuation_is_parted_from_words(tmp_path: Path) -> None:
    path = tmp_path / "a.bio"
    write_examples([Example("(Rome's\npope)", (Entity(1, 5, "city"),))], path)
    assert path.read_text() == "(\tO\nRome\tB-city\n'\tO\ns\tO\npope\tO\n)\tO\n\n"
    assert read_examples(path) == [Example("( Rome ' s pope )", (Entity(2, 6, "city"),))]


@pytest.mark.parametrize("suffix", [".conll", ".bio", ".iob", ".bioes", ".tsv", ".CONLL"])
def test_suffixes(tmp_path: Path, suffix: str) -> None:
    assert spans(file(tmp_path, "B-a", name=f"a{suffix}")) == [[("t1", "a")]]


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O O", []),
        ("B-a I-a O B-a", [("t1 t2", "a"), ("t4", "a")]),
        ("B-a B-a I-a", [("t1", "a"), ("t2 t3", "a")]),
        ("B-a B-b", [("t1", "a"), ("t2", "b")]),
        ("O B-a-b I-a-b", [("t2 t3", "a-b")]),
        ("B-a I-a E-a S-b O", [("t1 t2 t3", "a"), ("t4", "b")]),
        ("S-a S-a B-a E-a", [("t1", "a"), ("t2", "a"), ("t3 t4", "a")]),
        ("B-a I-a L-a U-b O", [("t1 t2 t3", "a"), ("t4", "b")]),
    ],
)
def test_schemes(tmp_path: Path, tags: str, found: list[tuple[str, str]]) -> None:
    assert spans(file(tmp_path, *tags.split())) == [found]


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("I-a I-a O I-a", [("t1 t2", "a"), ("t4", "a")]),
        ("I-a B-a I-a", [("t1", "a"), ("t2 t3", "a")]),
        ("I-a I-b O", [("t1", "a"), ("t2", "b")]),
        ("O B-a I-a", [("t2 t3", "a")]),
    ],
)
def test_iob1_is_read_when_asked_for(tmp_path: Path, tags: str, found: list[tuple[str, str]]) -> None:
    assert spans(file(tmp_path, *tags.split()), "iob1") == [found]


def test_rows_of_conll_2003(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_bytes(
        b"\xef\xbb\xbf-DOCSTART- -X- -X- O\r\n\r\nEU NNP B-NP B-ORG\r\nrejects VBZ B-VP O\r\n\r\n\r\n"
        b"-DOCSTART- -X- O\r\nPeter  NNP\tB-NP B-PER \r\nBlackburn NNP I-NP I-PER"
    )
    assert read_examples(path) == [
        Example("EU rejects", (Entity(0, 2, "ORG"),)),
        Example("Peter Blackburn", (Entity(0, 15, "PER"),)),
    ]


def test_where_tabs_part_columns_blanks_belong_to_them(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("10 000\tB-sum of money\n \u00a0 \tI-sum of money\n\t\nx\tO\n")
    assert read_examples(path) == [Example("10 000  \u00a0 ", (Entity(0, 10, "sum of money"),)), Example("x")]


def test_texts_are_read_without_a_look_at_tags(tmp_path: Path) -> None:
    for tags in ("I-a ? B-", "S-a B-a O"):
        assert read_texts(file(tmp_path, *tags.split())) == ["t1 t2 t3"]
        assert read_texts(file(tmp_path, *tags.split()), "iob1") == ["t1 t2 t3"]


@pytest.mark.parametrize(
    ("tags", "line", "reason"),
    [
        ("I-a", 1, "'I-a' does not continue an entity of that type (it is the first tag); 'B-a' begins one"),
        ("O I-a", 2, "'I-a' does not continue an entity of that type ('O' is before it); 'B-a' begins one"),
        ("O I-a", 2, "IOB1, where I- may too, is read with format='iob1'"),
        ("B-b I-a", 2, "('B-b' is before it)"),
        ("S-a E-a", 2, "'E-a' does not continue an entity of that type"),
        ("B-a E-a I-a", 3, "'I-a' does not continue"),
        ("O O B-a O S-a", 3, "'B-a' is the last tag of its entity, but in this file E- or L- ends an entity"),
        ("U-a B-a I-a", 3, "'I-a' is the last tag of its entity"),
        ("U-a B-a B-a L-a", 2, "'B-a' is the last tag of its entity"),
        ("O PER", 2, "unknown tag 'PER'; a tag is O, or B-, I-, E-, S-, L- or U- before a label"),
        ("X-a", 1, "unknown tag 'X-a'"),
        ("o", 1, "unknown tag 'o'"),
        ("b-a", 1, "unknown tag 'b-a'"),
        ("BI-a", 1, "unknown tag 'BI-a'"),
        ("-a", 1, "unknown tag '-a'"),
        ("B-", 1, "the tag 'B-' has no label"),
        ("O O-a", 2, "unknown tag 'O-a'"),
    ],
)
def test_refuses_tags_that_are_not_clear(tmp_path: Path, tags: str, line: int, reason: str) -> None:
    path = file(tmp_path, *tags.split())
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert reason in str(caught.value)


def test_the_scheme_is_that_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("a B-x\n\nb S-x\n")
    with pytest.raises(DataError, match=":1: 'B-x' is the last tag of its entity"):
        read_examples(path)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a O\nb\n", ":2: has a single column; a row is a token, a tab or blank, and last its tag"),
        ("a N O\n\nb O\n", ":3: has 2 columns, but line 1 has 3; all must have as many"),
        ("a\tO\nb\tN\tO\n", ":2: has 3 columns, but line 1 has 2"),
        ("a\tO\n\tO\n", ":2: has no token in its first column"),
        ("a\tO\nb\t\n", ":2: unknown tag ''"),
        ("\n\n", ": holds no text"),
        ("-DOCSTART- O\n", ": holds no text"),
    ],
)
def test_refuses_rows_that_are_not_clear(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "a.conll"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert str(caught.value).startswith(f"{path}{reason}")


def test_iob1_refuses_tags_that_mark_ends(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="so it is not IOB1 but conll"):
        read_examples(file(tmp_path, "S-a"), "iob1")


def test_iob1_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="iob1 can be read but not written; write conll or jsonl"):
        write_examples([Example("a")], tmp_path / "a.conll", "iob1")


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (Example(""), "a text without a word"),
        (Example(" \n"), "a text without a word"),
        (Example("Romans", (Entity(0, 3, "city"),)), "the entity 0:3 'city' does not begin and end with a token"),
        (Example("in Rome", (Entity(2, 7, "city"),)), "does not begin and end with a token"),
        (Example("a b c", (Entity(0, 3, "x"), Entity(2, 5, "x"))), "the entity 2:5 'x' overlaps another"),
        (Example("a b c", (Entity(0, 5, "x"), Entity(2, 3, "y"))), "the entity 2:3 'y' overlaps another"),
        (Example("a", (Entity(0, 1, "x\ty"),)), "has a tab or line break in its label"),
        (Example("a", (Entity(0, 2, "x"),)), "entities[0]: 0:2 lies outside the text"),
    ],
)
def test_writes_nothing_that_bio_cannot_say(tmp_path: Path, example: Example, reason: str) -> None:
    path = tmp_path / "a.conll"
    with pytest.raises(DataError) as caught:
        write_examples([example], path)
    assert str(caught.value).startswith(f"{path}: example 1: ")
    assert reason in str(caught.value)
    assert not path.exists()
