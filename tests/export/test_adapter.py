from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from samner.errors import SamnerError
from samner.export.adapter import RANKS, AdapterTarget
from samner.files import atomic_folder
from samner.lora import LoraAdapter, LoraFactors
from samner.merging import Merger
from samner.merging.stream import TensorDeltas

Make = Callable[..., Path]


def noisy(rows: int, columns: int, rank: int = 6, noise: float = 0.2, seed: int = 0) -> torch.Tensor:
    """A random matrix of low rank with noise."""
    generator = torch.Generator().manual_seed(seed)
    b, a = torch.randn(rows, rank, generator=generator), torch.randn(rank, columns, generator=generator)
    return b @ a + noise * torch.randn(rows, columns, generator=generator)


def least_error(matrices: Iterable[torch.Tensor], rank: int) -> float:
    """By float64 NumPy SVDs."""
    values = [np.linalg.svd(matrix.double().numpy(), compute_uv=False) for matrix in matrices]
    lost, norm = (sum(float((s[start:] ** 2).sum()) for s in values) for start in (rank, 0))
    return float(np.sqrt(lost / norm))


class LowRank:
    """Deltas that are products."""

    low_rank = True

    def __init__(self, products: dict[str, LoraFactors]) -> None:
        self.products = products
        self.shapes = {name: product.shape for name, product in sorted(products.items())}

    def factors(self, module: str) -> LoraFactors:
        return self.products[module]

    def dense(self, modules: Iterable[str] | None = None) -> Iterator[tuple[str, torch.Tensor]]:
        raise AssertionError("made dense")

    def product(self, module: str) -> torch.Tensor:
        factors = self.products[module]
        return factors.scale * (factors.b.double() @ factors.a.double())


def products(rank: int = 12, seed: int = 0, **shapes: tuple[int, int]) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    return LowRank(
        {
            name: LoraFactors(
                torch.randn(rank, columns, generator=generator), torch.randn(rows, rank, generator=generator), 0.3
            )
            for name, (rows, columns) in shapes.items()
        }
    )


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    return folder


def write_adapter(deltas: Any, folder: Path, progress: Any = lambda *step: None, **options: Any) -> dict[str, Any]:
    return AdapterTarget(**options).write(deltas, folder, progress)


def written(folder: Path, module: str) -> torch.Tensor:
    return LoraAdapter.load(folder).delta(module, torch.float64)


class TestErrorIsTheLeast:
    MATRICES: ClassVar = {"a": noisy(90, 60), "b": noisy(40, 200, rank=20, seed=1), "c": torch.zeros(20, 30)}

    @pytest.mark.parametrize("rank", [1, 4, 6, 16, 30])
    def test_or_nearly_so(self, out: Path, rank: int) -> None:
        report = write_adapter(TensorDeltas(self.MATRICES), out, rank=rank)
        for module, matrix in self.MATRICES.items():
            actual = (written(out, module) - matrix).norm() / max(matrix.norm(), torch.tensor(1e-9))
            assert report["modules"][module]["relative_error"] == pytest.approx(actual.item(), rel=1e-3, abs=1e-6)
            if module != "c":
                least = least_error([matrix], rank)
                assert least * (1 - 1e-5) <= actual <= 1.03 * least
            assert report["modules"][module]["energy"] == pytest.approx(
                1 - report["modules"][module]["relative_error"] ** 2
            )
        overall = least_error(self.MATRICES.values(), rank)
        assert overall * (1 - 1e-5) <= report["relative_error"] <= 1.03 * overall
        assert report["energy"] == pytest.approx(1 - report["relative_error"] ** 2)
        assert report["rank"] == rank

    def test_zeros_lose_nothing(self, out: Path) -> None:
        report = write_adapter(TensorDeltas({"a": torch.zeros(20, 30)}), out, rank=2)
        assert (report["relative_error"], report["energy"], written(out, "a").abs().sum()) == (0, 1, 0)

    def test_small_errors_are_told_apart_from_rounding(self, out: Path) -> None:
        report = write_adapter(TensorDeltas({"a": noisy(90, 60, noise=0)}), out, rank=6)
        assert report["relative_error"] < 3e-6
        report = write_adapter(TensorDeltas({"a": noisy(90, 60, noise=1e-4)}), out, rank=6)
        assert report["relative_error"] == pytest.approx(least_error([noisy(90, 60, noise=1e-4)], 6), rel=0.03)

    def test_it_is_the_same_every_time_and_leaves_the_random_state_alone(self, out: Path) -> None:
        torch.manual_seed(5)
        state = torch.get_rng_state()
        contents = []
        for _ in range(2):
            write_adapter(TensorDeltas(self.MATRICES), out, rank=4)
            contents.append((out / "adapter_model.safetensors").read_bytes())
            torch.rand(3)
        torch.manual_seed(5)
        assert contents[0] == contents[1] and torch.equal(torch.get_rng_state(), state)

    def test_a_rank_beyond_the_modules_is_exact_and_padded(self, out: Path) -> None:
        matrices = {"tall": noisy(50, 10), "wide": noisy(10, 50), "large": noisy(40, 60)}
        report = write_adapter(TensorDeltas(matrices), out, rank=48)
        assert report["rank"] == 48 and report["relative_error"] == 0
        for module, matrix in matrices.items():
            assert torch.equal(written(out, module).float(), matrix)
        shapes = {tuple(t.shape) for t in load_file(out / "adapter_model.safetensors").values()}
        assert shapes == {(48, 10), (50, 48), (48, 50), (10, 48), (48, 60), (40, 48)}

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
    def test_rounding_to_the_type_counts(self, out: Path, dtype: str) -> None:
        matrices = {"a": noisy(90, 60, noise=0)}
        for vectors in (TensorDeltas(matrices), products(6, a=(90, 60))):
            report = write_adapter(vectors, out, rank=6, dtype=dtype)
            expected = matrices["a"].double() if isinstance(vectors, TensorDeltas) else vectors.product("a")
            actual = (written(out, "a") - expected).norm() / expected.norm()
            assert report["relative_error"] == pytest.approx(actual.item(), rel=1e-2)
            assert 1e-5 < actual < 1e-2
            assert {t.dtype for t in load_file(out / "adapter_model.safetensors").values()} == {getattr(torch, dtype)}


