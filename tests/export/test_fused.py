from __future__ import annotations

import json
import shutil
import tracemalloc
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from samner.errors import ModelError, SamnerError
from samner.export.fused import FusedTarget, write_fused
from samner.files import atomic_folder
from samner.lora import LoraAdapter
from samner.merging import Merger
from samner.merging.stream import TensorDeltas

Make = Callable[..., Path]
QUERY = "model.layers.0.self_attn.q_proj"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "fused"
    folder.mkdir()
    return folder


@pytest.fixture
def base(make_llama: Make, tmp_path: Path) -> Path:
    """A copy of the Llama, to be damaged."""
    return Path(shutil.copytree(make_llama(), tmp_path / "base"))


def deltas(module: str = QUERY, shape: tuple[int, int] = (32, 32)) -> TensorDeltas:
    return TensorDeltas({module: torch.full(shape, 0.5)})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(1, 40)[None]).logits.float()


def change(base: Path, tensor: str, value: torch.Tensor | None) -> Path:
    """Replace a tensor in its shard, or take it out of it and the index; gives the shard."""
    index = json.loads((base / "model.safetensors.index.json").read_text())
    file = base / index["weight_map"][tensor]
    tensors = load_file(file)
    if value is None:
        del tensors[tensor], index["weight_map"][tensor]
        (base / "model.safetensors.index.json").write_text(json.dumps(index))
    else:
        tensors[tensor] = value
    save_file(tensors, file, {"format": "pt"})
    return file


class TestResult:
    def test_one_adapter_gives_what_peft_does(self, make_llama: Make, make_lora: Make, out: Path) -> None:
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        with Merger([LoraAdapter.load(make_lora())], "linear") as merger:
            report = write_fused(merger, make_llama(), out)
        model = AutoModelForCausalLM.from_pretrained(make_llama())
        plain = logits(model)
        expected = logits(PeftModel.from_pretrained(model, make_lora()).merge_and_unload())
        torch.testing.assert_close(logits(AutoModelForCausalLM.from_pretrained(out)), expected, rtol=1e-4, atol=1e-5)
        assert (plain - expected).abs().max() > 0.01
        shards = list(make_llama().glob("*.safetensors"))
        size = sum(shard.stat().st_size for shard in shards)
        assert report == {"shards": len(shards), "modules": 14, "bytes": size}

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_sums_are_made_in_float32_and_stored_in_the_bases_own_type(
        self, make_llama: Make, make_lora: Make, out: Path, dtype: torch.dtype
    ) -> None:
        from transformers import AutoModelForCausalLM

        with Merger([LoraAdapter.load(make_lora(seed)) for seed in (0, 1)], "ties", density=0.3) as merger:
            write_fused(merger, make_llama(dtype), out)
            merged = dict(merger.dense())
        before, after = weights(make_llama(dtype)), weights(out)
        assert before.keys() == after.keys()
        for name, tensor in before.items():
            delta = merged.get(name.removesuffix(".weight"), torch.zeros(()))
            assert torch.equal(after[name], (tensor.float() + delta).to(dtype))
            assert (name.removesuffix(".weight") in merged) == (not torch.equal(after[name], tensor))
        assert AutoModelForCausalLM.from_pretrained(out, dtype=dtype)(torch.ones(1, 3, dtype=torch.long)).logits.sum()

    def test_a_base_in_one_file(self, base: Path, out: Path) -> None:
        (base / "model.safetensors.index.json").unlink()
        tensors = weights(base)
        for shard in base.glob("*.safetensors"):
            shard.unlink()
        save_file(tensors, base / "model.safetensors", {"format": "pt"})
        write_fused(deltas(), base, out)
        assert [file.name for file in sorted(out.iterdir())] == [
            "config.json",
            "generation_config.json",
            "model.safetensors",
        ]
        assert torch.equal(weights(out)[f"{QUERY}.weight"], tensors[f"{QUERY}.weight"] + 0.5)

    def test_only_what_is_needed_beside_the_weights_is_copied(self, base: Path, out: Path) -> None:
        shards = {file.name for file in base.glob("model-*")}
        copied = {
            "tokenizer.json",
            "tokenizer.model",
            "merges.txt",
            "chat_template.jinja",
            "modeling.py",
            "LICENSE",
            "NOTICE.md",
        }
        others = {
            "pytorch_model.bin",
            "consolidated.00.pth",
            "pytorch_model.bin.index.json",
            "model.gguf",
            "README.md",
        }
        for name in copied | others | {"old.safetensors"}:
            (base / name).write_text(name)
        (base / "original").mkdir()
        write_fused(deltas(), base, out)
        known = {"config.json", "generation_config.json", "model.safetensors.index.json"}
        assert {file.name for file in out.iterdir()} == shards | copied | known
        assert (out / "LICENSE").read_text() == "LICENSE"

    def test_a_base_in_a_hub_cache_is_made_of_links(self, base: Path, out: Path, tmp_path: Path) -> None:
        base.rename(tmp_path / "blobs")
        base.mkdir()
        for file in (tmp_path / "blobs").iterdir():
            (base / file.name).symlink_to(file)
        write_fused(deltas(), base, out)
        assert not any(file.is_symlink() for file in out.iterdir())
        assert weights(out).keys() == weights(base).keys()

    def test_progress_is_in_bytes(self, base: Path, out: Path) -> None:
        seen: list[tuple[str, int, int]] = []
        report = write_fused(deltas(), base, out, progress=lambda *step: seen.append(step))
        assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
        assert seen[-1] == ("writing", report["bytes"], report["bytes"])


