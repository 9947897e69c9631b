"""A pool over a tiny random language model through every stage, by the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from samner import ExpertPool, TaskModel
from samner.embedding import MINILM, embed_domain
from samner.files import read_json, write_json
from samner.pool import ExpertCard
from tests.command_line import done, samner

TEXTS = ["Aspirin relieves headache within hours.", "Ada Moreno left Rovers.", "", "Rovers lost 3:2 in Basel."]
DOMAINS = {"medicine": "Aspirin relieves headache.", "sports": "Rovers lost.", "places": "Basel lies on the Rhine."}


@pytest.fixture(scope="module")
def pool(lm: Path, make_expert: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool that the command line made, with random experts."""
    root = tmp_path_factory.mktemp("lm-pool")
    done("pool", "create", root / "pool", "--model", lm)
    card = root / "pool" / "base" / "base.json"
    write_json(card, {**read_json(card), "max_new_tokens": 40, "threshold": 1e-6})
    fingerprint = ExpertPool.load(root / "pool").backbone.fingerprint
    for seed, (name, text) in enumerate(DOMAINS.items()):
        folder = make_expert(seed, r=2)
        (folder / "README.md").unlink()
        embedding = tuple(map(float, embed_domain([text])))
        ExpertCard(name=name, base=fingerprint, types=("person",), embedding=embedding, embedding_model=MINILM).write(
            folder
        )
        done("pool", "add", root / "pool", folder)
    return root / "pool"


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("texts") / "texts.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    return file


@pytest.fixture(scope="module")
def model(pool: Path, texts: Path) -> Path:
    folder = texts.parent / "model"
    done("adapt", texts, "--pool", pool, "--labels", "person,drug", "--experts", 2, "-o", folder)
    return folder


def test_the_pool_is_sound(pool):
    assert json.loads(done("pool", "verify", pool, "--json")) == {
        "ok": True,
        "sound": ["medicine", "places", "sports"],
        "problems": [],
    }


def test_selection(pool, texts):
    told = json.loads(done("select", texts, "--pool", pool, "--labels", "person,drug", "--experts", 2, "--json"))
    assert set(told["sampling"]["ranking"]) == set(DOMAINS)


def test_what_was_adapted_answers_the_same_when_loaded_again(pool, texts, model):
    once = done("extract", texts, "--pool", pool, "--labels", "person,drug", "--experts", 2)
    again = done("extract", texts, "--model", model)
    assert once == again
    lines = [json.loads(line) for line in again.splitlines()]
    assert [line["text"] for line in lines] == TEXTS
    entities = [(line["text"], entity) for line in lines for entity in line["entities"]]
    assert entities
    for text, entity in entities:
        assert text[entity["start"] : entity["end"]] == entity["text"]
        assert entity["aligned"] == "exact" and entity["found_by"]


def test_a_text_beyond_the_context_and_types_beyond_it(pool, model, tmp_path):
    long = tmp_path / "long.jsonl"
    long.write_text(json.dumps({"text": "Ada Moreno left Rovers. " * 100 + "A" * 3000}) + "\n")
    (line,) = map(json.loads, done("extract", long, "--model", model).splitlines())
    assert all(line["text"][e["start"] : e["end"]] == e["text"] for e in line["entities"])
    assert any(e["start"] > 1000 for e in line["entities"])
    labels = ",".join(f"a type of some length with the number {i}" for i in range(80))
    result = samner("extract", long, "--pool", pool, "--labels", labels, "--experts", 2)
    assert result.exit_code == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: a question of ") and "are more than the 512 that the model can read" in last


def test_export_fused_is_the_task_model(model, tmp_path):
    from transformers import AutoModelForCausalLM

    done("export", model, "--to", "fused", "-o", tmp_path / "out")
    loaded = TaskModel.load(model)
    name, merge = next(iter(loaded.merges.items()))
    fused: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / name)
    ids = torch.arange(5)[None]
    backbone: Any = loaded.backbone
    with torch.no_grad(), backbone.mixed.rows([merge.model]):
        assert torch.allclose(fused(ids).logits, backbone.model(ids).logits, atol=1e-4)


def test_export_to_vllm(model, tmp_path):
    done("export", model, "--to", "vllm", "--rank", 8, "-o", tmp_path / "out")
    base = str((model / "base" / "model").resolve())
    assert base in (tmp_path / "out" / "serve.sh").read_text()
    config = next((tmp_path / "out").glob("*/adapter_config.json"))
    assert read_json(config)["base_model_name_or_path"] == base
    assert read_json(config)["task_type"] == "CAUSAL_LM"


def test_export_to_gguf(model, tmp_path, monkeypatch):
    """With a converter that only looks at what it is given; llama.cpp's own is not part of the tests."""
    script = tmp_path / "llama.cpp" / "convert_hf_to_gguf.py"
    script.parent.mkdir()
    script.write_text(
        "import pathlib, sys\n"
        "source, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[3])\n"
        "for name in ('config.json', 'model.safetensors', 'tokenizer.json'):\n"
        "    assert (source / name).is_file()\n"
        "out.write_text('GGUF')\n"
    )
    monkeypatch.setenv("LLAMA_CPP", str(script.parent))
    done("export", model, "--to", "gguf", "-o", tmp_path / "out")
    assert list((tmp_path / "out").glob("*.gguf"))


def test_merging_experts_into_the_base(pool, tmp_path):
    arguments = ("--pool", pool, "--to", "fused", "-o", tmp_path / "out")
    done("merge", "medicine", "sports", *arguments)
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert (tmp_path / "out" / "tokenizer.json").is_file()


def test_wrong_options_of_pool_create(lm, pool, tmp_path):
    for arguments, message in [
        (["--prompt", "json-pairs"], "give --model"),
        (["--model", lm, "--from", pool], "give one or the other"),
        (["--model", lm, "--prompt", "no-such"], "no prompt 'no-such'"),
        (["--model", tmp_path], "cannot be loaded as a causal language model"),
        (["--model", "owner/name"], "owner/name: "),
        (["--model", tmp_path / "no.gguf"], "no.gguf: cannot be read (No such file or directory)"),
    ]:
        result = samner("pool", "create", tmp_path / "new", *arguments)
        assert result.exit_code == 2 and message in result.stderr.replace("\n", " "), result.stderr
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        ("model.safetensors", "model.safetensors: damaged or cut off ("),
        ("tokenizer.json", "model: cannot be loaded"),
    ],
)
def test_no_pool_is_made_over_half_a_model(lm, tmp_path, damaged, message):
    shutil.copytree(lm, tmp_path / "model")
    path = tmp_path / "model" / damaged
    path.write_bytes(path.read_bytes()[:-100])
    result = samner("pool", "create", tmp_path / "new", "--model", tmp_path / "model")
    assert result.exit_code == 2 and message in result.stderr.replace("\n", " "), result.stderr
    assert [one.name for one in tmp_path.iterdir()] == ["model"]


def test_a_prompt_of_ones_own(lm, tmp_path):
    prompt = tmp_path / "mine.yaml"
    prompt.write_text(
        "name: mine\nversion: 1\ndescription: x\nformat: list\nsystem: ''\nquestion: 'Which {type}? {text}'\n"
    )
    done("pool", "create", tmp_path / "pool", "--model", lm, "--prompt", prompt)
    prompt.unlink()
    backbone: Any = ExpertPool.load(tmp_path / "pool").backbone
    assert backbone.prompt.name == "mine"
    assert str(lm) not in (tmp_path / "pool" / "base" / "base.json").read_text()
