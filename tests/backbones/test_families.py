from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from samner.backbones import Backbone, is_server, load_backbone, usable_device
from samner.backbones.families import GROUP, SERVED, families, family, family_over_models
from samner.errors import ModelError, SamnerError
from samner.lora import LoraAdapter
from samner.pool import ExpertPool
from tests.backbones import toy_family
from tests.command_line import done


def test_a_base_is_loaded_by_the_family_it_names(tiny_pool: Path) -> None:
    backbone = load_backbone(tiny_pool / "base")
    assert isinstance(backbone, Backbone)
    assert type(backbone) is family(backbone.family)


def test_a_family_without_servers_says_so(tiny_pool: Path) -> None:
    with pytest.raises(ModelError, match="the encoder family runs in this process, not on the server http://host"):
        load_backbone(tiny_pool / "base", "http://host:8000/v1")


def test_a_server_is_a_url() -> None:
    assert is_server("http://host:8000/v1") and is_server("HTTP://HOST/v1") and is_server("server.json")
    assert not is_server("cpu")
    with pytest.raises(SamnerError, match=r"'127.0.0.1:8000/v1' cannot .*; a server's URL begins with http://"):
        usable_device("127.0.0.1:8000/v1")


def test_a_device_is_one_that_computes() -> None:
    assert usable_device("cpu:0") == usable_device("cpu") == "cpu"
    for odd in ("meta", "cuda:99", "tpu", "", "cpu:x"):
        with pytest.raises(SamnerError, match=f"^the device '{odd}' cannot be used here"):
            usable_device(odd)


def test_a_folder_without_a_card_is_no_base(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"base\.json: no such file, so .* is not a base model"):
        load_backbone(tmp_path)


@pytest.mark.parametrize("card", [{}, {"family": "gliner"}, {"family": None}, {"family": ["encoder"]}])
def test_an_unknown_family_is_refused(tmp_path: Path, card: dict[str, object]) -> None:
    (tmp_path / "base.json").write_text(json.dumps(card))
    with pytest.raises(ModelError, match=r"unknown family .*; known are encoder"):
        load_backbone(tmp_path)


def test_a_card_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text("{")
    with pytest.raises(SamnerError, match="not valid JSON"):
        load_backbone(tmp_path)


@pytest.mark.parametrize("group", [GROUP, SERVED])
def test_the_families_of_samner_are_entry_points_as_those_of_others_are(group: str) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    own = {name: point.value for name, point in families(group).items() if point.value.startswith("samner.")}
    assert own == project["entry-points"][group]
    assert all(family(name, group).family == name for name in own)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("no_such_module:Backbone", "cannot be loaded"),
        ("samner.backbones:load_backbone", "is not a Backbone whose family is 'wrong'"),
        ("samner.backbones:Backbone", "is not a Backbone whose family is 'wrong'"),
    ],
)
def test_a_package_at_fault_is_named(monkeypatch: pytest.MonkeyPatch, place: str, message: str) -> None:
    monkeypatch.setattr("samner.backbones.families.entry_points", lambda group: [EntryPoint("wrong", place, group)])
    with pytest.raises(SamnerError, match=message):
        family("wrong")


class TestOfAnotherPackage:
    """A family from outside, with every verb that meets one."""

    @pytest.fixture
    def samner(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
        (tmp_path / "packages").mkdir()
        toy_family.install(tmp_path / "packages")
        monkeypatch.syspath_prepend(str(tmp_path / "packages"))
        monkeypatch.chdir(tmp_path)

        return lambda line: done(*line.split())

    def test_trains_adapts_extracts_and_exports(self, samner: Callable[..., str], tmp_path: Path) -> None:
        def write(name: str, drug: str, disease: str) -> None:
            text = f"{drug} relieves {disease}."
            spans = [(0, len(drug), "drug"), (text.index(disease), text.index(disease) + len(disease), "disease")]
            entities = [dict(zip(("start", "end", "label"), span, strict=True)) for span in spans]
            (tmp_path / name).write_text(json.dumps({"text": text, "entities": entities}) + "\n", "utf-8")

        assert list(families())[-1] == "toy"
        assert family_over_models().family == "causal"

        samner("pool create pool --model any --family toy")
        write("pills.jsonl", "Aspirin", "headache")
        write("drops.jsonl", "Codeine", "cough")
        for name in ("pills", "drops"):
            samner(f"train {name}.jsonl --pool pool --name {name} -o {name} --option weight=0.9")
            samner(f"pool add pool {name}")
        assert samner("pool verify pool").split() == ["OK", "drops", "OK", "pills"]
        assert ExpertPool.load("pool").backbone.family == "toy"

        (tmp_path / "texts.txt").write_text("Aspirin helps against cough.\nNothing here.\n", "utf-8")
        samner("adapt texts.txt --pool pool --labels drug,disease --density 1 -o model")
        lines = [json.loads(line) for line in samner("extract --model model texts.txt").splitlines()]
        assert [[(e["text"], e["label"], e["score"]) for e in line["entities"]] for line in lines] == [
            [("Aspirin", "drug", 0.9), ("cough", "disease", 0.9)],
            [],
        ]

        samner("export model --to peft --rank 2 -o adapters")
        merged = LoraAdapter.load(tmp_path / "adapters" / "similarity").factors["scorer"]
        assert merged.shape == (toy_family.TYPES, toy_family.WORDS)
        samner("export model --to fused -o fused")
        assert (tmp_path / "fused" / "similarity" / "toy.safetensors").is_file()
