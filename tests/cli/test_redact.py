from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_what_was_taken_out_comes_back_with_the_key(samner, saved_model: Path, tmp_path: Path) -> None:
    text = "Aspirin relieves headache within hours. Write to ada@example.org."
    given = tmp_path / "given.jsonl"
    given.write_text(json.dumps({"text": text, "id": 7, "author": "Ada"}) + "\n")
    out, key = tmp_path / "clean.jsonl", tmp_path / "key"
    encrypt = ["redact", given, "--model", saved_model, "--operator", "encrypt", "--key", key, "--new-key"]
    result = samner(*encrypt, "-o", out, "--keep", "id")
    assert result.exit_code == 0, result.stderr
    assert "redacted 3 places in 1 text" in result.stderr
    [line] = map(json.loads, out.read_text().splitlines())
    assert (
        line["id"] == 7 and "author" not in line and "Aspirin" not in out.read_text() and "ada@" not in out.read_text()
    )
    assert [e["label"] for e in line["entities"]] == ["DRUG", "DISEASE", "EMAIL_ADDRESS"]
    result = samner("redact", out, "--restore", "--key", key)
    assert json.loads(result.stdout) == {"text": text, "entities": []}
    assert "restored 1 of 1 text" in result.stderr
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_text(out.read_text().replace("<EMAIL_ADDRESS:gAAAA", "<EMAIL_ADDRESS:gBAAA"))
    result = samner("redact", damaged, "--restore", "--key", key)
    assert result.exit_code == 1
    assert (
        "error: not restored: 1 token that lost a part since 'encrypt' wrote them; the first is in text 1"
        in result.stderr
    )
    assert json.loads(result.stdout)["text"].startswith("Aspirin relieves headache within hours. Write to <EMAIL_")
    result = samner("redact", given, "--restore", "--key", key)
    assert "warning: nothing is encrypted there" in result.stderr
    result = samner("redact", "-", "--patterns-only", stdin="Write to ada@example.org.")
    assert json.loads(result.stdout)["text"] == "Write to <EMAIL_ADDRESS>."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "say what to look for: --labels person,organization, --model FOLDER, or --patterns-only"),
        (["--labels", "a", "--patterns-only"], "--patterns-only asks no model"),
        (["--labels", "a", "--model", "m"], "a saved model brings its labels"),
        (["--operator", "encrypt", "--patterns-only"], "give the file of the key: --key FILE"),
        (["--restore"], "give the file of the key: --key FILE"),
        (["--patterns", "passport", "--patterns-only"], "unknown pattern 'passport'"),
        (["--patterns-only", "--threshold", "drug=0.5"], "--patterns-only asks no model; leave out --threshold"),
        (["--patterns-only", "--patterns", "none"], "leave nothing to look for"),
        (["--model", "m", "--pool", "builtin"], "--pool is for adapting"),
        (["--restore", "--key", "k", "--labels", "a"], "--labels is for redacting"),
        (["--patterns-only", "--key", "k"], "--key is for --operator encrypt or hash, not for replace"),
    ],
)
def test_wrong_options_are_refused(samner, options: list[str], message: str) -> None:
    result = samner("redact", "-", *options, stdin="a text")
    assert result.exit_code == 2 and message in result.stderr


def test_no_key_is_made_before_the_texts_can_be_read(samner, tmp_path: Path) -> None:
    given, key = tmp_path / "given.jsonl", tmp_path / "key"
    given.write_text('{"text": ')
    asked = ["redact", given, "--patterns-only", "--operator", "encrypt", "--key", key, "--new-key"]
    assert samner(*asked).exit_code == 2 and not key.exists()
    given.write_text('{"text": "Write to ada@example.org."}')
    assert samner(*asked).exit_code == 0 and key.exists()
    assert "exists already; leave out --new-key to use it" in samner(*asked).stderr