class TestLowRank:
    SHAPES: ClassVar = {"a": (90, 60), "b": (8, 40), "c": (30, 10)}

    @pytest.mark.parametrize("rank", [12, 16])
    def test_it_is_exact_where_the_rank_suffices(self, out: Path, rank: int) -> None:
        deltas = products(**self.SHAPES)
        report = write_adapter(deltas, out, rank=rank)
        assert report["relative_error"] < 1e-6
        for module in self.SHAPES:
            torch.testing.assert_close(written(out, module), deltas.product(module), rtol=0, atol=1e-5)

    @pytest.mark.parametrize("rank", [1, 5, 11])
    def test_else_it_is_the_best_there_is(self, out: Path, rank: int) -> None:
        deltas = products(**self.SHAPES)
        report = write_adapter(deltas, out, rank=rank)
        for module in self.SHAPES:
            least = least_error([deltas.product(module)], rank)
            assert report["modules"][module]["relative_error"] == pytest.approx(least, rel=1e-4, abs=1e-6)
            actual = (written(out, module) - deltas.product(module)).norm() / deltas.product(module).norm()
            assert actual.item() == pytest.approx(least, rel=1e-4, abs=1e-6)
        assert report["relative_error"] == pytest.approx(least_error(map(deltas.product, self.SHAPES), rank), rel=1e-4)

    def test_a_linear_merge_of_adapters_is_exact(self, make_lora: Make, out: Path) -> None:
        adapters = [LoraAdapter.load(make_lora(seed, rank)) for seed, rank in ((0, 4), (1, 2))]
        with Merger(adapters, "linear", [1, 3]) as merger:
            report = write_adapter(merger, out, max_error=1e-5)
            assert report["rank"] == 8 and report["relative_error"] < 1e-6
            for module, dense in merger.dense():
                torch.testing.assert_close(written(out, module).float(), dense, rtol=1e-5, atol=1e-6)


class Counted(TensorDeltas):
    """Counts how often it is read."""

    reads = 0

    def dense(self, modules: Iterable[str] | None = None) -> Iterator[tuple[str, torch.Tensor]]:
        self.reads += 1
        return super().dense(modules)


class TestMaxError:
    # the singular values of the first hardly decay
    MATRICES: ClassVar = {"a": noisy(150, 180, noise=5, seed=2), "b": noisy(100, 140, rank=30, seed=3)}

    @pytest.mark.parametrize("max_error", [0.9, 0.6, 0.3, 0.1, 0.01])
    def test_the_smallest_rank_that_suffices(self, out: Path, max_error: float) -> None:
        report = write_adapter(Counted(self.MATRICES), out, max_error=max_error)
        assert report["rank"] == min(r for r in RANKS if 1.02 * least_error(self.MATRICES.values(), r) <= max_error)
        assert report["relative_error"] <= max_error
        assert json.loads((out / "adapter_config.json").read_text())["r"] == report["rank"]
        ranks = [
            tensor.shape["lora_B" in name] for name, tensor in load_file(out / "adapter_model.safetensors").items()
        ]
        assert set(ranks) == {report["rank"]}

    def test_ranks_that_cannot_suffice_are_not_tried(self, out: Path) -> None:
        deltas = Counted({"a": torch.randn(400, 400, generator=torch.Generator().manual_seed(0))})
        report = write_adapter(deltas, out, max_error=0.2)
        assert report["rank"] == 256 and deltas.reads == 3  # 8, 128 and 256

    def test_none_suffices(self, out: Path) -> None:
        deltas = Counted({"a": torch.randn(600, 700, generator=torch.Generator().manual_seed(0))})
        with pytest.raises(
            SamnerError, match=r"no rank up to 512 has .* at most 0\.01: at rank 512 it is 0\.[01]\d+$"
        ):
            write_adapter(deltas, out, max_error=0.01)
        assert not (out / "adapter_config.json").exists()

    def test_what_rounding_forbids(self, out: Path) -> None:
        with pytest.raises(SamnerError, match=r"at most 1e-05: at rank 64 it is 0\.00"):
            write_adapter(TensorDeltas({"a": noisy(50, 60)}), out, max_error=1e-5, dtype="bfloat16")


