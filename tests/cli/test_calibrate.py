from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import pytest

from samner.task_model import TaskModel

DRUGS = ("Aspirin", "Ibuprofen", "Triptan", "Codeine")


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Texts in which the toy model finds too much: every third word it knows is not gold here."""
    chance, lines = random.Random(0), []
    for i in range(45):
        text = f"{DRUGS[i % 4]} relieves headache within {i} hours."
        spans = [(0, len(DRUGS[i % 4]), "drug"), (text.index("headache"), text.index("headache") + 8, "disease")]
        kept = [{"start": s, "end": e, "label": label} for s, e, label in spans if chance.random() < 0.7]
        lines.append(json.dumps({"text": text, "entities": kept}))
    path = tmp_path / "labelled.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_scores_and_thresholds_are_written_into_the_model(samner, saved_model: Path, labelled: Path, tmp_path: Path):
    model = tmp_path / "model"
    shutil.copytree(saved_model, model)
    result = samner("calibrate", model, labelled, "--plot", tmp_path / "plot.png", "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said["after"]["error"] < said["before"]["error"] and said["texts"] == 45
    loaded = TaskModel.load(model)
    assert loaded.threshold == said["threshold"] and loaded.thresholds == said["thresholds"]
    assert loaded.calibration is not None and loaded.calibration.record["method"] == "platt"
    shown = [e.score for e in loaded.predict(["Aspirin relieves headache within 3 hours."])[0]]
    assert shown and all(0.5 < score < 0.95 for score in shown)
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")

    result = samner("calibrate", model, labelled, "--method", "isotonic")
    assert result.exit_code == 0, result.stderr
    assert "by cross-validation" in result.stdout and "drug" in result.stdout
    assert TaskModel.load(model).calibration.record["method"] == "isotonic"


def test_what_cannot_be_done_leaves_the_model_as_it_is(samner, saved_model: Path, labelled: Path, tmp_path: Path):
    before = (saved_model / "manifest.json").read_bytes()
    few = tmp_path / "few.jsonl"
    few.write_text("\n".join(labelled.read_text().splitlines()[:6]))
    for arguments, message in (
        ([few], "too little to calibrate on"),
        ([labelled, "--method", "beta"], "method must be platt or isotonic, not 'beta'"),
        ([labelled, "--plot", tmp_path / "plot.gif"], "a plot is written as"),
        ([tmp_path / "none.jsonl"], "none.jsonl"),
    ):
        result = samner("calibrate", saved_model, *arguments)
        assert result.exit_code == 2 and message in result.stderr.splitlines()[-1]
    assert (saved_model / "manifest.json").read_bytes() == before


def test_a_folder_that_is_not_to_be_written_to_is_refused_before_the_work(samner, saved_model, labelled, monkeypatch):
    access = os.access  # root may write anywhere
    monkeypatch.setattr("os.access", lambda path, mode, **how: not mode & os.W_OK and access(path, mode, **how))
    result = samner("calibrate", saved_model, labelled)
    assert result.exit_code == 2
    [said] = result.stderr.splitlines()
    assert said.startswith(
        f"error: {saved_model}/manifest.json: cannot be written, as its folder {saved_model} is not"
    )
