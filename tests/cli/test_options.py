from __future__ import annotations

import os

import pytest

from samner.cli.options import Thresholds, check_output_file, check_output_folder, labels_given, labels_needed
from samner.entities import EntityType
from samner.errors import SamnerError


def test_labels_are_parted_by_commas():
    assert labels_given("person, work of art", None) == (EntityType("person"), EntityType("work of art"))
    assert labels_given(None, None) is None


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", "person\n\nnationality, religious or political group\n", ["", ""]),
        ("a.txt", "drug: a substance that heals\nC:drive\n", ["a substance that heals", ""]),
        ("a.json", '["person", "nationality, religious or political group"]', ["", ""]),
        ("a.json", '{"drug": "a substance: it heals", "person": ""}', ["a substance: it heals", ""]),
        ("a.txt", "\ufeffperson\r\norganization\r\n", ["", ""]),
        ("a.yaml", "drug: 'a substance: it heals'\nperson:\n", ["a substance: it heals", ""]),
        ("a.yml", "- person\n- nationality, religious or political group\n", ["", ""]),
    ],
)
def test_labels_from_a_file(tmp_path, name, content, expected):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8", newline="")
    types = labels_given(None, path)
    assert types is not None
    assert [t.description for t in types] == expected
    assert not any(t.name.startswith("\ufeff") or (":" in t.name and t.name != "C:drive") for t in types)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", "at least one label"),
        ("a.txt", b"person\nperson\n", "'person' is given twice"),
        ("a.txt", b"caf\xe9\n", "not UTF-8"),
        ("a.json", b"[", "not valid JSON"),
        ("a.json", b'"person"', "must hold a list of names"),
        ("a.json", b'[{"name": "person"}]', "must hold a list of names"),
        ("a.json", b'{"person": 3}', "must hold a list of names"),
        ("a.json", b'["  "]', "not blank"),
        ("a.yaml", b"drug: a\ndrug: b\n", "the key 'drug' is given twice"),
        ("a.yaml", b"- [drug]\n", "must hold a list of names"),
        ("a.csv", b"person", "is a .txt, a .yaml or a .json"),
    ],
)
def test_a_wrong_file_of_labels(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SamnerError, match=message) as caught:
        labels_given(None, path)
    assert str(path) in str(caught.value)


def test_wrong_labels(tmp_path):
    with pytest.raises(SamnerError, match="not both"):
        labels_given("a", tmp_path / "a.txt")
    with pytest.raises(SamnerError, match=r"cannot be read \(No such file"):
        labels_given(None, tmp_path / "a.txt")
    with pytest.raises(SamnerError, match="^--labels: .*not blank"):
        labels_given("a,,b", None)
    with pytest.raises(SamnerError, match="--labels person,organization"):
        labels_needed(None, None)


def test_thresholds_of_all_and_of_some_labels():
    names = ["drug", "a=b"]
    assert Thresholds.given(None).of(names) is None
    assert Thresholds.given(["0.3"]).of(names) == 0.3
    assert Thresholds.given(["a=b=0.4"]).of(names) == {"a=b": 0.4}
    assert Thresholds.given(["drug=0.4", "0.3"]).of(names) == {"drug": 0.4, "a=b": 0.3}
    assert Thresholds.given(["drug=0.4", "0.3"]).of(["a=b"], some=True) == {"a=b": 0.3}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["high"], "must be a number between 0 and 1 .exclusive., or LABEL=NUMBER, not 'high'"),
        (["drug=1"], "not 'drug=1'"),
        (["=0.5"], "names no label"),
        (["0.5", "0.6"], "--threshold 0.6: is given twice"),
        (["river=0.5"], "names the label 'river'; the labels are drug, disease"),
    ],
)
def test_wrong_thresholds(given, message):
    with pytest.raises(SamnerError, match=message):
        Thresholds.given(given).of(["drug", "disease"])


def test_where_output_can_go(tmp_path):
    check_output_file(tmp_path / "new.jsonl")
    check_output_folder(tmp_path / "new")
    old = tmp_path / "old.jsonl"
    old.touch()
    check_output_file(old, force=True)
    with pytest.raises(SamnerError, match=r"old\.jsonl exists already; name another file, remove it, or replace it"):
        check_output_file(old)
    os.mkfifo(tmp_path / "fifo")
    for wrong, message in (
        (tmp_path / "no" / "a.jsonl", "there is no folder"),
        (tmp_path, "is a folder"),
        (tmp_path / "fifo", "not a plain file"),
    ):
        with pytest.raises(SamnerError, match=message):
            check_output_file(wrong)
    with pytest.raises(SamnerError, match="is what is read"):
        check_output_file(old, tmp_path / "." / "old.jsonl")
    with pytest.raises(SamnerError, match="exists already"):
        check_output_folder(tmp_path)
    with pytest.raises(SamnerError, match="there is no folder"):
        check_output_folder(tmp_path / "no" / "model")
    (tmp_path / "dangling").symlink_to("nowhere")
    for check in (check_output_file, check_output_folder):
        with pytest.raises(SamnerError, match="dangling exists already"):
            check(tmp_path / "dangling")
