"""The YAML of an evaluation: what it may say, and that all else is refused with the file and the key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from samner.errors import SamnerError
from samner.evaluation.config import ARMS, Config, Target, read_config

SHIPPED = Path(__file__).resolve().parents[2] / "docs" / "targets.yaml"
TARGETS = {"pharma": {"test": "test.jsonl", "unlabeled": "unlabeled.jsonl"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("test.jsonl", "unlabeled.jsonl"):
        (tmp_path / name).write_text("{}\n")
    return tmp_path


def write(folder: Path, values: Any) -> Path:
    path = folder / "targets.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values), encoding="utf-8")
    return path


def test_defaults(folder: Path) -> None:
    path = write(folder, {"targets": TARGETS})
    target = Target("pharma", folder / "test.jsonl", folder / "unlabeled.jsonl")
    assert read_config(path) == Config(path=path, pool="builtin", targets=(target,))


def test_everything(folder: Path) -> None:
    (folder / "sub" / "pool").mkdir(parents=True)
    values = {
        "data": "..",
        "pool": "pool",
        "seed": 1,
        "experts": 2,
        "samples": 5,
        "merge": {"method": "dare_ties", "density": 0.5, "seed": 3},
        "baselines": ["unified"],
        "arms": ["base", "union"],
        "averages": {"public": ["pharma"]},
        "targets": TARGETS,
    }
    config = read_config(write(folder / "sub", values))
    assert config.pool == str(folder / "sub" / "pool")
    assert config.targets[0].test == folder / "sub" / ".." / "test.jsonl"
    assert config.averages == {"public": ("pharma",)}
    assert config.settings() == {key: values[key] for key in config.settings()}


def test_data_folder_of_the_caller_wins(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.mktemp("elsewhere"), {"data": "nowhere", "targets": TARGETS})
    assert read_config(path, folder).targets[0].test == folder / "test.jsonl"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expert": 3}, "expert: unknown key; known are data, pool"),
        ({"targets": {}}, "targets: at least one target"),
        ({"targets": [1]}, "targets: must be a mapping"),
        ({"targets": {"a/b": TARGETS["pharma"]}}, "targets.a/b: a target's name may hold"),
        ({"targets": {True: TARGETS["pharma"]}}, "targets: the key True must be a string"),
        ({"targets": {"a": {"test": "test.jsonl"}}}, "targets.a.unlabeled: is missing"),
        ({"targets": {"a": {"test": 3, "unlabeled": "unlabeled.jsonl"}}}, "targets.a.test: must be a string"),
        ({"targets": {"a": {**TARGETS["pharma"], "dev": "x"}}}, "targets.a.dev: unknown key; known are test"),
        ({"targets": {"a": {"test": "no.jsonl", "unlabeled": "no.jsonl"}}}, "targets.a.test: no such file: "),
        ({"data": "nowhere"}, "data: no such folder: "),
        ({"pool": None}, "pool: must be a string that is not blank, not nothing"),
        ({"seed": -1}, "seed: must be a whole number of at least 0, not -1"),
        ({"experts": 0}, "experts: must be a whole number of at least 1, not 0"),
        ({"samples": 2.5}, "samples: must be a whole number"),
        ({"samples": True}, "samples: must be a whole number"),
        ({"merge": "ties"}, "merge: must be a mapping"),
        ({"merge": {"method": "glue"}}, "merge: unknown merge method 'glue'; known are "),
        ({"merge": {"density": 2}}, "merge: density must be above 0 and at most 1, not 2"),
        ({"merge": {"strength": 2}}, "merge: the merge method 'ties' has no parameter 'strength'"),
        ({"baselines": "unified"}, "baselines: must be a list of names"),
        ({"baselines": ["../x"]}, "baselines: '../x' cannot name an expert"),
        ({"baselines": ["a", "a"]}, "baselines: 'a' is given twice"),
        ({"arms": ["sam"]}, "arms: unknown 'sam'; known are base, experts"),
        ({"arms": []}, "arms: must not be empty"),
        ({"averages": {"public": ["x"]}}, "averages.public: unknown 'x'; known are pharma"),
        ({"averages": {"all": ["pharma"]}}, "averages.all: this average is always there"),
    ],
)
def test_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    path = write(folder, {"targets": TARGETS, **change})
    with pytest.raises(SamnerError, match=re.escape(f"{path}: {message}")):
        read_config(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": must be a mapping of keys to values, not nothing"),
        ("- a\n", ": must be a mapping of keys to values"),
        ("seed: 0\ntargets: {a: [}\n", ":2: not valid YAML"),
        ("seed: 0\nseed: 1\n", ":2: not valid YAML (the key 'seed' is given twice)"),
        ("a: !!python/object:os.system {}\n", ":1: not valid YAML"),
    ],
)
def test_not_even_a_configuration(folder: Path, text: str, message: str) -> None:
    path = write(folder, text)
    with pytest.raises(SamnerError, match=re.escape(f"{path}{message}")):
        read_config(path)


def test_unreadable(tmp_path: Path) -> None:
    with pytest.raises(SamnerError, match="cannot be read"):
        read_config(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"pool: caf\xe9\n")
    with pytest.raises(SamnerError, match="not UTF-8"):
        read_config(tmp_path / "latin.yaml")


def test_shipped(shared_data: Path) -> None:
    config = read_config(SHIPPED, shared_data)
    assert len(config.targets) == 9
    assert len(config.averages["public"]) == 7
    assert (config.pool, config.baselines, config.arms) == ("builtin", ("unified",), ARMS)
