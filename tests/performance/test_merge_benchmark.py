"""What the merge benchmark measures against is itself right, and its tables find their place."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from performance.merge import engine, flattened, reference, report
from performance.merge.adapters import write_adapters
from performance.merge.bench import Bench
from performance.merge.child import Watch
from performance.merge.measure import run
from performance.merge.shapes import LLAMA_8B, Shape
from samner.errors import SamnerError
from samner.merging import LoraAdapter, LoraFactors, merge

TINY = Shape(32, 48, 16)
DENSITY = 0.2


@pytest.fixture
def adapters(tmp_path: Path) -> list[LoraAdapter]:
    return [LoraAdapter.load(path) for path in write_adapters(tmp_path / "a", TINY.widths, 2, experts=3, rank=4)]


def test_generated_adapters_have_the_shapes_of_the_model_and_repeat(
    tmp_path: Path, adapters: list[LoraAdapter]
) -> None:
    again = LoraAdapter.load(write_adapters(tmp_path / "b", TINY.widths, 2, experts=1, rank=4)[0])
    assert {name: factors.shape for name, factors in again.factors.items()} == TINY.modules(2)
    assert again.digest == adapters[0].digest != adapters[1].digest
    assert len(LLAMA_8B.modules(32)) == 224


def test_generated_adapters_can_be_of_some_modules(tmp_path: Path) -> None:
    path = write_adapters(tmp_path, TINY.widths, 1, experts=1, rank=4, only="k_proj")[0]
    assert LoraAdapter.load(path).modules == ("model.layers.0.self_attn.k_proj",)


def test_the_flattened_algorithm_and_the_engine_agree(adapters: list[LoraAdapter]) -> None:
    vectors = torch.stack([torch.cat([a.delta(m).flatten() for m in a.modules]) for a in adapters])
    keeps = int(DENSITY * vectors.shape[1]) + 1  # one more than it is asked for
    merged = merge(adapters, "ties", density=keeps / vectors.shape[1])
    ours = torch.cat([merged[module].flatten() for module in adapters[0].modules])
    torch.testing.assert_close(flattened.ties(vectors, DENSITY), ours, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("scope", ["global", "tensor"])
def test_the_reference_and_the_engine_agree(adapters: list[LoraAdapter], scope: str) -> None:
    truth = reference.ties(adapters, DENSITY, scope)
    ours = merge(adapters, "ties", density=DENSITY, scope=scope)
    assert truth.keys() == ours.keys()
    for module, values in ours.items():
        torch.testing.assert_close(values.double(), truth[module], rtol=1e-5, atol=1e-8)


def test_the_reference_keeps_the_first_of_equal_values() -> None:
    factors = LoraFactors(torch.tensor([[1.0, -2.0, 2.0, 2.0]]), torch.tensor([[1.0]]), 1.0)
    truth = reference.ties([LoraAdapter("a", {"m": factors})], 0.5, "tensor")
    assert truth["m"].tolist() == [[0, -2, 2, 0]]


def test_the_error_of_an_adapter(tmp_path: Path, adapters: list[LoraAdapter]) -> None:
    path = tmp_path / "a" / "0"
    reference.write(Watch(), [str(path)], "global", str(tmp_path / "truth"))
    found = reference.error(Watch(), str(tmp_path / "truth"), str(path))["error"]
    kept = torch.cat([v.flatten() for v in reference.ties(adapters[:1], DENSITY, "global").values()])
    whole = torch.cat([adapters[0].delta(module).flatten() for module in adapters[0].modules])
    assert found == pytest.approx(float((whole - kept).norm() / kept.norm()), rel=1e-6)


def test_limits_count_bytes_and_operations() -> None:
    count = len(set(TINY.layer(0).values()))
    rates: dict[str, object] = {"bandwidth": 1.0, "products": [1.0] * count, "sketches": [1.0] * count}
    moved, work = engine.limits(TINY, 2, rates, stored=False)
    # three passes over three experts of rank 16
    assert moved == 9 * 2 * 16 * sum(rows + columns for rows, columns in TINY.modules(2).values())
    assert work == 9 * 2 * 16 * TINY.numel(2)
    assert engine.limits(TINY, 2, rates, stored=True)[0] == moved + 12 * TINY.numel(2)


def test_a_failing_case_says_why_and_is_noted(tmp_path: Path) -> None:
    result = run("report.no_such_case")
    assert "no_such_case" in result.failure
    bench = Bench(tmp_path, quick=True, full=False)
    bench.run("report.no_such_case")
    assert len(bench.failures) == 1


def test_a_part_is_written_between_its_markers_only(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    around = "# T\n\n<!-- performance.merge {0}: begin -->\nold {0}\n<!-- performance.merge {0}: end -->\n\nend\n"
    path.write_text(around.format("a") + around.format("b"), encoding="utf-8")
    report.write(path, "a", "new")
    text = path.read_text(encoding="utf-8")
    assert "old a" not in text and "\n\nnew\n\n" in text and text.endswith(around.format("b"))
    with pytest.raises(SamnerError, match=r"must hold the lines .*merge c: begin.*"):
        report.check(path, "c")


def test_a_table_is_padded() -> None:
    assert report.table(["a", "long"], [["1", "2"]]) == "| a | long |\n|---|------|\n| 1 | 2    |"
