from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from samner.task_model import TaskModel

TEXT = "Aspirin relieves headache within hours."


def test_peft(samner, saved_model: Path, tmp_path: Path):
    out = tmp_path / "out"
    result = samner("export", saved_model, "--to", "peft", "--rank", 384, "-o", out)
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "similarity and sampling: 36 modules as an adapter of rank 384, exact\n"
    assert result.stderr == f"wrote {out}\n"
    model = TaskModel.load(saved_model)
    expected = model.predict_entities(TEXT)
    assert expected
    model.backbone.add_expert("exported", out / "similarity")
    found = model.backbone.predict([TEXT], model.types, ["exported"], 0.01)["exported"][0]
    scores = {entity.key: entity.score for entity in found}
    for entity in expected:
        assert scores[entity["start"], entity["end"], entity["label"]] == pytest.approx(entity["score"], abs=1e-3)
    card = (out / "README.md").read_text()
    assert 'backbone.add_expert("similarity", Path("similarity"))' in card
    assert "medicine x 1, sports x 1" in card


def test_fused_gives_the_same_predictions(samner, saved_model: Path, tmp_path: Path):
    from samner.backbones import load_backbone

    result = samner("export", saved_model, "--to", "fused", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "similarity and sampling: 36 modules, exact\n"
    model, fused = TaskModel.load(saved_model), load_backbone(tmp_path / "out" / "similarity")
    name = model.merges["similarity"].model
    asked = [TEXT], model.types
    assert fused.predict(*asked, ["base"], 0.1)["base"] == model.backbone.predict(*asked, [name], 0.1)[name]


def test_json(samner, saved_model: Path, tmp_path: Path):
    out = tmp_path / "out"
    result = samner("export", saved_model, "--to", "peft", "--max-error", 0.9, "-o", out, "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said.pop("out") == str(out)
    assert said == json.loads((out / "export.json").read_text())
    assert said["parts"]["similarity"]["report"]["relative_error"] <= 0.9
    assert (said["mode"], said["base"]["family"]) == ("union", "encoder")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--to", "vllm", "--rank", 8],
            "vLLM runs language models that answer in text only; export this one to peft or fused",
        ),
        (
            ["--to", "gguf"],
            "llama.cpp runs language models that answer in text only; export this one to peft or fused",
        ),
        (["--to", "onnx", "--rank", 8], "are of adapters"),
        (["--to", "tflite"], "unknown --to 'tflite'; known are peft, fused, vllm, gguf, onnx"),
        (["--to", "peft"], "give --rank"),
        (["--to", "fused", "--dtype", "float16"], "are of adapters"),
        (["--to", "fused", "--base", "."], "--base is for models of a language model"),
        (["--to", "fused", "-o", "."], "exists already"),
    ],
)
def test_wrong_options_are_told_before_anything_is_loaded(
    samner, saved_model: Path, tmp_path: Path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(TaskModel, "load", lambda *_: pytest.fail("loaded"))
    result = samner("export", saved_model, *options, *([] if "-o" in options else ["-o", "out"]))
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_damaged_models_are_named(samner, saved_model: Path, tmp_path: Path):
    result = samner("export", tmp_path, "--to", "fused", "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "manifest.json: no such file" in result.stderr
    broken = Path(shutil.copytree(saved_model, tmp_path / "broken"))
    weights = next(broken.glob("task-*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-4] + b"oops")
    result = samner("export", broken, "--to", "fused", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert f"error: {weights}: damaged or changed" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_an_interrupt_leaves_nothing(samner, saved_model: Path, tmp_path: Path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("samner.export.folders.task_model_card", interrupt)
    result = samner("export", saved_model, "--to", "fused", "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(samner, saved_model: Path, tmp_path: Path, monkeypatch):
    from safetensors import SafetensorError

    def fail(tensors, path):
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("samner.backbones.encoder.backbone.save_file", fail)
    result = samner("export", saved_model, "--to", "fused", "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "base.safetensors: cannot be written (I/O error: No space left on device" in result.stderr
    assert list(tmp_path.iterdir()) == []
