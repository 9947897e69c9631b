from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import grimp
import pytest
import torch

from samner.entities import EntityType
from samner.errors import ModelError, SamnerError
from samner.export import export_task_model
from samner.files import write_json
from samner.runtime import READER, ExportedModel
from samner.subwords import pad
from samner.task_model import Merge, TaskModel
from samner.thresholds import Calibration, Curve

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ROOT = Path(__file__).parents[1]
TEXTS = [
    "Aspirin relieves headache within hours.",
    "",
    # longer than a window; nothing in it is said twice, as spans of equal score are told apart by rounding
    "Café ☕: Ada Moreno scored twice for Harbour City, while a naïve résumé-writer (aged 41) cheered loudly from his "
    "wooden seat; rain fell on Monday and nobody in Lisbon complained.",
    "one",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TaskModel:
    """A union of two random task models over a tiny random sentence encoder that reads sixteen tokens."""
    from transformers import BertConfig, BertModel

    from samner.backbones.encoder.backbone import EncoderBackbone
    from samner.embedding import MINILM, sentence_encoder, sentence_encoder_path

    folder = tmp_path_factory.mktemp("encoder")
    shutil.copy(Path(sentence_encoder_path(MINILM)) / "tokenizer.json", folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    bert = BertModel(
        BertConfig(vocab_size=sentence_encoder().tokenizer.get_vocab_size(), initializer_range=0.5, **sizes)
    )
    bert.save_pretrained(folder)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 16})

    backbone = EncoderBackbone(str(folder))
    backbone.heads.bias.data.fill_(0.0)
    backbone.novelty = 2.0
    backbone.save(folder / "base")
    merges = {}
    torch.manual_seed(2)  # of which something is found, and no score lies on a threshold
    for name in ("similarity", "sampling"):
        vectors = {module: torch.randn(shape) / 2 for module, shape in backbone.module_shapes().items()}
        merges[name] = Merge({name: 1.0}, f"task-{name}", ("drug", f"taught to {name}"))
        backbone.add_task_model(f"task-{name}", vectors, merges[name].types)
    types = (EntityType("drug"), EntityType("disease", "an illness"))
    return TaskModel(backbone, folder / "base", types, "union", merges, {}, {}, threshold=0.6)


