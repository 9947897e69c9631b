from __future__ import annotations

import json
from pathlib import Path
from typing import Any

GOOD = '{"id": 1, "text": "in Rome", "entities": [{"start": 3, "end": 7, "label": "city"}]}\n'


def test_check_counts_what_a_file_holds(samner: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD + '{"text": " ", "answer": "reject", "spans": []}\n')
    done = samner("data", "check", str(path))
    assert done.exit_code == 0
    assert "jsonl: 2 texts, 1 entity in 1" in done.stdout
    assert "1 text blank" in done.stdout and "1 text with labels that are not to be counted" in done.stdout
    assert "other fields: id, answer" in done.stdout
    done = samner("data", "check", str(path), "--json")
    said = json.loads(done.stdout)
    assert (said["texts"], said["labels"], said["problems"]) == (2, {"city": 1}, [])


def test_check_names_the_first_problems_and_leaves_with_1(samner: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    bad = GOOD.replace("7", "70")
    path.write_text(
        GOOD + bad + "no\n" + GOOD.replace('"end": 7', '"end": 6').replace('"start": 3', '"start": 2') + bad * 9
    )
    done = samner("data", "check", str(path))
    assert done.exit_code == 1
    assert f"problem: {path}:2: entities[0]: 3:70 lies outside" in done.stdout
    assert f"problem: {path}:3: not valid JSON" in done.stdout
    assert "problem: text 2: the entity 2:6 'city' begins or ends with a blank" in done.stdout
    assert "and 2 more problems" in done.stdout
    done = samner("data", "check", str(tmp_path / "none"))
    assert done.exit_code == 1 and "no such file" in done.stdout


def test_check_finds_spans_within_a_character(samner: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "cafe\\u0301", "entities": [{"start": 0, "end": 4, "label": "x"}]}\n')
    assert "the entity 0:4 'x' begins or ends within a character" in samner("data", "check", str(path)).stdout


def test_convert_replaces_no_file_unasked(samner: Any, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(GOOD)
    (tmp_path / "b.jsonl").write_text("mine")
    paths = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    refused = samner("data", "convert", *paths)
    assert refused.exit_code == 2 and "exists already" in refused.stderr and paths[1].read_text() == "mine"
    assert samner("data", "convert", *paths, "--force").exit_code == 0 and "Rome" in paths[1].read_text()
    assert "is what is read" in samner("data", "convert", paths[0], paths[0], "--force").stderr


def test_convert_keeps_meta_and_says_what_is_lost(samner: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD)
    for name, to in (("b.json", "label-studio"), ("c.conll", None), ("d.jsonl.gz", None)):
        extra = ["--to", to] if to else []
        done = samner("data", "convert", str(path), str(tmp_path / name), *extra)
        assert done.exit_code == 0 and "wrote 1 text to" in done.stderr
        back = samner("data", "convert", str(tmp_path / name), "-")
        assert json.loads(back.stdout) == {
            "id": 1,
            "text": "in Rome",
            "entities": [{"start": 3, "end": 7, "label": "city", "text": "Rome"}],
        }
    path.write_text(GOOD.replace('"in Rome"', '"in Rome!"').replace('"id"', '"source"'))
    done = samner("data", "convert", str(path), str(tmp_path / "c.conll"), "--force")
    assert "1 text will come back with other blanks" in done.stderr
    done = samner("data", "convert", str(path), str(tmp_path / "brat"), "--to", "brat")
    assert "brat does not hold source; left out" in done.stderr


def test_convert_names_an_unknown_format(samner: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(GOOD)
    done = samner("data", "convert", str(path), str(tmp_path / "b.xyz"))
    assert done.exit_code == 2 and "the suffix '.xyz' names no format; known are" in done.stderr
    done = samner("data", "convert", str(path), str(tmp_path / "b.txt"))
    assert done.exit_code == 2 and "plain text cannot hold entities" in done.stderr
