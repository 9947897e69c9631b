from __future__ import annotations

import json
from pathlib import Path

import pytest


def write(path: Path, *examples: tuple[str, list[tuple[int, int, str]]]) -> Path:
    lines = [
        {"text": text, "entities": [{"start": s, "end": e, "label": label} for s, e, label in entities]}
        for text, entities in examples
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    return write(tmp_path / "gold.jsonl", ("Ada lives in Paris.", [(0, 3, "person"), (13, 18, "city")]), ("Hm.", []))


@pytest.fixture
def predicted(tmp_path: Path) -> Path:
    return write(tmp_path / "out.jsonl", ("Ada lives in Paris.", [(0, 3, "person"), (13, 19, "city")]), ("Hm.", []))


def test_table(samner, gold: Path, predicted: Path):
    result = samner("evaluate", "--gold", gold, "--predicted", predicted)
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["2", "texts"]
    assert rows[2][:6] == ["strict", "0.500", "0.500", "0.500", "2", "2"]
    assert rows[3][:6] == ["string", "1.000", "1.000", "1.000", "2", "2"]
    assert ["city", "0.000", "0.000", "0.000", "1", "1"] in rows
    assert rows[-1] == ["another", "boundary", "1", "city", "(1)"]


def test_labels_that_are_mixed_up(samner, gold: Path, tmp_path: Path):
    other = write(tmp_path / "out.jsonl", ("Ada lives in Paris.", [(13, 18, "person")]), ("Hm.", [(0, 2, "city")]))
    result = samner("evaluate", "--gold", gold, "--predicted", other)
    assert [" ".join(line.split()) for line in result.stdout.splitlines()[-4:]] == [
        "mistake times most often",
        "another label 1 city as person (1)",
        "spurious 1 city (1)",
        "missed 1 person (1)",
    ]


def test_json_and_labels(samner, gold: Path, predicted: Path):
    command = ["evaluate", "--gold", gold, "--predicted", predicted, "--json"]
    said = json.loads(samner(*command).stdout)
    assert (said["texts"], said["strict"]["f1"], said["string"]["f1"]) == (2, 0.5, 1.0)
    assert said["mistakes"] == {"label": [], "boundary": {"city": 1}, "spurious": {}, "missed": {}}
    said = json.loads(samner(*command, "--labels", "person").stdout)
    assert list(said["per_type"]) == ["person"]
    assert said["strict"]["f1"] == 1.0


def test_labels_on_one_side_only_are_said(samner, gold: Path, tmp_path: Path):
    other = write(tmp_path / "out.jsonl", ("Ada lives in Paris.", [(0, 3, "Person")]), ("Hm.", []))
    result = samner("evaluate", "--gold", gold, "--predicted", other)
    assert result.exit_code == 0
    assert result.stderr == "only in predicted: Person\nonly in gold: city, person\n"


def test_a_label_with_a_line_break_stays_in_its_line(samner, gold: Path, tmp_path: Path):
    other = write(tmp_path / "out.jsonl", ("Ada lives in Paris.", [(0, 3, "per\nson")]), ("Hm.", []))
    result = samner("evaluate", "--gold", gold, "--predicted", other)
    assert result.stderr.splitlines()[0] == r"only in predicted: per\nson"


def test_conll_against_jsonl(samner, gold: Path, tmp_path: Path):
    conll = tmp_path / "out.conll"
    conll.write_text("Ada\tB-person\nlives\tO\nin\tO\nParis.\tB-city\n\nHm.\tO\n")
    result = samner("evaluate", "--gold", gold, "--predicted", conll)
    assert result.exit_code == 0, result.stderr


def test_wrong_arguments(samner, gold: Path, predicted: Path, tmp_path: Path):
    short = write(tmp_path / "short.jsonl", ("Ada lives in Paris.", []))
    other = write(tmp_path / "other.jsonl", ("Ada lives in Rome.", []), ("Hm.", []))
    none = write(tmp_path / "none.jsonl", ("Hm.", []))
    for arguments, message in (
        ([], "--gold"),
        (["--gold", gold], "--predicted"),
        (["--gold", gold, "--predicted", tmp_path / "no.jsonl"], "no such file"),
        (["--gold", "-", "--predicted", "-"], "only one of --gold and --predicted can be standard input"),
        (["--gold", gold, "--predicted", predicted, "--labels", "types.txt"], "give --labels-file types.txt"),
        (
            ["--gold", gold, "--predicted", predicted, "--labels", '{"drug": "a medicine"}'],
            "parted by commas, not JSON",
        ),
        (["--gold", gold, "--predicted", short], "has 2 texts but"),
        (["--gold", gold, "--predicted", other], "text 1 of"),
        (["--gold", gold, "--predicted", predicted, "--labels", "persn"], "'persn' occurs in neither file; there are"),
        (["--gold", none, "--predicted", none], "none.jsonl: no text has an entity, so there is nothing to score"),
        (["--gold", none, "--predicted", none, "--labels", "person"], "none.jsonl: no text has an entity"),
    ):
        result = samner("evaluate", *arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr


def test_gold_that_does_not_count_is_left_out(samner, tmp_path: Path):
    spans = [{"start": 0, "end": 3, "label": "x"}]
    gold, found = tmp_path / "gold.jsonl", tmp_path / "found.jsonl"
    records = [{"text": "Ada", "spans": spans}, {"text": "Bob", "spans": spans, "answer": "reject"}]
    gold.write_text("".join(json.dumps(record) + "\n" for record in records))
    found.write_text("".join(json.dumps({"text": text, "entities": spans}) + "\n" for text in ("Ada", "Bob")))
    result = samner("evaluate", "--gold", gold, "--predicted", found, "--json")
    assert json.loads(result.stdout)["strict"]["f1"] == 1
    assert f"left out 1 text of which {gold} says that its labels do not count" in result.stderr