class TestPeft:
    def test_it_loads_and_does_what_the_task_vectors_do(self, make_llama: Make, make_lora: Make, out: Path) -> None:
        from peft import PeftModel
        from peft.tuners.lora import LoraLayer
        from transformers import AutoModelForCausalLM

        tokens = torch.arange(1, 40)[None]
        with Merger([LoraAdapter.load(make_lora(seed)) for seed in (0, 1)], "ties", density=0.3) as merger:
            write_adapter(merger, out, rank=32, base="org/tiny-llama")
            merged = dict(merger.dense())
        with warnings.catch_warnings(), torch.no_grad():
            warnings.filterwarnings("error", "Found missing adapter keys")
            peft_model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(make_llama()), out)
            layers = {name: layer for name, layer in peft_model.named_modules() if isinstance(layer, LoraLayer)}
            assert {name.removeprefix("base_model.model.") for name in layers} == merged.keys()
            assert {layer.scaling["default"] for layer in layers.values()} == {1.0}
            logits = peft_model(tokens).logits
            model = AutoModelForCausalLM.from_pretrained(make_llama())
            for module, delta in merged.items():
                model.get_submodule(module).weight += delta
            torch.testing.assert_close(logits, model(tokens).logits, rtol=1e-4, atol=1e-5)
        assert peft_model.peft_config["default"].base_model_name_or_path == "org/tiny-llama"

    def test_it_holds_exactly_the_modules(self, out: Path) -> None:
        write_adapter(TensorDeltas({"x.b": noisy(9, 8), "a": noisy(7, 8)}), out, rank=2)
        assert {path.name for path in out.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
        config = json.loads((out / "adapter_config.json").read_text())
        assert config["target_modules"] == ["a", "x.b"] and config["base_model_name_or_path"] is None
        assert (config["r"], config["lora_alpha"]) == (2, 2)
        assert LoraAdapter.load(out).modules == ("a", "x.b")


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "give --rank .* or --max-error"),
            ({"rank": 8, "max_error": 0.1}, "give --rank or --max-error, not both"),
            ({"rank": 0}, "--rank must be at least 1, not 0"),
            ({"rank": 513}, "--rank 513 is more than any module can need; 8 is exact"),
            ({"max_error": 0}, "--max-error must lie between 0 and 1, not 0"),
            ({"max_error": 1.5}, "--max-error must lie between 0 and 1, not 1.5"),
            ({"max_error": float("nan")}, "--max-error must lie between 0 and 1, not nan"),
            ({"rank": 8, "dtype": "float64"}, "unknown type 'float64' .* float32, float16, bfloat16"),
        ],
    )
    def test_options(self, out: Path, options: dict[str, Any], message: str) -> None:
        with pytest.raises(SamnerError, match=message):
            write_adapter(TensorDeltas({"a": noisy(9, 8)}), out, **options)
        assert not list(out.iterdir())

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    @pytest.mark.parametrize("rank", [2, 20])
    def test_values_that_are_no_numbers(self, out: Path, value: float, rank: int) -> None:
        matrix = noisy(9, 8)
        matrix[1, 1] = value
        with pytest.raises(SamnerError, match="the task vector of a holds NaN or infinite values"):
            write_adapter(TensorDeltas({"a": matrix}), out, rank=rank)

    @pytest.mark.parametrize("rank", [2, 20])
    def test_values_too_large_for_the_type(self, out: Path, rank: int) -> None:
        large = LowRank({"a": LoraFactors(torch.full((2, 30), 1e5), torch.full((30, 2), 1e5), 1.0)})
        for deltas in (large, TensorDeltas({"a": noisy(30, 30) * 1e12})):
            with pytest.raises(SamnerError, match=r"the task vector of a leaves the range of torch\.float16"):
                write_adapter(deltas, out, rank=rank, dtype="float16")

    def test_a_full_disk_leaves_nothing_and_names_the_file(
        self, tmp_path: Path, small_disk: Callable[[int], AbstractContextManager[None]]
    ) -> None:
        with (
            small_disk(10_000),
            pytest.raises(OSError, match=r"adapter_model\.safetensors"),
            atomic_folder(tmp_path / "result") as folder,
        ):
            write_adapter(TensorDeltas({"a": noisy(200, 300)}), folder, rank=16)
        assert not list(tmp_path.iterdir())


def test_progress_is_in_values_of_the_task_vectors(out: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    write_adapter(TensorDeltas({"a": noisy(9, 8), "b": noisy(5, 4)}), out, rank=2, progress=lambda *s: seen.append(s))
    assert seen == [("adapter of rank 2", 72, 92), ("adapter of rank 2", 92, 92)]
