from __future__ import annotations

import json
from pathlib import Path

import pytest

from samner.task_model import TaskModel

LABELS = "drug,disease,person,team"


def test_saves_a_model_and_says_what_was_chosen(samner, tiny_pool: Path, texts: Path, tmp_path: Path):
    out = tmp_path / "model"
    result = samner("adapt", texts, "--pool", tiny_pool, "--labels", LABELS, "--experts", 1, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("expert")
    assert "merged for similarity (ties): " in result.stdout
    assert f"next: samner extract --model {out}" in result.stderr
    model = TaskModel.load(out)
    assert [t.name for t in model.types] == LABELS.split(",")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "texts.jsonl"]


def test_a_tilde_that_the_shell_left_alone_is_the_home_folder(
    samner, tiny_pool: Path, texts: Path, tmp_path: Path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    samner("adapt", texts, "--pool", tiny_pool, "--labels", "drug", "--mode", "similarity", "--out=~/model")
    assert (tmp_path / "model" / "manifest.json").is_file()


def test_json(samner, tiny_pool: Path, texts: Path, tmp_path: Path):
    labels = tmp_path / "labels.json"
    labels.write_text('{"drug, or other remedy": "a substance", "team": ""}')
    options = ["--labels-file", labels, "--mode", "economy", "--density", 0.4, "--seed", 7, "--threshold", 0.3]
    result = samner("adapt", texts, "--pool", tiny_pool, *options, "-o", tmp_path / "model", "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["labels"][0] == {"name": "drug, or other remedy", "description": "a substance"}
    assert said["merges"] == {"economy": {"medicine": 2.0, "sports": 2.0}}
    assert set(said["selections"]) == {"similarity", "sampling"}
    assert set(said["selections"]["similarity"]["cosine"]) == {"medicine", "sports"}
    assert said["settings"]["parameters"]["density"] == 0.4
    assert (said["mode"], said["threshold"], said["settings"]["seed"]) == ("economy", 0.3, 7)


def test_any_parameter_of_any_method(samner, tiny_pool: Path, texts: Path, tmp_path: Path):
    options = ["--method", "della", "--density", 0.5, "--param", "epsilon=1e-1", "--param", "lam=2", "--seed", 3]
    command = ["adapt", texts, "--pool", tiny_pool, "--labels", LABELS, "--mode", "similarity", "--json"]
    result = samner(*command, *options, "-o", tmp_path / "model")
    assert result.exit_code == 0, result.stderr
    parameters = json.loads(result.stdout)["settings"]["parameters"]
    assert parameters == {"density": 0.5, "epsilon": 0.1, "lam": 2, "seed": 3}


def test_a_threshold_of_a_label_is_saved(samner, tiny_pool: Path, texts: Path, tmp_path: Path):
    command = ["adapt", texts, "--pool", tiny_pool, "--labels", LABELS, "-o", tmp_path / "model", "--json"]
    result = samner(*command, "--threshold", "drug=0.3")
    assert json.loads(result.stdout)["thresholds"] == TaskModel.load(tmp_path / "model").thresholds == {"drug": 0.3}
    result = samner(*command[:-3], "-o", tmp_path / "other", "--threshold", "river=0.3")
    assert result.exit_code == 2 and "names the label 'river'" in result.stderr


def test_the_help_names_every_method(samner):
    from samner.merging import methods

    said = samner("adapt", "--help").stdout
    assert [name for name in methods() if name not in said] == []


def test_stdin(samner, tiny_pool: Path, tmp_path: Path):
    command = ["adapt", "-", "--format", "text", "--pool", tiny_pool, "--labels", LABELS, "--mode", "similarity"]
    result = samner(*command, "-o", tmp_path / "model", stdin="Ada Moreno scored twice.\n")
    assert result.exit_code == 0, result.stderr
    assert "F1" not in result.stdout
    assert "read 1 text from standard input" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--labels", "a"], "--out"),
        (["--labels", "a", "-o", "."], "exists already"),
        (["--labels", "a", "-o", "no/such/model"], "there is no folder no/such"),
        (["-o", "model"], "say what to look for"),
        (["--labels", "a", "-o", "model", "--pool", "no-pool"], "no pool at 'no-pool'"),
        (["--labels", "a", "-o", "model", "--density", "0"], "density must be above 0"),
    ],
)
def test_wrong_arguments(samner, tiny_pool: Path, texts: Path, tmp_path: Path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = samner("adapt", texts, *([] if "--pool" in arguments else ["--pool", tiny_pool]), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["texts.jsonl"]


def test_an_interrupt_leaves_nothing(samner, tiny_pool: Path, texts: Path, tmp_path: Path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("samner.task_model.versions", interrupt)  # in the middle of saving
    result = samner("adapt", texts, "--pool", tiny_pool, "--labels", LABELS, "-o", tmp_path / "model")
    assert result.exit_code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["texts.jsonl"]
