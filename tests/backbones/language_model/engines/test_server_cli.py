"""From a pool to union extraction over a server, by the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from samner import ExpertPool, TaskModel
from samner.embedding import MINILM, embed_domain
from samner.files import read_json, write_json
from samner.pool import ExpertCard
from tests.backbones.language_model.tiny_server import Fault, TinyServer, serving
from tests.command_line import done, samner

TEXTS = ["Aspirin relieves headache.", "", "Rovers lost 3:2 in Basel."]
DOMAINS = {"medicine": "Aspirin relieves headache.", "sports": "Rovers lost.", "places": "Basel lies on the Rhine."}
EXACT = 32
"""A rank at which the adapters of the tiny model lose nothing."""


@pytest.fixture(scope="module")
def pool(make_base: Any, make_expert: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "pool"
    ExpertPool.create(folder, make_base(max_new_tokens=24, threshold=1e-6))
    fingerprint = ExpertPool.load(folder).backbone.fingerprint
    for seed, (name, text) in enumerate(DOMAINS.items()):
        expert = make_expert(seed, r=2)
        embedding = tuple(map(float, embed_domain([text])))
        card = ExpertCard(name=name, base=fingerprint, types=("person",), embedding=embedding, embedding_model=MINILM)
        (expert / "README.md").unlink()
        card.write(expert)
        ExpertPool.load(folder).add(expert)
    return folder


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


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[TinyServer]:
    exported = model.parent / "exported"
    done("export", model, "--to", "vllm", "--rank", EXACT, "-o", exported)
    adapters = {folder.name: folder for folder in exported.iterdir() if folder.is_dir()}
    with serving(TinyServer(model / "base", adapters)) as running:
        yield running


def entities(lines: str) -> list[Any]:
    read = [json.loads(line)["entities"] for line in lines.splitlines()]
    for entity in (entity for entities in read for entity in entities):
        entity["score"] = pytest.approx(entity["score"], rel=1e-2)
    return read


def test_union_over_a_server_is_union_here(model, texts, server, tmp_path):
    slim = tmp_path / "slim"
    shutil.copytree(model, slim, ignore=shutil.ignore_patterns("*.safetensors"))
    here = done("extract", texts, "--model", model)
    assert entities(done("extract", texts, "--model", slim, "--device", server.url)) == entities(here)
    assert any(entities(here)) and len(entities(here)) == len(TEXTS)
    merges = TaskModel.load(model).merges
    assert {body["model"] for _, _, body in server.asked} == {
        next(name for name in merges if merges[name].model == merge.model) for merge in merges.values()
    }


def test_a_changed_file_is_noticed(model, texts, server, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(model, changed)
    card = changed / "base" / "base.json"
    write_json(card, {**read_json(card), "prompt": "json-pairs"})
    result = samner("extract", texts, "--model", changed, "--device", server.url)
    assert result.exit_code == 2 and "base.json: damaged or changed" in result.stderr


def test_a_pool_is_adapted_over_a_server(pool, texts, tmp_path):
    """Selection by sampling asks the experts there; the merge is made here and is the one that is made without."""
    adapters = {name: pool / "experts" / name for name in DOMAINS}
    arguments = ("adapt", texts, "--pool", pool, "--labels", "person,drug", "--experts", 2)
    with serving(TinyServer(pool / "base", adapters)) as server:
        done(*arguments, "--device", server.url, "-o", tmp_path / "there")
        assert {body["model"] for _, _, body in server.asked} == set(DOMAINS)
        server.asked.clear()
        result = samner("extract", texts, *arguments[2:], "--device", server.url)
        assert result.exit_code == 2 and "what is merged here: save it ('samner adapt" in result.stderr
        assert not server.asked  # it is refused before the experts are asked
    done(*arguments, "-o", tmp_path / "here")
    there, here = (read_json(tmp_path / name / "manifest.json") for name in ("there", "here"))
    for name in ("merges", "base", "files"):
        assert there[name] == here[name]


def test_an_interrupted_extraction_goes_on(model, texts, server, tmp_path):
    file = tmp_path / "server.json"
    write_json(file, {"url": server.url, "answers": "kept", "concurrency": 1, "retries": 0})
    arguments = ("extract", texts, "--model", model, "--device", file, "-o", tmp_path / "out.jsonl", "--resume")
    server.asked.clear()
    server.faults = [Fault(), Fault(500)]
    result = samner(*arguments)
    assert result.exit_code == 2
    assert f"error: {server.url}: error 500 (out of order)" in result.stderr
    asked = len(server.asked)
    done(*arguments)
    assert (tmp_path / "out.jsonl").read_text().count("\n") == len(TEXTS)
    models = len({merge.model for merge in TaskModel.load(model).merges.values()})
    assert len(server.asked) - asked == 2 * models - 1  # of the texts, one is empty


def test_a_server_that_is_not_there_is_one_line(model, texts):
    result = samner("extract", texts, "--model", model, "--device", "http://127.0.0.1:9/v1")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error: http://127.0.0.1:9/v1: cannot be reached (")
