from __future__ import annotations

import errno
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from samner.entities import EntityType
from samner.errors import ModelError, SamnerError
from samner.export import export_merge, export_task_model
from samner.export.vllm import vllm_command, vllm_rank
from samner.lora import LoraAdapter
from samner.merging import merge
from samner.task_model import Merge, TaskModel

RANK = 8  # all that the tiny model's matrices have


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random Llama."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": RANK, "intermediate_size": 16, "num_hidden_layers": 2, "vocab_size": 32}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=2))
    folder = tmp_path_factory.mktemp("models") / "tiny-llama"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapters(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two random adapters of the tiny Llama."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folders = []
    for name in ("news", "medicine"):
        torch.manual_seed(len(name))
        config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
        folders.append(tmp_path_factory.mktemp("adapters") / name)
        get_peft_model(AutoModelForCausalLM.from_pretrained(llama), config).save_pretrained(folders[-1])
    return folders


@pytest.fixture
def model(llama: Path, adapters: list[Path], lookup_backbone) -> TaskModel:
    """A task model over the tiny Llama, as far as an export is concerned."""
    vectors = {
        "task-1": merge([LoraAdapter.load(adapters[0])], density=0.5),
        "task-2": merge([LoraAdapter.load(folder) for folder in adapters], density=0.5),
    }

    class LanguageModel(lookup_backbone):
        checkpoint = str(llama)

        def task_vectors(self, name):
            return vectors[name]

    merges = {"similarity": Merge({"news": 1.0}, "task-1"), "sampling": Merge({"news": 1, "medicine": 1}, "task-2")}
    settings = {"method": "ties", "parameters": {"density": 0.5}}
    return TaskModel(LanguageModel({}), llama, (EntityType("drug"),), "union", merges, {}, settings)


def logits(folder: Path, adapter: Path | None = None, deltas: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(folder)
    for module, delta in (deltas or {}).items():
        loaded.get_submodule(module).weight.data += delta
    if adapter:
        loaded = PeftModel.from_pretrained(loaded, adapter)
    with torch.no_grad():
        return loaded.eval()(torch.arange(6)[None]).logits


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# -- merges ---------------------------------------------------------------------------------------------------------


def test_a_merged_adapter_has_manifest_and_card(llama, adapters, tmp_path):
    manifest = export_merge(adapters, tmp_path / "out", weights=[2, 1], rank=RANK, density=0.5)
    assert names(tmp_path) == [
        f"out/{name}" for name in ("README.md", "adapter_config.json", "adapter_model.safetensors", "merge.json")
    ]
    assert json.loads((tmp_path / "out" / "merge.json").read_text()) == manifest
    assert manifest["parameters"] == {"density": 0.5, "lam": 1.0, "scope": "global"}
    assert [(a["name"], a["weight"]) for a in manifest["adapters"]] == [("news", 2), ("medicine", 1)]
    assert len(manifest["report"]["modules"]) == 14
    expected = merge([LoraAdapter.load(folder) for folder in adapters], weights=[2, 1], density=0.5)
    assert torch.allclose(logits(llama, tmp_path / "out"), logits(llama, deltas=expected), atol=1e-5)
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"vllm serve {llama} --enable-lora --max-lora-rank 8 --max-loras 1 --lora-modules out=." in card
    assert "Nothing is stated about the data" in card
    assert LoraAdapter.load(tmp_path / "out").causal  # merged again it can still be served


def test_a_low_rank_method_needs_no_rank(adapters, tmp_path):
    report = export_merge(adapters, tmp_path / "out", method="linear")["report"]
    assert report["rank"] == 4
    assert report["relative_error"] < 1e-6
    assert "Nothing: " in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(SamnerError, match="give --rank"):
        export_merge(adapters, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_a_fused_merge_loads_in_transformers(llama, adapters, tmp_path):
    export_merge(adapters, tmp_path / "out", "fused", base=llama, density=0.5)
    expected = merge([LoraAdapter.load(folder) for folder in adapters], density=0.5)
    assert torch.allclose(logits(tmp_path / "out"), logits(llama, deltas=expected), atol=1e-6)


def test_a_folder_that_adapters_name_is_not_opened_unasked(adapters, tmp_path):
    with pytest.raises(SamnerError, match="the weights of .*tiny-llama are not .* --base FOLDER says where they are"):
        export_merge(adapters, tmp_path / "out", "fused", density=0.5)


def test_a_delta_is_exact(adapters, tmp_path):
    from samner.merging.stream import DeltaFile

    export_merge(adapters, tmp_path / "out", "delta", density=0.5)
    expected = merge([LoraAdapter.load(folder) for folder in adapters], density=0.5)
    for module, delta in DeltaFile.open(tmp_path / "out" / "delta.safetensors").dense():
        assert torch.equal(delta, expected[module])


def test_adapters_that_are_not_sound(tiny_pool: Path, tmp_path):
    import shutil

    medicine = tiny_pool / "experts" / "medicine"
    with pytest.raises(ModelError, match="nowhere: no such folder"):
        export_merge([tmp_path / "nowhere"], tmp_path / "out", "delta")
    expert = Path(shutil.copytree(tiny_pool / "experts" / "sports", tmp_path / "sports"))
    card = json.loads((expert / "expert.json").read_text())
    (expert / "expert.json").write_text(json.dumps(card | {"base": "another"}))
    with pytest.raises(
        SamnerError, match=r"'medicine' is an adapter of .* but 'sports' of .* \(fingerprint another\)"
    ):
        export_merge([medicine, expert], tmp_path / "out", "delta")
    (expert / "adapter_config.json").write_text((expert / "adapter_config.json").read_text() + " ")
    with pytest.raises(ModelError, match=r"adapter_config.json: damaged or changed"):
        export_merge([medicine, expert], tmp_path / "out", "delta")
    assert not (tmp_path / "out").exists()


def test_cards_have_metadata_that_a_hub_takes(adapters, model, tmp_path):
    from huggingface_hub import ModelCard

    export_merge(adapters, tmp_path / "merge", same_base=["meta-llama/Llama-3.1-8B"], rank=2)
    export_task_model(model, tmp_path / "model", "peft", rank=2)
    data = [ModelCard.load(tmp_path / name / "README.md").data.to_dict() for name in ("merge", "model")]
    both = {"library_name": "peft", "pipeline_tag": "token-classification", "tags": ["samner", "merge"]}
    assert data == [both | {"base_model": "meta-llama/Llama-3.1-8B"}, both]  # a folder says nothing to others


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("to", ["adapter", "delta", "fused"])
def test_a_merge_that_fails_leaves_nothing(llama, adapters, tmp_path, monkeypatch, failure, to):
    written = []

    def raw(tensor):
        written.append(tensor)
        if len(written) == 5:
            raise failure
        return memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy())

    monkeypatch.setattr("samner.merging.stream.raw", raw)
    monkeypatch.setattr("samner.export.fused.raw", raw)
    with pytest.raises(type(failure)):
        options = {"adapter": {"rank": 2}, "fused": {"base": llama}}.get(to, {})
        export_merge(adapters, tmp_path / "out", to, **options, density=0.5)
    assert len(written) == 5
    assert list(tmp_path.iterdir()) == []


# -- task models ----------------------------------------------------------------------------------------------------


def test_peft_has_an_adapter_for_each_part(llama, model, tmp_path):
    manifest = export_task_model(model, tmp_path / "out", "peft", rank=RANK)
    assert list(manifest["parts"]) == ["similarity", "sampling"]
    for name, task_model in (("similarity", "task-1"), ("sampling", "task-2")):
        expected = logits(llama, deltas=model.backbone.task_vectors(task_model))
        assert torch.allclose(logits(llama, tmp_path / "out" / name), expected, atol=1e-5)
    assert 'model.load_adapter("sampling", adapter_name="sampling")' in (tmp_path / "out" / "README.md").read_text()
    assert set(manifest["files"]) == {*names(tmp_path / "out")} - {"export.json"}


def test_parts_that_coincide_are_one(model, tmp_path):
    model.merges = {"similarity": model.merges["similarity"], "sampling": model.merges["similarity"]}
    manifest = export_task_model(model, tmp_path / "out", "peft", rank=2)
    assert manifest["parts"]["similarity"]["strategies"] == ["similarity", "sampling"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "export.json", "similarity"]


def test_fused_adds_to_the_checkpoint(llama, model, tmp_path):
    export_task_model(model, tmp_path / "out", "fused")
    expected = logits(llama, deltas=model.backbone.task_vectors("task-2"))
    assert torch.allclose(logits(tmp_path / "out" / "sampling"), expected, atol=1e-6)


def test_fused_needs_the_weights(model, llama, tmp_path, monkeypatch):
    monkeypatch.setattr(type(model.backbone), "checkpoint", "owner/model")
    with pytest.raises(SamnerError, match="weights of owner/model are not in a folder here: --base FOLDER"):
        export_task_model(model, tmp_path / "out", "fused")
    export_task_model(model, tmp_path / "out", "fused", base=llama)


def test_vllm_is_served_by_a_script(llama, model, tmp_path, monkeypatch):
    export_task_model(model, tmp_path / "out", "vllm", rank=12)
    fake(tmp_path / "bin" / "vllm", "import os, sys; print(os.getcwd(), *sys.argv[1:], sep='\\n')", monkeypatch)
    moved = (tmp_path / "out").rename(tmp_path / "moved here")
    script = moved / "serve.sh"
    said = subprocess.run(["sh", script, "--port", "8001"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert said.stdout.splitlines() == [
        str(moved),
        *("serve", str(llama), "--enable-lora", "--max-lora-rank", "16", "--max-loras", "2", "--lora-modules"),
        *("similarity=similarity", "sampling=sampling", "--port", "8001"),
    ]
    assert '`"model": "similarity"`' in (moved / "README.md").read_text()


def test_vllm_ranks(model, tmp_path):
    assert [vllm_rank(rank) for rank in (1, 8, 9, 48, 300, 512)] == [8, 8, 16, 64, 320, 512]
    with pytest.raises(SamnerError, match="up to rank 512, not 513"):
        export_task_model(model, tmp_path / "out", "vllm", rank=513)
    assert vllm_command("my base", {"a": "b c"}, 8).endswith("--lora-modules 'a=b c'")


CONVERTER = """
import pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--outfile") + 1])
source = pathlib.Path(sys.argv[1])
assert out.suffix == ".gguf" and list(source.glob("*.safetensors"))
out.write_bytes(b"GGUF" + " ".join(sys.argv[2:]).encode())
"""


def fake(path: Path, code: str, monkeypatch) -> None:
    """Put a program on PATH."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{code}")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")
    monkeypatch.delenv("LLAMA_CPP", raising=False)


def test_gguf_of_adapters(llama, model, tmp_path, monkeypatch):
    fake(tmp_path / "bin" / "convert_lora_to_gguf.py", CONVERTER, monkeypatch)
    export_task_model(model, tmp_path / "out", "gguf", rank=2)
    assert names(tmp_path / "out") == ["README.md", "export.json", "sampling.gguf", "similarity.gguf"]
    assert f"--base {llama}" in (tmp_path / "out" / "sampling.gguf").read_text()
    assert "--lora similarity.gguf --lora sampling.gguf" in (tmp_path / "out" / "README.md").read_text()


def test_gguf_of_whole_models(model, tmp_path, monkeypatch):
    (tmp_path / "llama.cpp").mkdir()
    (tmp_path / "llama.cpp" / "convert_hf_to_gguf.py").write_text(CONVERTER)
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path / "llama.cpp"))
    export_task_model(model, tmp_path / "out", "gguf")
    assert names(tmp_path / "out") == ["README.md", "export.json", "sampling.gguf", "similarity.gguf"]
    assert "llama-server -m sampling.gguf" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('Model X is not supported')", "failed: Model X is not supported"),
        ("import sys; sys.exit(1)", "failed: it says nothing"),
        ("", "wrote no GGUF file"),
    ],
)
def test_gguf_that_fails(model, tmp_path, monkeypatch, code, message):
    fake(tmp_path / "bin" / "convert_lora_to_gguf.py", code, monkeypatch)
    with pytest.raises(SamnerError, match=message):
        export_task_model(model, tmp_path / "out", "gguf", rank=2)
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_gguf_without_llama_cpp(model, tmp_path, monkeypatch):
    monkeypatch.delenv("LLAMA_CPP", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SamnerError, match=r"convert_hf_to_gguf.py is not found: git clone"):
        export_task_model(model, tmp_path / "out", "gguf")
    monkeypatch.setenv("LLAMA_CPP", str(tmp_path))
    with pytest.raises(SamnerError, match="LLAMA_CPP must name a folder of llama.cpp's source"):
        export_task_model(model, tmp_path / "out", "gguf")


def test_what_makes_no_sense(model, tmp_path):
    for kind, options, message in (
        ("onxx", {}, "unknown --to 'onxx'; known are peft, fused, vllm, gguf"),
        ("peft", {}, "give --rank"),
        ("vllm", {"rank": 1, "max_error": 0.1}, "not both"),
        ("peft", {"rank": 0}, "at least 1"),
        ("peft", {"max_error": 1.0}, "between 0 and 1"),
        ("peft", {"rank": 1, "dtype": "int8"}, "unknown type 'int8'"),
        ("fused", {"rank": 1}, "are of adapters"),
    ):
        with pytest.raises(SamnerError, match=message):
            export_task_model(model, tmp_path / "out", kind, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_an_export_that_fails_leaves_nothing(model, tmp_path, monkeypatch, failure):
    def fail(*arguments):
        raise failure

    monkeypatch.setattr("samner.export.folders.task_model_card", fail)  # when both parts are there
    with pytest.raises(type(failure)):
        export_task_model(model, tmp_path / "out", "peft", rank=2)
    assert list(tmp_path.iterdir()) == []
