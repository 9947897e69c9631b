"""DocBin, by spaCy itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from samner.data import read_examples, read_gold, read_texts, write_examples
from samner.entities import Entity, Example
from samner.errors import DataError

WANTED = [
    Example(
        "Bo  saw Oslo-like \U0001f600 towns.", (Entity(0, 2, "person"), Entity(8, 12, "city")), {"id": "a", "n": [1]}
    ),
    Example("None here."),
]


def saved(path: Path, *docs: Any) -> Path:
    spacy = pytest.importorskip("spacy")
    spacy.tokens.DocBin(docs=docs, store_user_data=True).to_disk(path)
    return path


def doc(text: str, *spans: tuple[int, int, str], annotated: bool = True) -> Any:
    nlp = pytest.importorskip("spacy").blank("en")
    made = nlp(text)
    if annotated:
        made.set_ents([made.char_span(*span) for span in spans])
    return made


def test_docs_of_spacy_are_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.spacy", doc("in  Oslo", (4, 8, "city")), doc("nothing"))
    assert read_examples(path) == [Example("in  Oslo", (Entity(4, 8, "city"),)), Example("nothing")]
    path.rename(tmp_path / "b")
    assert read_texts(tmp_path / "b") == ["in  Oslo", "nothing"]


def test_written_docs_come_back(tmp_path: Path) -> None:
    pytest.importorskip("spacy")
    write_examples(WANTED, tmp_path / "a.spacy")
    assert read_examples(tmp_path / "a.spacy") == WANTED


def test_not_known_is_not_none(tmp_path: Path) -> None:
    unknown = doc("b", annotated=False)
    with pytest.raises(DataError, match=r"a\.spacy\[1\]: has no entity annotation, but others have"):
        read_examples(saved(tmp_path / "a.spacy", doc("in Oslo", (3, 7, "city")), unknown))
    path = saved(tmp_path / "a.spacy", unknown)
    assert read_examples(path) == [Example("b")]
    with pytest.raises(DataError, match="no text has an entity"):
        read_gold(path)
    unknown.spans["sc"] = [unknown[0:1]]
    with pytest.raises(DataError, match=r"labels in span groups \(sc\)"):
        read_examples(saved(tmp_path / "a.spacy", unknown))


def test_refuses_what_a_docbin_cannot_say_and_what_is_none(tmp_path: Path) -> None:
    pytest.importorskip("spacy")
    overlapping = Example("a b", (Entity(0, 3, "x"), Entity(0, 1, "y")))
    with pytest.raises(DataError, match="example 1: entities overlap, which DocBin cannot say"):
        write_examples([overlapping], tmp_path / "a.spacy")
    (tmp_path / "a.spacy").write_bytes(b"x\x9cno")
    with pytest.raises(DataError, match=r"a\.spacy: cannot be read as a DocBin of spaCy"):
        read_examples(tmp_path / "a.spacy")


def test_without_spacy_the_line_says_what_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    (tmp_path / "a.spacy").write_bytes(b"x\x9c")
    with pytest.raises(DataError, match=r"a\.spacy: a DocBin needs the package spacy: pip install spacy"):
        read_examples(tmp_path / "a.spacy")
