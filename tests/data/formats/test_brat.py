from __future__ import annotations

from pathlib import Path

import pytest

from samner.data import read_examples, read_texts, write_examples
from samner.entities import Entity, Example
from samner.errors import DataError

TEXT = "Bo saw Oslo.\nIt was New\nYork.\n"
ROWS = "T1\tcity 7 11\tOslo\nT2\tcity 20 23;24 28\tNew York\nR1\tnear Arg1:T1 Arg2:T2\nA1\tNo T1\n#1\tNote T1\tx\n"
FOUND = (Entity(7, 11, "city"), Entity(20, 28, "city"))


def document(folder: Path, rows: str | bytes = ROWS, text: str | bytes = TEXT, name: str = "a") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / f"{name}.ann").write_bytes(rows if isinstance(rows, bytes) else rows.encode())
    return folder


def test_a_document_is_one_text(tmp_path: Path) -> None:
    folder = document(tmp_path / "brat")
    document(folder / "more", "", "Nothing.", "b")
    wanted = Example(TEXT, FOUND, {"id": "a"})
    assert (
        read_examples(folder) == read_examples(folder, "brat") == [wanted, Example("Nothing.", meta={"id": "more/b"})]
    )
    assert read_examples(folder / "a.ann") == read_examples(folder / "a.txt") == [wanted]
    assert read_texts(folder) == [TEXT, "Nothing."]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (b"Bo\r\nOslo", "T1\tcity 4 8\tOslo\n"),  # a line end counts two, or one
        (b"Bo\r\nOslo", "T1\tcity 3 7\tOslo\n"),
        (b"\xef\xbb\xbfBo\nOslo", "T1\tcity 3 7\tOslo\n"),  # a mark counts none, or one
        (b"\xef\xbb\xbfBo\nOslo", "T1\tcity 4 8\tOslo\r\n"),
    ],
)
def test_line_ends_and_marks_are_counted_as_the_rows_do(tmp_path: Path, text: bytes, rows: str) -> None:
    (example,) = read_examples(document(tmp_path, rows, text))
    assert [example.text[entity.start : entity.end] for entity in example.entities] == ["Oslo"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("T1\tcity 7 11\tRome\n", "a.ann:1: its text is 'Rome' but characters 7:11 of a.txt are 'Oslo'"),
        ("T1\tcity 7 99\t\n", "a.ann:1: its text is '' but characters 7:99"),
        ("R1\tx\nT1\tcity 0 2;7 11\tBo Oslo\n", "a.ann:2: the city is in several pieces (0 2;7 11)"),
        ("T1\tcity 7\tOslo\n", "a.ann:1: must be like 'T1<tab>city 10 14<tab>Rome'"),
        ("T1\tcity 7 11\tOslo\nT2\tcity 7 11\tOslo\n", "a.ann: T rows[1]: repeats the entity 7:11 'city'"),
    ],
)
def test_refuses_rows_that_are_not_clear(tmp_path: Path, rows: str, reason: str) -> None:
    with pytest.raises(DataError) as caught:
        read_examples(document(tmp_path, rows))
    assert reason in str(caught.value)


def test_refuses_rows_without_their_text(tmp_path: Path) -> None:
    (document(tmp_path) / "a.txt").unlink()
    with pytest.raises(DataError, match=r"a\.txt: no such file; a\.ann tells of its text"):
        read_examples(tmp_path)


def test_written_documents_come_back(tmp_path: Path) -> None:
    wanted = [Example(TEXT, FOUND, {"id": "x/1"}), Example("b\r\n", meta={"id": "y"})]
    write_examples(wanted, tmp_path / "out", "brat")
    assert read_examples(tmp_path / "out") == wanted
    write_examples([Example("a")], tmp_path / "numbered", "brat")
    assert read_examples(tmp_path / "numbered") == [Example("a", meta={"id": "000001"})]


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (Example("a b", (Entity(0, 1, "two words"),)), "has a blank in it, which BRAT cannot say"),
        (Example("a", meta={"id": "../b"}), "leads outside"),
        (Example("a", meta={"id": "first"}), "the id 'first' cannot name a document; each needs a name of its own"),
    ],
)
def test_refuses_to_write_what_brat_cannot_say(tmp_path: Path, example: Example, reason: str) -> None:
    from samner.errors import SamnerError

    with pytest.raises(SamnerError) as caught:
        write_examples([Example("a", meta={"id": "first"}), example], tmp_path / "out", "brat")
    assert reason in str(caught.value)
    assert not (tmp_path / "out").exists()
