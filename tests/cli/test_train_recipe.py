from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from samner.errors import SamnerError
from samner.pool import ExpertCard, ExpertPool
from samner.training import ExpertRecipe

ROOT = Path(__file__).resolve().parents[2]
RECIPES = {
    # parameters of the model and of a LoRA adapter of rank 16, as the models' makers and PEFT count them
    "llama-3.1-8b": (8_030_261_248, 41_943_040),
    "qwen2.5-7b": (7_615_616_512, 40_370_176),
    "qwen2.5-1.5b": (1_543_714_304, 18_464_768),
}


def write(path: Path, texts: int) -> Path:
    lines = [
        {"text": f"Paris, visit {i}.", "entities": [{"start": 0, "end": 5, "label": "city"}]} for i in range(texts)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def recipe(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def lm_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty pool over a tiny random Llama."""
    from tests.backbones.language_model.tiny_llama import tiny_base

    root = tmp_path_factory.mktemp("lm")
    return ExpertPool.create(root / "pool", tiny_base(root)).folder


class TestRecipe:
    def test_the_command_line_goes_first(self, samner, tiny_pool: Path, tmp_path: Path):
        write(tmp_path / "a.jsonl", 5)
        options = "options: {steps: 3, rank: 4, learning_rate: 1e-3, max_minutes: null}"
        file = recipe(
            tmp_path / "r.yaml",
            f"name: cities\npool: {tiny_pool}\ndata: a.jsonl\nout: made\nlicence: CC0\ndescription: Towns\n" + options,
        )
        result = samner("train", "--recipe", file, "--option", "steps=2")
        assert result.exit_code == 0, result.stderr
        card = ExpertCard.read(tmp_path / "made")
        assert (card.name, card.description, card.data[0].licence) == ("cities", "Towns", "CC0")
        used = card.training["recipe"]
        assert (used["steps"], used["rank"], used["learning_rate"]) == (2, 4, 1e-3)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("name: x\npols: y\n", "r.yaml: pols: unknown setting; known are model,"),
            ("options:\n  rank: 2\n\n  rnk: 3\n", "r.yaml: options: rnk: unknown setting; known are steps,"),
            ("options:\n  rank: 2.5\n", "r.yaml: options: rank: input should be a valid integer, not 2.5"),
            ("options: 3\n", "r.yaml: options: input should be an object"),
            ("data: 3\n", "r.yaml: data: input should be a valid"),
            ("name: ''\n", "r.yaml: name: string should match pattern"),
            ("name: &a x\nout: *a\n", "r.yaml:1: not valid YAML (anchors (&) and aliases (*) are not read"),
            ("- a\n", "r.yaml: must be a mapping"),
            ("name: a\nname: b\n", "r.yaml:2: not valid YAML"),
        ],
    )
    def test_what_is_wrong_is_told_by_file_and_field(
        self, samner, tiny_pool: Path, tmp_path: Path, text: str, message: str
    ):
        file = recipe(tmp_path / "r.yaml", text)
        data = write(tmp_path / "a.jsonl", 5)
        result = samner("train", data, "--recipe", file, "--pool", tiny_pool, "--name", "x", "-o", tmp_path / "x")
        assert (result.exit_code, result.stdout) == (2, "")
        assert message in result.stderr

    def test_paths_are_relative_to_the_file(self, tmp_path: Path):
        (tmp_path / "pool").mkdir()
        read = ExpertRecipe.read(recipe(tmp_path / "r.yaml", "data: [a, b]\ndev: c\npool: pool\n"))
        assert read.data == (tmp_path / "a", tmp_path / "b")
        assert read.dev == (tmp_path / "c",)
        assert read.pool == str(tmp_path / "pool")
        read = ExpertRecipe.read(recipe(tmp_path / "r.yaml", "data: ~/a.jsonl\nout: ~/made\n"))
        assert (read.data, read.out) == ((Path.home() / "a.jsonl",), Path.home() / "made")
        with pytest.raises(SamnerError, match="cannot be read"):
            ExpertRecipe.read(tmp_path / "no.yaml")

    @pytest.mark.parametrize(
        ("given", "missing"),
        [(["--name", "x", "-o", "x"], "DATA"), (["a", "-o", "x"], "--name NAME"), (["a", "--name", "x"], "-o FOLDER")],
    )
    def test_what_is_missing_is_said(self, samner, given: list[str], missing: str):
        result = samner("train", *given)
        assert result.exit_code == 2
        assert f"error: {missing} is missing, on the command line and in a recipe" in result.stderr


class TestDryRun:
    @pytest.mark.parametrize("name", RECIPES)
    def test_the_recipes_that_ship(self, samner, name: str):
        file = ROOT / "recipes" / f"{name}.yaml"
        result = samner("train", "--recipe", file, "--dry-run", "--json")
        assert result.exit_code == 0, result.stderr
        shown = json.loads(result.stdout)
        assert (shown["model_parameters"], shown["adapter_parameters"]) == RECIPES[name]
        assert shown["question"].endswith("JSON:\n") and json.loads(shown["answer"])
        assert shown["steps"] == 1 and shown["packed"]
        commands = [line[2:] for line in file.read_text().splitlines() if line.startswith("# samner ")]
        assert commands[0].startswith("samner pool create ") and "--dry-run" in commands[-1]
        assert f"--model {ExpertRecipe.read(file).model}" in commands[0]

    def test_a_pool_and_data_of_ones_own(self, samner, lm_pool: Path, tmp_path: Path):
        data = write(tmp_path / "a.jsonl", 50)
        result = samner("train", data, "--pool", lm_pool, "--dry-run", "--option", "epochs=2", "--option", "batch=6")
        assert result.exit_code == 0, result.stderr
        assert "a: 20 of its 50 texts, drawn at random, are held out" in result.stderr
        assert "(llama): 34,720 parameters" in result.stdout
        assert '"city": ["Paris"]' in result.stdout
        assert "questions: 60 (" in result.stdout and "stand-in" not in result.stdout
        assert result.stdout.endswith("nothing was trained\n")
        assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]

    def test_the_pool_that_is_named_goes_before_the_model_of_the_recipe(self, samner, lm_pool: Path):
        recipe = ["--recipe", ROOT / "recipes" / "qwen2.5-7b.yaml"]
        result = samner("train", *recipe, "--pool", lm_pool, "--dry-run")
        assert result.exit_code == 0, result.stderr
        assert "(llama): 34,720 parameters" in result.stdout

    def test_an_encoder_has_none(self, samner, tiny_pool: Path):
        result = samner("train", "--pool", tiny_pool, "--dry-run")
        assert result.exit_code == 2
        assert "--dry-run is for language models" in result.stderr


FAST = [
    part
    for option in ("steps=2", "rank=2", "batch=4", "micro_batch=2", "evaluations=1")
    for part in ("--option", option)
]


def test_an_expert_of_a_language_model_into_its_pool(samner, lm_pool: Path, tmp_path: Path):
    data = write(tmp_path / "a.jsonl", 50)
    result = samner("train", data, "--pool", lm_pool, "--name", "cities", "-o", tmp_path / "cities", *FAST)
    assert result.exit_code == 0, result.stderr
    assert "an adapter of 1,856 parameters (the paper's estimate, 18*H*r*L, is 2,304)" in result.stderr
    assert "dev loss " in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "cities"]
    assert sorted(path.suffix for path in (tmp_path / "cities").iterdir()) == [".json", ".json", ".md", ".safetensors"]
    pool = ExpertPool.load(lm_pool)
    pool.add(tmp_path / "cities")
    pool.remove("cities")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_share_the_work_and_one_writes(lm_pool: Path, tmp_path: Path):
    data = write(tmp_path / "a.jsonl", 50)
    arguments = ["train", data, "--pool", lm_pool, "--name", "cities", *FAST]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "-m", "samner"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
    for name, command in (("two", launcher), ("one", [sys.executable, "-m", "samner"])):
        done = subprocess.run(
            [*map(str, [*command, *arguments, "-o", tmp_path / name])],
            capture_output=True,
            text=True,
            env=environment,
            timeout=290,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("wrote ") == 1
        assert done.stderr.count("training cities on ") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "one", "two"]
    cards = [ExpertCard.read(tmp_path / name).training["outcome"] for name in ("one", "two")]
    assert cards[0]["steps"] == cards[1]["steps"] == 2
    assert cards[0]["best_loss"] == pytest.approx(cards[1]["best_loss"], abs=0.02)