@pytest.fixture(scope="module")
def exported(model: TaskModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That model as a graph."""
    calibrated = replace(
        model,
        thresholds={"drug": 0.55},
        calibration=Calibration(Curve((0.0, 0.5, 1.0), (0.0, 0.55, 1.0)), {"disease": Curve((0.1, 0.9), (0.3, 0.8))}),
    )
    folder = tmp_path_factory.mktemp("exported") / "onnx"
    manifest = _export(calibrated, folder)
    assert list(manifest["parts"]) == ["similarity", "sampling"]
    return folder


def _export(model: TaskModel, folder: Path, int8: bool = False):
    logging.disable(logging.DEBUG)  # pytest would keep what torch traces, which takes minutes
    try:
        return export_task_model(model, folder, "onnx", int8=int8)
    finally:
        logging.disable(logging.NOTSET)


def scores(predictions):
    return [{(e.key, e.found_by): e.score for e in its} for its in predictions]


@pytest.mark.parametrize("mode", ["union", "intersection", "similarity", "sampling"])
@pytest.mark.parametrize("labels", [None, ["court", "means of transport"]])
@pytest.mark.filterwarnings("ignore:the merge was chosen")
def test_finds_what_the_task_model_finds(
    model: TaskModel, exported: Path, mode: str, labels: list[str] | None
) -> None:
    other = ExportedModel.load(exported, threads=1)
    model = replace(model, thresholds=other.thresholds, calibration=other.calibration)
    for options in ({}, {"threshold": 0.7}, {"overlaps": "nested", "multi_label": True}, {"overlaps": "all"}):
        expected = scores(model.predict(TEXTS, labels, mode=mode, **options))
        found = scores(other.predict(TEXTS, labels, mode=mode, **options))
        assert any(expected)
        assert [its.keys() for its in found] == [its.keys() for its in expected]
        assert found == [pytest.approx(its, abs=1e-4) for its in expected]
    assert other.predict_entities(TEXTS[0], labels)[0].keys() >= {"start", "end", "text", "score", "found_by"}


def test_eight_bits_are_near(model: TaskModel, tmp_path: Path, exported: Path) -> None:
    _export(model, tmp_path / "int8", int8=True)
    small, whole = tmp_path / "int8" / READER, exported / READER
    assert small.stat().st_size < whole.stat().st_size / 2
    found = {e.key for e in ExportedModel.load(tmp_path / "int8").predict(TEXTS, threshold=0.5)[2]}
    expected = {e.key for e in model.predict(TEXTS, threshold=0.5)[2]}
    assert len(found & expected) > 0.7 * len(found | expected)


def test_neither_torch_nor_transformers(exported: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from samner.runtime import ExportedModel\n"
        f"ExportedModel.load({str(exported)!r}).predict(['Aspirin relieves headache.'], ['drug', 'something else'])\n"
        "print(sorted({'torch', 'transformers', 'sentence_transformers', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_command_line_reads_it(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text(TEXTS[0] + "\n")
    code = "import sys\nfrom samner.cli import main\ntry:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    command = [sys.executable, "-c", code, "extract", str(tmp_path / "texts.txt"), "--model", str(exported)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line, torch_is_loaded = done.stdout.splitlines()
    expected = ExportedModel.load(exported).predict_entities(TEXTS[0])
    assert json.loads(line) == {"text": TEXTS[0], "entities": expected}
    assert torch_is_loaded == "False"
    done = subprocess.run([*command, "--device", "cuda"], capture_output=True, text=True, check=False)
    assert "an exported model runs on the CPU, not on cuda" in done.stderr


def test_damage_is_named(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no model that 'samner export --to onnx' wrote"):
        ExportedModel.load(tmp_path)
    broken = Path(shutil.copytree(exported, tmp_path / "broken"))
    (broken / READER).write_bytes(b"oops")
    with pytest.raises(ModelError, match=r"model\.onnx: damaged or changed"):
        ExportedModel.load(broken)
    (broken / READER).unlink()
    with pytest.raises(ModelError, match=r"model\.onnx: missing"):
        ExportedModel.load(broken)
    shutil.copy(exported / READER, broken)
    manifest = json.loads((exported / "export.json").read_text())
    del manifest["mode"]
    (broken / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelError, match=r"export\.json: not an export's manifest \(KeyError: 'mode'\)"):
        ExportedModel.load(broken)
    for changed, message in (({"mode": "both"}, "unknown mode"), ({"format": 2}, "its format is 2")):
        (broken / "export.json").write_text(json.dumps(manifest | {"mode": "union"} | changed))
        with pytest.raises(ModelError, match=rf"export\.json: {message}"):
            ExportedModel.load(broken)


def test_what_cannot_be_exported(model: TaskModel, tmp_path: Path, lookup_backbone) -> None:
    with pytest.raises(SamnerError, match="--int8 is for --to onnx, not for --to fused"):
        export_task_model(model, tmp_path / "out", "fused", int8=True)
    with pytest.raises(SamnerError, match="are of adapters"):
        export_task_model(model, tmp_path / "out", "onnx", rank=8)
    assert list(tmp_path.iterdir()) == []


def test_pooling_is_the_mean_of_a_words_tokens(model: TaskModel) -> None:
    tokens = model.backbone.tokenize(["unaffable one"])
    pooling = pad(tokens, model.backbone.tokenizer).pooling()
    first, second = tokens[0].words
    assert pooling[0, 0].tolist() == pytest.approx([0, *[1 / first.cost] * first.cost, *[0] * (second.cost + 1)])
    assert pooling.sum(axis=2).tolist() == [[pytest.approx(1), pytest.approx(1)]]


def test_the_small_distribution_holds_what_the_runtime_imports() -> None:
    project = tomllib.loads((ROOT / "packaging" / "runtime" / "pyproject.toml").read_text())
    held = project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].values()
    graph = grimp.build_graph("samner", exclude_type_checking_imports=True, cache_dir=None)
    needed = {"samner", "samner.runtime", *graph.find_upstream_modules("samner.runtime")}
    paths = {module.replace(".", "/") for module in needed - {"samner"}}
    places = {path if (ROOT / "src" / path).is_dir() else f"{path}.py" for path in paths}
    assert {place for place in held if Path(place).name not in ("LICENSE", "py.typed", "__init__.py")} == places
    listed = (ROOT / "packaging" / "runtime" / "requirements.txt").read_text().splitlines()
    assert [line for line in listed if not line.startswith("#")] == project["project"]["dependencies"]
    assert project["project"]["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