class TestMemory:
    def test_one_tensor_at_a_time(self, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("samner.export.fused._CHUNK", 1 << 16)
        names = [f"layers.{i}.dense" for i in range(20)]
        base = tmp_path / "large"
        base.mkdir()
        save_file({f"{name}.weight": torch.zeros(300, 500) for name in names}, base / "model.safetensors")

        class Watched:
            shapes = dict.fromkeys(names, (300, 500))
            low_rank = False
            factors: Any = None
            alive: weakref.ref[torch.Tensor] | None = None

            def dense(self, modules: Iterable[str] | None = None) -> Iterator[tuple[str, torch.Tensor]]:
                for module in modules or ():
                    assert self.alive is None or self.alive() is None, "the last one is still in memory"
                    delta = torch.ones(300, 500)
                    self.alive = weakref.ref(delta)
                    yield module, delta
                    del delta

        tracemalloc.start()
        report = write_fused(Watched(), base, out)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert report["bytes"] > 12e6 and peak < 1e6
        assert all(bool((tensor == 1).all()) for tensor in weights(out).values())


class TestNames:
    @pytest.mark.parametrize("prefix", ["", "model.", "base.model."])
    def test_a_base_with_a_prefix_that_the_adapter_does_not_have(self, tmp_path: Path, out: Path, prefix: str) -> None:
        self.fuse(tmp_path, out, prefix, "")

    @pytest.mark.parametrize("prefix", ["model.", "base.model."])
    def test_an_adapter_with_a_prefix_that_the_base_does_not_have(
        self, tmp_path: Path, out: Path, prefix: str
    ) -> None:
        self.fuse(tmp_path, out, "", prefix)

    def fuse(self, tmp_path: Path, out: Path, before: str, adapter: str) -> None:
        names = ["layers.0.q", "layers.1.q"]
        save_file(
            {f"{before}{name}.weight": torch.zeros(2, 3) for name in [*names, "layers.10.q"]},
            tmp_path / "model.safetensors",
        )
        matrices = {f"{adapter}{name}": torch.full((2, 3), float(i + 1)) for i, name in enumerate(names)}
        write_fused(TensorDeltas(matrices), tmp_path, out)
        sums = {name: tensor.sum().item() for name, tensor in weights(out).items()}
        assert sums == {f"{before}layers.{i}.q.weight": value for i, value in ((0, 6), (1, 12), (10, 0))}

    def test_the_plain_name_wins(self, tmp_path: Path, out: Path) -> None:
        save_file(
            {f"{p}layers.0.q.weight": torch.zeros(2, 2) for p in ("", "decoder.")}, tmp_path / "model.safetensors"
        )
        write_fused(deltas("layers.0.q", (2, 2)), tmp_path, out)
        assert [name for name, tensor in weights(out).items() if tensor.any()] == ["layers.0.q.weight"]

    def test_two_that_fit_are_refused(self, tmp_path: Path, out: Path) -> None:
        save_file({f"{p}.layers.0.q.weight": torch.zeros(2, 2) for p in "ab"}, tmp_path / "model.safetensors")
        message = r"module layers\.0\.q may be a\.layers\.0\.q\.weight or b\.layers\.0\.q\.weight"
        with pytest.raises(ModelError, match=message):
            write_fused(deltas("layers.0.q", (2, 2)), tmp_path, out)

    def test_every_module_must_be_there_under_the_same_prefix(self, base: Path, out: Path) -> None:
        matrices = {name: torch.zeros(32, 32) for name in ("layers.0.self_attn.q_proj", "layers.7.self_attn.q_proj")}
        with pytest.raises(ModelError, match=r"base: has no tensor layers\.7\.self_attn\.q_proj\.weight$"):
            write_fused(TensorDeltas(matrices), base, out)
        assert not list(out.iterdir())

    def test_a_name_that_only_ends_alike_is_another(self, base: Path, out: Path) -> None:
        with pytest.raises(ModelError, match=r"has no tensor proj\.weight"):
            write_fused(deltas("proj"), base, out)

    @pytest.mark.parametrize("stated", [True, False])
    def test_a_tied_head_is_refused(self, make_llama: Make, tmp_path: Path, out: Path, stated: bool) -> None:
        base = Path(shutil.copytree(make_llama(tied=True), tmp_path / "tied"))
        config = json.loads((base / "config.json").read_text())
        config.pop("tie_word_embeddings", None)
        (base / "config.json").write_text(json.dumps(config | ({"tie_word_embeddings": True} if stated else {})))
        matrices = {"lm_head": torch.zeros(64, 32), QUERY: torch.zeros(32, 32)}
        with pytest.raises(ModelError, match=r"lm_head\.weight: it is tied to the embeddings"):
            write_fused(TensorDeltas(matrices), base, out)

    def test_a_tied_head_that_is_stored_all_the_same_is_refused(self, base: Path, out: Path) -> None:
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
        with pytest.raises(ModelError, match=r"lm_head\.weight cannot be changed: it is tied to the embeddings"):
            write_fused(deltas("lm_head", (64, 32)), base, out)

    def test_a_head_of_its_own_is_changed(self, base: Path, out: Path) -> None:
        write_fused(deltas("lm_head", (64, 32)), base, out)
        assert torch.equal(weights(out)["lm_head.weight"], weights(base)["lm_head.weight"] + 0.5)


class TestErrors:
    def refused(self, base: Path, out: Path, *parts: str, vectors: TensorDeltas | None = None) -> None:
        with pytest.raises(SamnerError) as caught:
            write_fused(vectors or deltas(), base, out)
        message = str(caught.value)
        assert all(part in message for part in parts) and "\n" not in message, message

    def shard(self, base: Path) -> Path:
        return base / json.loads((base / "model.safetensors.index.json").read_text())["weight_map"][f"{QUERY}.weight"]

    def test_a_shape_that_does_not_fit(self, base: Path, out: Path) -> None:
        self.refused(
            base,
            out,
            str(self.shard(base)),
            f"tensor {QUERY}.weight has shape (32, 32), the task vector (32, 16)",
            vectors=deltas(shape=(32, 16)),
        )
        assert not list(out.iterdir())

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.float8_e4m3fn, torch.float64])
    def test_quantised_tensors(self, base: Path, out: Path, dtype: torch.dtype) -> None:
        shard = change(base, f"{QUERY}.weight", torch.ones(32, 32).to(dtype))
        self.refused(base, out, f"{shard}: tensor {QUERY}.weight is of type ", "only F32, F16, BF16 can be changed")
        assert not list(out.iterdir())

    def test_tensors_of_other_types_that_do_not_change_are_copied(self, base: Path, out: Path) -> None:
        change(base, "model.norm.weight", torch.ones(32, dtype=torch.int8))
        write_fused(deltas(), base, out)
        assert weights(out)["model.norm.weight"].dtype == torch.int8

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_values_that_are_no_numbers(self, base: Path, out: Path, value: float) -> None:
        tensor = torch.ones(32, 32)
        tensor[7, 7] = value
        shard = change(base, f"{QUERY}.weight", tensor)
        self.refused(base, out, f"{shard}: tensor {QUERY}.weight holds NaN or infinite values")

    def test_values_too_large_for_the_type(self, base: Path, out: Path) -> None:
        shard = change(base, f"{QUERY}.weight", torch.full((32, 32), 65504.0).half())
        large = TensorDeltas({QUERY: torch.full((32, 32), 1000.0)})
        self.refused(base, out, f"{shard}: tensor {QUERY}.weight would leave the range of F16", vectors=large)

    @pytest.mark.parametrize("size", [0, 7, 50, -1])
    def test_a_truncated_shard(self, base: Path, out: Path, size: int) -> None:
        shard = self.shard(base)
        shard.write_bytes(shard.read_bytes()[:size])
        self.refused(base, out, f"{shard}: not a complete safetensors file")
        assert not list(out.iterdir())

    @pytest.mark.parametrize("flip", [3, 8, 20])
    def test_a_flipped_bit_in_a_header(self, base: Path, out: Path, flip: int) -> None:
        shard = self.shard(base)
        content = bytearray(shard.read_bytes())
        content[flip] ^= 0x80
        shard.write_bytes(content)
        self.refused(base, out, f"{shard}: not a complete safetensors file")

    def test_offsets_beyond_the_file(self, base: Path, out: Path) -> None:
        shard = self.shard(base)
        content = shard.read_bytes()
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        header[f"{QUERY}.weight"]["data_offsets"][1] += 1 << 40
        changed = json.dumps(header).encode()
        shard.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + length :])
        self.refused(base, out, f"{shard}: not a complete safetensors file")

    def test_a_shard_that_is_not_there(self, base: Path, out: Path) -> None:
        shard = self.shard(base)
        shard.unlink()
        self.refused(base, out, f"{shard}: no such file")

    def test_a_shard_without_what_the_index_lists(self, base: Path, out: Path) -> None:
        index = (base / "model.safetensors.index.json").read_text()
        shard = change(base, "model.norm.weight", None)
        (base / "model.safetensors.index.json").write_text(index)
        self.refused(base, out, f"{shard}: does not hold tensor model.norm.weight")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ("{", "not valid JSON"),
            ("{}", "lists no weights"),
            ('{"weight_map": []}', "lists no weights"),
            ('{"weight_map": {"a": "../x.safetensors"}}', "is not the name of a file beside it"),
            ('{"weight_map": {"a": 3}}', "is not the name of a file beside it"),
        ],
    )
    def test_an_index_that_is_wrong(self, base: Path, out: Path, content: str, message: str) -> None:
        (base / "model.safetensors.index.json").write_text(content)
        self.refused(base, out, str(base / "model.safetensors.index.json"), message)

    def test_no_safetensors(self, tmp_path: Path, out: Path) -> None:
        (tmp_path / "pytorch_model.bin").touch()
        self.refused(tmp_path, out, str(tmp_path), "holds neither model.safetensors nor model.safetensors.index.json")

    def test_a_full_disk_leaves_nothing_and_names_the_file(
        self, base: Path, tmp_path: Path, small_disk: Callable[[int], AbstractContextManager[None]]
    ) -> None:
        with (
            small_disk(10_000),
            pytest.raises(OSError, match=r"model-\d+-of-\d+\.safetensors"),
            atomic_folder(tmp_path / "result") as folder,
        ):
            write_fused(deltas(), base, folder)
        assert [path.name for path in tmp_path.iterdir()] == ["base"]


@pytest.mark.parametrize("fingerprint", [None, "0" * 64])
def test_a_base_that_says_of_no_experts_that_they_are_its_own_is_told(
    base: Path, out: Path, fingerprint: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    FusedTarget(base, None, fingerprint).write(deltas(), out, lambda *step: None)
    said = f"{base}: holds no base.json, so nothing tells whether the experts were trained on it"
    assert caplog.messages == ([said] if fingerprint else [])
