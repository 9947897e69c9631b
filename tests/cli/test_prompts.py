from __future__ import annotations

import json
from pathlib import Path


def test_list(samner):
    result = samner("prompts", "list")
    assert (result.exit_code, result.stderr) == (0, "")
    rows = [line.split()[:3] for line in result.stdout.splitlines()]
    assert rows == [
        ["prompt", "version", "answer"],
        ["json-by-type", "1", "object"],
        ["json-pairs", "1", "pairs"],
        ["json-short", "2", "object"],
        ["one-type", "1", "list"],
    ]


def test_list_json(samner):
    said = json.loads(samner("prompts", "list", "--json").stdout)
    assert [prompt["name"] for prompt in said] == ["json-by-type", "json-pairs", "json-short", "one-type"]
    assert set(said[0]) == {"name", "version", "description", "format", "system", "question"}


def test_show(samner):
    result = samner("prompts", "show", "json-by-type")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("json-by-type, version 1: One question for all types;")
    assert "\n{types}\n" in result.stdout
    assert result.stdout.endswith('JSON:\n{"person": ["Ada Lovelace"], "city": ["London"]}\n')
    assert samner("prompts", "show", "one-type").stdout.count("For example:") == 2


def test_show_a_file_as_json(samner, tmp_path: Path):
    shown = samner("prompts", "show", "one-type", "--json").stdout
    path = tmp_path / "mine.yaml"
    path.write_text(shown, encoding="utf-8")  # JSON is YAML, too
    assert samner("prompts", "show", path, "--json").stdout == shown


def test_show_nothing(samner):
    result = samner("prompts", "show", "nobody")
    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        result.stderr
        == "error: no prompt 'nobody'; give a YAML file, or one of json-by-type, json-pairs, json-short, one-type\n"
    )
