"""Files of tokens whose columns, comments and headers are not the usual ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from samner.data import read_examples, read_texts, write_examples
from samner.entities import Entity, Example
from samner.errors import DataError

WANTED = [Example("Bo saw Oslo", (Entity(0, 2, "PER"), Entity(7, 11, "LOC")))]


@pytest.mark.parametrize("name", ["a.conll", "a.tsv", "a.bio", "a.txt", "a"])
@pytest.mark.parametrize(
    "content",
    [
        "Bo\tB-PER\nsaw\tO\nOslo\tB-LOC\n",
        "B-PER\tBo\nO\tsaw\nB-LOC\tOslo\n",  # MIT
        "1\tBo\tB-PER\tO\n2\tsaw\tO\tO\n3\tOslo\tB-LOC\tO\n",  # GermEval
        "1\tBo\tB-PER\tO\n2\tsaw\tO\tO\n3\tOslo\tB-LOC\tB-OTH\n",
        "Bo NNP B-NP B-PER\nsaw VBD B-VP O\nOslo NNP B-NP B-LOC\n",  # CoNLL-2003
        "Bo NNP B-PER B-NP\nsaw VBD O B-VP\nOslo NNP B-LOC B-NP\n",
        "Bo _ _ B-PER\nsaw _ _ O\nOslo _ _ B-LOC\n",
        "1\tBo\tB-PER\t-\t-\n2\tsaw\tO\t-\t-\n3\tOslo\tB-LOC\t-\t-\n",
        "Word\tPOS\tTag\nBo\tNNP\tB-PER\nsaw\tVBD\tO\nOslo\tNNP\tB-LOC\n",
        "Bo,B-PER\nsaw,O\nOslo,B-LOC\n",
        "word,ner\nBo,B-PER\nsaw,O\nOslo,B-LOC\n",
        "1\tB-PER\tBo\n2\tO\tsaw\n3\tB-LOC\tOslo\n",
        "B-PER\t1\tBo\nO\t2\tsaw\nB-LOC\t3\tOslo\n",
        "d7\t0\tBo\tB-PER\nd7\t1\tsaw\tO\nd7\t2\tOslo\tB-LOC\n",
        "-DOCSTART- -X- O\n\nBo N B-PER\nsaw V O\nOslo N B-LOC\n \t\n",
    ],
)
def test_columns_are_told_by_what_they_hold(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert read_examples(path) == WANTED
    assert read_texts(path) == ["Bo saw Oslo"]


def test_numbers_of_conll_u_that_are_no_tokens(tmp_path: Path) -> None:
    path = tmp_path / "a.conllu"
    path.write_text("# sent_id = 7b\n1-2\tdel\tO\n1\tde\tO\n2\tel\tO\n2.1\tx\tO\n3\tOslo\tB-LOC\n\n")
    assert read_examples(path) == [Example("de el Oslo", (Entity(6, 10, "LOC"),), {"sent_id": "7b"})]


def test_comments_before_a_text_are_its_meta(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text(
        "# id 9-a domain=en lang=x\nBo O\n\n"
        "# sent_id = s1\n# text = (Bo)\n# newdoc\n# n = 3\n# zip = 007\n( O\nBo B-PER\n) O\n"
    )
    assert read_examples(path) == [
        Example("Bo", meta={"id": "9-a", "domain": "en", "lang": "x"}),
        Example("(Bo)", (Entity(1, 3, "PER"),), {"sent_id": "s1", "comments": ["newdoc"], "n": 3, "zip": "007"}),
    ]


@pytest.mark.parametrize("content", ["# O\n1 O\n\n# B-x\n", "is O\n# O\n\n# O\n", "#\tO\n1\tO\n\n#\tB-x y\n"])
def test_a_number_sign_may_be_a_token(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.conll"
    path.write_text(content)
    assert [text.count("#") for text in read_texts(path)] == [1, 1]


@pytest.mark.parametrize(
    "content", ["a O\n\n#b B-t\n", "#b B-t\na O\n", "a\tt\tx\n\n#b\tt\ty\n", "a O N\n\n#b B-t N\n"]
)
def test_a_text_may_begin_with_a_hashtag(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.conll"
    path.write_text(content)
    assert "#b" in " ".join(read_texts(path))


def test_ids_of_texts_are_no_tokens_where_no_blank_row_parts_them(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("".join(f"d{text}\t{row}\tt{text}{row}\tO\n" for text in range(2) for row in range(3)))
    assert read_texts(path) == ["t00 t01 t02 t10 t11 t12"]


def test_a_text_beside_its_class_is_no_tag(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("good\tBo saw Oslo.\nbad\tRain\n")
    with pytest.raises(DataError, match=r":1: no column looks like tags \(column 1 has 'good'.* --format csv:COLUMN"):
        read_texts(path)


def test_meta_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    meta = {"id": "a-1", "n": 3, "zip": "12", "no": None, "meta": {"page": [1]}, "s": " x ", "comments": ["newdoc id"]}
    wanted = [Example("# 1", (Entity(0, 1, "x"),), meta), Example("b", meta={"id": 5})]
    write_examples(wanted, path)
    assert read_examples(path) == wanted


def test_runs_of_labels_without_prefix_are_read_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.conll"
    path.write_text("Bo PER\nLi PER\nsaw O\nOslo LOC\n")
    assert read_examples(path, "io")[0].entities == (Entity(0, 5, "PER"), Entity(10, 14, "LOC"))
    with pytest.raises(DataError, match=r":1: unknown tag 'PER'.*column 2 has labels alone.*--format io"):
        read_examples(path)
    assert read_texts(path) == ["Bo Li saw Oslo"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("a B-X B-Y\nb O B-Y\nc B-X O\n", "the columns 2 and 3 look like tags; keep the token and one of them"),
        ("a (X*\nb *)\nc *\n", "column 2 has tags in brackets, as OntoNotes does"),
        ("a N\nb V\n", "no column looks like tags (column 1 has 'a', column 2 has 'N')"),
        ("#FORMAT=WebAnno TSV 3.2\n\na b\n", "is WebAnno TSV of INCEpTION"),
        ("#begin document (x);\n\na b\n", "is CoNLL-2012 of OntoNotes"),
    ],
)
def test_other_schemes_are_refused_by_name(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "a.conll"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert reason in str(caught.value)


@pytest.mark.parametrize("content", ["vitamin B-12\n", "I am O\n", "O Canada\n\nO Rome\n", "# A title\n\nText.\n"])
def test_plain_text_is_not_taken_for_columns(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.txt"
    path.write_text(content)
    assert read_texts(path) == content.removesuffix("\n").split("\n")
