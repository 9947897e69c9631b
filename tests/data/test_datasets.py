from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import samner
from samner.data import read_examples, read_texts, write_examples
from samner.entities import Entity, Example
from samner.errors import DataError, SamnerError

ROME = Example("Rome é", (Entity(0, 4, "city"),))


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    # a terminal of another encoding: it must not matter
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="latin-1"))


def test_standard_input_and_output_are_json_lines_in_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr("sys.stdout", stdout)
    print("before", end=";")
    write_examples([ROME], "-")
    written = stdout.buffer.getvalue()  # type: ignore[attr-defined]
    assert written.startswith(b'before;{"text": "Rome \xc3\xa9"')
    stdin(monkeypatch, written.removeprefix(b"before;"))
    assert read_examples("-") == [ROME]


def test_standard_input_in_another_format(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"one\ntwo\n")
    assert read_texts("-", "text") == ["one", "two"]


def test_standard_input_is_named_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b'{"text": "a"}\nb\n')
    with pytest.raises(DataError, match=r"^standard input:2: not valid JSON"):
        read_examples("-")
    stdin(monkeypatch, b"")
    with pytest.raises(DataError, match=r"^standard input: holds no text"):
        read_examples("-")


def test_a_format_given_wins_over_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_examples([ROME], path, "jsonl")
    assert read_examples(path) == read_examples(path, "jsonl") == [ROME]
    assert read_texts(path, "text") == [path.read_text(encoding="utf-8").removesuffix("\n")]


@pytest.mark.parametrize("name", ["a.xml", "a", "a.zip.gz"])
def test_to_write_an_unknown_suffix_is_told_which_are_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=r"known are .*\.conll, \.bio, .*\.jsonl, .*\.txt.*, or give the format: "):
        write_examples([ROME], tmp_path / name)


def test_an_unknown_format_is_told_which_are_known(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("a")
    with pytest.raises(DataError, match="unknown format 'xml'; known are datasets, brat, .*jsonl, .*text"):
        read_examples(path, "xml")


@pytest.mark.parametrize("name", ["a.jsonl", "a.conll", "a.txt", "folder"])
def test_refuses_a_missing_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert str(caught.value) == f"{path}: no such file or folder"


@pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b"\n \r\n"])
@pytest.mark.parametrize("suffix", [".jsonl", ".conll", ".txt"])
def test_refuses_an_empty_file(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    for read in (read_examples, read_texts):
        with pytest.raises(DataError) as caught:
            read(path)
        assert str(caught.value) == f"{path}: holds no text; at least one is needed"


@pytest.mark.parametrize("suffix", [".jsonl", ".conll", ".txt"])
def test_refuses_another_encoding(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    good = {".jsonl": '{"text": "a"}\n', ".conll": "a O\n", ".txt": "a\n"}[suffix]
    bad = good.replace("a", "é")
    path.write_bytes(good.encode() + bad.encode("latin-1"))
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert str(caught.value).startswith(f"{path}:2: not UTF-8 (byte 0xe9 at position ")
    path.write_bytes((good + bad).encode("utf-16"))  # Windows says so at its beginning
    assert "".join(read_texts(path)).replace(" ", "") == "aé"
    path.write_bytes((good + bad).encode("utf-16-le"))
    with pytest.raises(DataError, match="looks like UTF-16 without a byte order mark; convert it to UTF-8 first"):
        read_examples(path)


def test_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is a folder without dataset_info\.json; name a file, or a folder of BRAT"):
        read_examples(tmp_path)
    with pytest.raises(DataError, match=r"cannot be read \(Is a directory\)"):
        read_examples(tmp_path, "jsonl")
    with pytest.raises(DataError, match=r"cannot be written \(Is a directory\)"):
        write_examples([ROME], tmp_path, "jsonl")


def test_a_folder_that_cannot_be_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        write_examples([ROME], tmp_path / "file" / "a.jsonl")


def test_what_fails_midway_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_examples([ROME], path)
    with pytest.raises(DataError):
        write_examples([Example("new"), Example("bad", (Entity(0, 9, "x"),))], path)
    assert read_examples(path) == [ROME]
    assert list(tmp_path.iterdir()) == [path]


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_examples((example for example in [ROME]), tmp_path / "deep" / "er" / "a.jsonl")
    assert read_examples(str(tmp_path / "deep" / "er" / "a.jsonl")) == [ROME]


@given(st.lists(st.text().filter(lambda text: text.strip() and "\n" not in text and text[-1] != "\r"), min_size=1))
def test_plain_text_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("text") / "a.txt"
    write_examples([Example(text) for text in texts], path)
    assert read_texts(path) == texts
    assert read_examples(path) == [Example(text) for text in texts]


def test_plain_text_with_carriage_returns_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone\r\n\r\n  two \u2028 still two\n\nthree".encode())
    assert read_texts(path) == ["one", "", "  two \u2028 still two", "", "three"]


@pytest.mark.parametrize(
    ("example", "reason"),
    [
        (ROME, "plain text cannot hold entities"),
        (Example("a\nb"), "has a line break"),
        (Example("a\r"), "has a line break"),
    ],
)
def test_plain_text_refuses_what_would_not_come_back(tmp_path: Path, example: Example, reason: str) -> None:
    with pytest.raises(DataError, match=f"example 1: .*{reason}"):
        write_examples([example], tmp_path / "a.txt")


def test_importing_is_light() -> None:
    heavy = {"datasets", "pyarrow", "spacy", "torch", "numpy", "zstandard"}
    code = f"import sys, samner.data; print(sorted({heavy} & set(sys.modules)))"
    source = str(Path(samner.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": source}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("part", ["train/news/wikineural/dev.jsonl", "target/wet_lab_protocols/unlabeled.jsonl"])
def test_reads_the_data_sets_of_the_project(shared_data: Path, part: str) -> None:
    examples = read_examples(shared_data / part)
    assert len(examples) >= 500
    assert [example.text for example in examples] == read_texts(shared_data / part)
    assert sum(len(example.entities) for example in examples) > 1000


def test_a_file_that_is_replaced_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        write_examples([Example("in Rome")], tmp_path / "a.jsonl")
    assert caplog.messages == [f"{tmp_path / 'a.jsonl'} is there and will be replaced"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda path: read_texts(3), "a path is a string or a pathlib.Path, not 3"),
        (lambda path: read_texts(path, 3), "unknown format '3'"),
        (lambda path: write_examples(None, path), "examples must be a list"),
        (lambda path: write_examples(ROME, path), "examples must be a list"),
        (lambda path: write_examples([ROME], 3), "a path is a string or a pathlib.Path, not 3"),
        (lambda path: write_examples([{"text": "a"}], path), "example 1: must be a samner.Example, not {'text': 'a'}"),
        (
            lambda path: write_examples([Example("a", ({"start": 0},))], path),
            r"entities\[0\]: must be a samner.Entity",
        ),
    ],
)
def test_wrong_arguments_are_named(call, message: str, tmp_path: Path) -> None:
    with pytest.raises(SamnerError, match=message):
        call(tmp_path / "a.jsonl")
    assert not list(tmp_path.iterdir())


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_examples([ROME], "~/a.jsonl")
    assert read_examples("~/a.jsonl") == [ROME] and (tmp_path / "a.jsonl").is_file()
