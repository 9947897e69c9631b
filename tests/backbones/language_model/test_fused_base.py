"""Bases with an adapter of their own, on a tiny random Llama."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from samner import ExpertPool, TaskModel, references
from samner.backbones import BASE, load_backbone
from samner.backbones.language_model import base_card
from samner.backbones.language_model.base_card import create_base
from samner.backbones.language_model.fused_base import base_with_adapter
from samner.embedding import MINILM, embed_domain
from samner.entities import EntityType
from samner.errors import ModelError, SamnerError
from samner.files import read_json, user_folder, write_json
from samner.lora import LoraAdapter
from samner.pool import ExpertCard
from tests.backbones.language_model.tiny_server import TinyServer, serving
from tests.command_line import done, samner

WEIGHTS = "adapter_model.safetensors"
DOMAINS = {"medicine": "Aspirin relieves headache.", "sports": "Rovers lost."}
TEXTS = ["Aspirin relieves headache within hours.", "Rovers lost 3:2 in Basel."]


@pytest.fixture(scope="session")
def own(make_expert: Callable[..., Path]) -> Path:
    return make_expert(9)


@pytest.fixture
def made(lm: Path, own: Path, tmp_path: Path) -> Callable[..., Path]:
    """``made(model=lm, adapter=own)``: the folder of a base with an adapter."""

    def make(model: object = lm, adapter: Path = own) -> Path:
        base = tmp_path / f"base{len(list(tmp_path.glob('base*')))}"
        base.mkdir()
        create_base(base, str(model), adapter=adapter)
        return base

    return make


def answers(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(torch.arange(40)[None]).logits
    return logits


def test_it_is_the_model_with_the_adapter_added(lm: Path, own: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = base_with_adapter(lm, own, tmp_path)
    plain, fused = (load_file(place / "model.safetensors") for place in (lm, folder))
    adapter = LoraAdapter.load(own)
    assert fused.keys() == plain.keys() and len(adapter.modules) == 14
    for name, weight in plain.items():
        module = name.removesuffix(".weight")
        assert torch.equal(fused[name], weight + adapter.delta(module) if module in adapter.factors else weight)
    merged: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(lm), own)
    merged = merged.merge_and_unload()
    assert torch.allclose(answers(AutoModelForCausalLM.from_pretrained(folder)), answers(merged), atol=1e-4)


def test_a_model_of_many_files_and_of_few_bits(lm: Path, own: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(lm).bfloat16().save_pretrained(tmp_path / "parts", max_shard_size="30KB")
    folder = base_with_adapter(tmp_path / "parts", own, tmp_path)
    assert len(list(folder.glob("*.safetensors"))) > 1 and (folder / "model.safetensors.index.json").is_file()
    whole, parts = (AutoModelForCausalLM.from_pretrained(f) for f in (base_with_adapter(lm, own, tmp_path), folder))
    assert {p.dtype for p in parts.parameters()} == {torch.bfloat16}
    assert torch.allclose(answers(whole), answers(parts).float(), atol=0.5)


def test_it_is_made_once_and_found_wherever_the_parts_are(
    lm: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = base_with_adapter(lm, own, tmp_path / "cache")
    for number, part in enumerate((lm, own)):
        shutil.copytree(part, tmp_path / str(number))
    monkeypatch.setattr("samner.backbones.language_model.fused_base._fuse", None)
    assert base_with_adapter(tmp_path / "0", tmp_path / "1", tmp_path / "cache") == folder
    assert {path.name for path in (tmp_path / "cache").glob("*/*")} == {folder.name, ".lock"}


def test_what_fails_leaves_nothing(lm: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samner.backbones.language_model.fused_base.LoraAdapter.delta", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        base_with_adapter(lm, own, tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [".lock"]


_FUSING = """
import sys, time
from pathlib import Path
from samner.backbones.language_model import fused_base

fuse, (seconds, *places) = fused_base._fuse, sys.argv[1:]

