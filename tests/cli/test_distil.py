from __future__ import annotations

import json
from pathlib import Path

import pytest

from samner.task_model import TaskModel

FAST = ("--option", "steps=2", "--option", "rank=2", "--option", "evaluations=1")


@pytest.fixture
def unlabelled(tmp_path: Path) -> Path:
    drugs, people = ("Aspirin", "Ibuprofen", "Codeine"), ("Ada Moreno", "Omar Haddad", "Ines Roth")
    lines = [f"{drugs[i % 3]} relieves {('headache', 'fever')[i % 2]} within {i} hours." for i in range(40)]
    lines += [f"{people[i % 3]} scored {i} times for Rovers on Sunday." for i in range(40)]
    path = tmp_path / "unlabelled.txt"
    path.write_text("\n".join(lines))
    return path


def test_from_texts_to_a_model_that_extract_and_export_take(
    samner, saved_model: Path, tiny_pool: Path, unlabelled: Path, tmp_path: Path
) -> None:
    fast = tmp_path / "fast"
    result = samner("distil", saved_model, unlabelled, "-o", fast, "--pool", tiny_pool, *FAST)
    assert result.exit_code == 0, result.stderr
    assert "found" in result.stderr and "held out" in result.stderr and "agreement with model on 20" in result.stdout
    assert not (tmp_path / "fast.run").exists()
    assert "Distilled from model" in (fast / "README.md").read_text("utf-8")
    result = samner("extract", "--model", fast, unlabelled, "-o", tmp_path / "found.jsonl")
    assert result.exit_code == 0, result.stderr
    lines = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text("utf-8").splitlines()]
    assert {finder for line in lines for e in line["entities"] for finder in e["found_by"]} == {"distilled"}
    result = samner("export", fast, "-o", tmp_path / "adapters", "--to", "peft", "--rank", "2")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "adapters" / "distilled" / "adapter_config.json").is_file()


def test_an_interrupted_run_goes_on_with_its_answers(
    samner, saved_model: Path, tiny_pool: Path, unlabelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("distil", saved_model, unlabelled, "-o", tmp_path / "fast", "--pool", tiny_pool, *FAST)
    with monkeypatch.context() as patch:
        patch.setattr("samner.distillation.teach", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        result = samner(*command)
    assert result.exit_code == 130 and "--resume goes on" in result.stderr
    result = samner(*command)
    assert result.exit_code == 2 and "go on with --resume, or remove it" in result.stderr
    with monkeypatch.context() as patch:
        patch.setattr(TaskModel, "candidates", lambda *_, **__: pytest.fail("asked again"))
        patch.setattr(TaskModel, "predict", lambda self, texts, **_: [[] for _ in texts])
        result = samner(*command, "--resume")  # the answers are there; a pupil that is mute agrees on nothing
    assert result.exit_code == 2 and "agrees with its teacher on no entity" in result.stderr
    result = samner(*command, "--resume", "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["teacher"]["name"] == "model" and said["held_out"] == 20 and said["labels"]


def test_what_cannot_be_done_is_said_in_a_line(
    samner, saved_model: Path, tiny_pool: Path, unlabelled: Path, texts: Path, tmp_path: Path
) -> None:
    out = ("-o", tmp_path / "fast", "--pool", tiny_pool)
    for arguments, message in (
        ((saved_model, texts, *out), "different texts are too few to learn from: at least 50 are needed"),
        ((saved_model, unlabelled, *out[2:], "-o", saved_model), "exists already"),
        ((tmp_path / "none", unlabelled, *out), "manifest.json: no such file"),
        ((saved_model, tmp_path / "none.txt", *out), "none.txt"),
        ((saved_model, unlabelled, *out, "--labels", "theorem"), "is sure of"),
        ((saved_model, unlabelled, *out, "--labels", ","), "not blank"),
        ((saved_model, unlabelled, *out, "--option", "paces=3"), "--option"),
        ((saved_model, unlabelled, *out, "--option", "seed=3"), "set by --seed"),
        ((saved_model, unlabelled, *out, "--least", "0"), "greater than or equal to 1"),
    ):
        result = samner("distil", *arguments)
        assert result.exit_code == 2 and message in result.stderr.splitlines()[-1], result.stderr
        assert not (tmp_path / "fast").exists()
        if (run := tmp_path / "fast.run").exists():
            for file in run.iterdir():
                file.unlink()
            run.rmdir()