def slow(*parts):
    fuse(*parts)
    (parts[-1] / "config.json").unlink()
    print("half", flush=True)
    time.sleep(float(seconds))
    (parts[-1] / "config.json").write_bytes((parts[0] / "config.json").read_bytes())

fused_base._fuse = slow
print(fused_base.base_with_adapter(*map(Path, places)))
"""


def test_one_that_is_killed_and_two_at_the_same_time_leave_it_whole(lm: Path, own: Path, tmp_path: Path) -> None:
    def fusing(seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _FUSING, str(seconds), lm, own, tmp_path / "cache"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    with fusing(60) as killed:
        assert killed.stdout and killed.stdout.readline() == "half\n"
        killed.kill()
    assert all(path.name.startswith(".") for path in (tmp_path / "cache" / "fused").iterdir())
    said = [process.communicate()[0].split() for process in [fusing(2), fusing(2)]]
    assert sorted(map(len, said)) == [1, 2] and said[0][-1] == said[1][-1]
    folder, other = Path(said[0][-1]), base_with_adapter(lm, own, tmp_path / "other")
    assert {path.name for path in folder.parent.iterdir()} == {folder.name, ".lock"}
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in other.iterdir()}


def test_a_changed_adapter_is_refused_before_anything_is_made(
    lm: Path,
    made: Callable[..., Path],
    make_expert: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SAMNER_HOME", str(tmp_path / "home"))
    base = made()
    load_backbone(base)
    shutil.rmtree(tmp_path / "home")
    shutil.copyfile(make_expert(8) / WEIGHTS, base / "adapter" / WEIGHTS)
    with pytest.raises(ModelError, match=r"adapter: damaged or changed, .* not what base\.json says"):
        load_backbone(base)
    assert not (tmp_path / "home").exists()


def test_the_adapter_must_fit(lm: Path, own: Path, make_lm: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"{own}: adapts .*down_proj as \(32, 48\), the base has \(32, 40\)"):
        base_with_adapter(make_lm(intermediate_size=40), own, tmp_path)
    with pytest.raises(ModelError, match=r"adapts .*layers\.1.*the base has no such module"):
        base_with_adapter(make_lm(num_hidden_layers=1), own, tmp_path)


def test_what_is_damaged_or_missing_is_named(made: Callable[..., Path], own: Path, tmp_path: Path) -> None:
    base = made()
    weights, config = base / "adapter" / WEIGHTS, base / "adapter" / "adapter_config.json"
    content = weights.read_bytes()
    weights.write_bytes(content[:-100])
    with pytest.raises(ModelError, match=f"{weights}: not a complete safetensors file"):
        load_backbone(base)
    weights.unlink()
    with pytest.raises(ModelError, match=f"{weights}: no such file"):
        load_backbone(base)
    weights.write_bytes(content)
    config.write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match=f"{config}: not "):
        load_backbone(base)
    shutil.rmtree(base / "adapter")
    with pytest.raises(ModelError, match=f"{config}: no such file"):
        load_backbone(base)
    with pytest.raises(ModelError, match=r"nowhere/adapter_config\.json: no such file"):
        made(adapter=tmp_path / "nowhere")
    write_json(base / "base.json", read_json(base / "base.json") | {"adapter": "model/../../own"})
    shutil.copytree(own, tmp_path / "own")
    with pytest.raises(SamnerError, match="'model/../../own' leads outside"):
        load_backbone(base)
    write_json(base / "base.json", read_json(base / "base.json") | {"adapter": str(own)})
    with pytest.raises(SamnerError, match=r"base\.json: adapter: .*no absolute path"):
        load_backbone(base)


def test_the_fingerprint_is_of_what_went_in(
    made: Callable[..., Path], make_expert: Callable[..., Path], own: Path, tmp_path: Path
) -> None:
    base = made()
    loaded: Any = load_backbone(base)
    assert loaded.has_own_adapter and Path(loaded.checkpoint).parent == user_folder() / "fused"
    shutil.copytree(base, tmp_path / "elsewhere")
    assert load_backbone(tmp_path / "elsewhere").fingerprint == loaded.fingerprint
    card = read_json(base / "base.json")
    plain = tmp_path / "plain"
    shutil.copytree(base, plain)
    write_json(plain / "base.json", card | {"adapter": None})
    others = [load_backbone(plain), load_backbone(made(adapter=make_expert(8)))]
    assert not others[0].has_own_adapter
    assert len({loaded.fingerprint, *(other.fingerprint for other in others)}) == 3
    # another processor's sums may end in other bits: the base is the same
    path = Path(loaded.checkpoint) / "model.safetensors"
    fused = load_file(path)
    save_file({name: torch.nextafter(t, t + 1) for name, t in fused.items()}, path, metadata={"format": "pt"})
    assert load_backbone(base).fingerprint == loaded.fingerprint


def test_the_model_may_be_on_the_hub(
    lm: Path, made: Callable[..., Path], own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_card, "download", {"owner/tiny": lm}.__getitem__)
    monkeypatch.setenv(references.ALLOW, "owner/tiny")
    local = made()
    shutil.rmtree(local / "model")
    write_json(local / "base.json", read_json(local / "base.json") | {"model": "owner/tiny"})
    assert load_backbone(local).fingerprint == load_backbone(made()).fingerprint


@pytest.fixture(scope="module")
def pool(lm: Path, own: Path, make_expert: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("own-adapter")
    (root / "base").mkdir()
    create_base(root / "base", str(lm), adapter=own)
    card = read_json(root / "base" / "base.json")
    told = {"max_new_tokens": 24, "threshold": 1e-6, "data": [{"name": "fables", "licence": "CC0"}]}
    write_json(root / "base" / "base.json", card | told)
    made = ExpertPool.create(root / "pool", root / "base")
    for seed, (name, text) in enumerate(DOMAINS.items()):
        folder, embedding = make_expert(seed, r=2), tuple(map(float, embed_domain([text])))
        (folder / "README.md").unlink()
        its = ExpertCard(name=name, base=made.backbone.fingerprint, types=("person",), embedding=embedding)
        its.model_copy(update={"embedding_model": MINILM}).write(folder)
        made.add(folder)
    return root / "pool"


@pytest.fixture(scope="module")
def model(pool: Path) -> Path:
    texts = pool.parent / "texts.txt"
    texts.write_text("\n".join(TEXTS), encoding="utf-8")
    done("adapt", texts, "--pool", pool, "--labels", "person,drug", "--experts", 2, "-o", pool.parent / "model")
    return pool.parent / "model"


def test_a_pool_over_it_is_one_like_any_other(pool: Path, tmp_path: Path) -> None:
    assert json.loads(done("pool", "verify", pool, "--json"))["sound"] == sorted(DOMAINS)
    assert "medicine" in done("pool", "show", "medicine", "--pool", pool)
    done("pool", "create", tmp_path / "copy", "--from", pool)
    assert (tmp_path / "copy" / "base" / "adapter" / WEIGHTS).is_file()
    assert ExpertPool(tmp_path / "copy").backbone.fingerprint == ExpertPool(pool).backbone.fingerprint
    (tmp_path / "copy" / "base" / "adapter" / WEIGHTS).unlink()
    result = samner("pool", "verify", tmp_path / "copy")
    assert result.exit_code == 1 and f"{Path('base') / 'adapter' / WEIGHTS}: no such file" in result.stdout.replace(
        "\n", ""
    )


def test_a_hub_is_given_the_adapter(pool: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr("samner.hub.upload", lambda repository, content, *_, **__: given.update(content))
    ExpertPool(pool).push_to_hub("acme/own")
    assert {"base/adapter/adapter_config.json", f"base/adapter/{WEIGHTS}"} <= given.keys()


def test_what_was_adapted_holds_the_adapter(model: Path) -> None:
    assert (model / "base" / "adapter" / WEIGHTS).is_file()
    loaded = TaskModel.load(model)
    assert loaded.backbone.has_own_adapter and len(loaded.predict(TEXTS)) == 2


def test_a_task_model_exported_whole_holds_the_adapter(model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    done("export", model, "--to", "fused", "-o", tmp_path / "out")
    loaded: Any = TaskModel.load(model)
    name, merge = next(iter(loaded.merges.items()))
    fused = AutoModelForCausalLM.from_pretrained(tmp_path / "out" / name)
    with loaded.backbone.mixed.rows([merge.model]):
        assert torch.allclose(answers(fused), answers(loaded.backbone.model), atol=1e-4)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "whole models hold all of it" in card and "| base | fables | CC0 |" in card


@pytest.mark.parametrize("to", ["peft", "vllm"])
def test_exported_adapters_say_what_they_go_on(model: Path, tmp_path: Path, to: str) -> None:
    done("export", model, "--to", to, "--rank", 32, "-o", tmp_path / "out")
    place = TaskModel.load(model).backbone.checkpoint
    assert place and Path(place).parent == user_folder() / "fused"
    config = read_json(next((tmp_path / "out").glob("*/adapter_config.json")))
    assert config["base_model_name_or_path"] == place
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "an adapter of the base's own fused in" in card and place in card
    if to == "vllm":
        assert f"vllm serve {place}" in (tmp_path / "out" / "serve.sh").read_text(encoding="utf-8")


def test_llama_cpp_is_given_the_fused_folder(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "llama.cpp" / "convert_lora_to_gguf.py"
    script.parent.mkdir()
    script.write_text(
        "import pathlib, sys\n"
        "base, out = sys.argv[sys.argv.index('--base') + 1], sys.argv[-1]\n"
        "assert (pathlib.Path(base) / 'model.safetensors').is_file() and 'fused' in base\n"
        "pathlib.Path(out).write_text('GGUF')\n"
    )
    monkeypatch.setenv("LLAMA_CPP", str(script.parent))
    done("export", model, "--to", "gguf", "--rank", 32, "-o", tmp_path / "out")
    assert list((tmp_path / "out").glob("*.gguf"))


def test_no_other_model_is_taken_for_it(model: Path, lm: Path, tmp_path: Path) -> None:
    result = samner("export", model, "--to", "fused", "--base", lm, "-o", tmp_path / "out")
    assert result.exit_code == 2 and "its base has an adapter of its own" in result.stderr.replace("\n", " ")


def test_a_server_has_the_fused_model(pool: Path) -> None:
    with serving(TinyServer(pool / "base", {})) as server:
        served, here = (load_backbone(pool / "base", device) for device in (server.url, "cpu"))
        assert served.fingerprint == here.fingerprint
        types = (EntityType("person"),)
        found, own = (backbone.predict(TEXTS, types, [BASE], 1e-9)[BASE] for backbone in (served, here))
    keys = [[[entity.key for entity in entities] for entities in its] for its in (found, own)]
    assert keys[0] == keys[1] and any(keys[0])


def test_an_expert_is_trained_over_it(pool: Path, tmp_path: Path) -> None:
    pytest.importorskip("trl")
    line = {"text": "Ada left.", "entities": [{"start": 0, "end": 3, "label": "person"}]}
    (tmp_path / "train.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")
    arguments = ("train", tmp_path / "train.jsonl", "--pool", pool, "--name", "mine", "--option", "steps=1")
    assert "nothing was trained" in done(*arguments, "--dry-run", "-o", tmp_path / "dry")
    done(*arguments, "-o", tmp_path / "mine")
    assert ExpertCard.read(tmp_path / "mine").base == ExpertPool(pool).backbone.fingerprint
