"""The YAML of a benchmark: what groups and arms may say, and that all else is refused with the file and the field."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samner.benchmark.config import Arm, BenchmarkSettings, read_benchmark
from samner.errors import SamnerError

DOCS = Path(__file__).resolve().parents[2] / "docs"

Configure = Callable[..., Path]


def arms(configure: Configure, folder: Path, **group: Any) -> list[Arm]:
    return list(read_benchmark(configure(folder, groups={"g": group}, comparisons=[])).arms)


def test_an_arm_is_its_mode_unless_it_says_another(configure: Configure, tmp_path: Path) -> None:
    given = {"union": {}, "wide": {"mode": "union", "title": "Wide", "experts": 2, "seeds": [3, 4], "density": 0.5}}
    assert arms(configure, tmp_path, arms=given) == [
        Arm("union", "g", "union", "union", (0,), {}),
        Arm("wide", "g", "union", "Wide", (3, 4), {"experts": 2, "density": 0.5}),
    ]


def test_vary_multiplies_arms(configure: Configure, tmp_path: Path) -> None:
    made = arms(
        configure,
        tmp_path,
        vary={"experts": [1, "auto"]},
        label="k",
        texts=9,
        seeds=[1],
        arms={"union": {}, "all": {}},
    )
    assert [arm.name for arm in made] == ["union k=1", "union k=auto", "all k=1", "all k=auto"]
    assert made[1] == Arm("union k=auto", "g", "union", "union k=auto", (1,), {"experts": "auto"}, "auto", 9)


def test_paths_are_found(configure: Configure, tmp_path: Path, made: Path) -> None:
    benchmark = read_benchmark(configure(tmp_path))
    assert benchmark.targets["games"].test == str(made / "games.jsonl")
    assert benchmark.pools == {str(made / "pool"): str(made / "pool")}
    given = read_benchmark(configure(tmp_path, data="elsewhere"), data=made, pools=[str(made / "pool")])
    assert (given.targets, given.pools) == (benchmark.targets, {"pool": str(made / "pool")})


def test_merging(configure: Configure, tmp_path: Path) -> None:
    settings = read_benchmark(configure(tmp_path, merge={"density": 0.3, "scope": "tensor"})).settings
    assert settings.merging({}, 5) == ("ties", {"density": 0.3, "scope": "tensor"})
    assert settings.merging({"density": 0.5, "experts": 2}, 5) == ("ties", {"density": 0.5, "scope": "tensor"})
    assert settings.merging({"method": "linear"}, 5) == ("linear", {})  # it knows neither
    assert settings.merging({"method": "dare_ties"}, 5) == ("dare_ties", {"density": 0.3, "seed": 5})


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "groups: "),
        ({"g": {}}, "groups.g.arms: is missing"),
        ({"g": {"arms": {}}}, "groups.g.arms: "),
        ({"g": {"arms": {"union": {}}, "colour": 1}}, "groups.g.colour: unknown setting"),
        ({"g": {"arms": {"union": {}}, "texts": 0}}, "groups.g.texts: "),
        ({"g": {"arms": {"sam": {}}}}, "groups.g.arms.sam.mode: unknown 'sam'; known are union"),
        ({"g": {"arms": {"a": {"mode": "baseline"}}}}, "groups.g.arms.a.name: must be one of the baselines"),
        ({"g": {"arms": {"a": {"mode": "baseline", "name": "x"}}}}, "groups.g.arms.a.name: must be one of"),
        ({"g": {"arms": {"a": {"mode": "expert"}}}}, "groups.g.arms.a.name: the modes expert and baseline need one"),
        ({"g": {"arms": {"union": {"name": "x"}}}}, "groups.g.arms.union.name: the modes expert and baseline need"),
        ({"g": {"arms": {"base": {"lam": 1.0}}}}, "groups.g.arms.base: unknown argument 'lam'; the mode base takes"),
        ({"g": {"arms": {"union": {"seeds": [-1]}}}}, "groups.g.arms.union.seeds.0: "),
        ({"g": {"arms": {"union": {"threshold": 2}}}}, "groups.g.arms.union.threshold: "),
        ({"g": {"arms": {"union": {"experts": 0}}}}, "groups.g.arms.union.experts"),
        ({"g": {"arms": {"union": {"method": "glue"}}}}, "groups.g.arms.union: unknown merge method 'glue'"),
        ({"g": {"arms": {"union": {"density": 2}}}}, "groups.g.arms.union: density must be above 0"),
        ({"g": {"arms": {"union": {"strength": 2}}}}, "groups.g.arms.union: unknown argument 'strength'; with"),
        ({"g": {"arms": {"union": {}}, "vary": {"lam": [1], "density": [1]}}}, "groups.g.vary: "),
        ({"g": {"arms": {"union": {}}, "vary": {"lam": []}}}, "groups.g.vary.lam: "),
        ({"g": {"arms": {"union": {}}, "vary": {"density": [0.5, 2]}}}, "groups.g.arms.union: density must be"),
        ({"g": {"arms": {"union": {}}, "vary": {"experts": [-1]}}}, "groups.g.arms.union: "),
        ({"g": {"arms": {"union": {}}}, "h": {"arms": {"union": {}}}}, "groups.h.arms: there is an arm 'union'"),
    ],
)
def test_groups_refused(configure: Configure, tmp_path: Path, groups: Any, message: str) -> None:
    path = configure(tmp_path, groups=groups, comparisons=[])
    with pytest.raises(SamnerError, match=re.escape(f"{path}: {message}")):
        read_benchmark(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": []}, "arms: unknown setting; known are pool, data, targets"),
        ({"comparisons": [["union"]]}, "comparisons.0"),
        ({"comparisons": [["union", "x"]]}, "comparisons: there is no arm 'x'; there are base"),
        ({"comparisons": [["union", "union k=1"]]}, "comparisons: union and union k=1 do not read the same texts"),
        ({"published": {"a": {"scores": {}}}}, "published.a.source: is missing"),
        ({"published": {"a": {"source": "s", "scores": {"x": 1}}}}, "published.a.scores: there is no target 'x'"),
        ({"published": {"a": {"source": "s", "scores": {"pharma": "1"}}}}, "published.a.scores.pharma: "),
        ({"averages": {"some": ["x"]}}, "averages.some: there is no target 'x'; there are pharma, games"),
        ({"averages": {"all": ["games"]}}, "averages.all: this average is always there"),
        ({"oracle": {"texts": 0}}, "oracle.texts: "),
        ({"experts": 0}, "experts: "),
        ({"experts": True}, "experts: "),
        ({"merge": {"density": 2}}, "merge: density must be above 0"),
        ({"merge": {"method": "glue"}}, "merge: unknown merge method 'glue'"),
        ({"targets": {}}, "targets: "),
        ({"targets": {"a/b": {"test": "games.jsonl", "unlabeled": "games.txt"}}}, "targets.a/b"),
        ({"data": "nowhere"}, "data: no such folder: "),
        (
            {"targets": {"pharma": {"test": "no.jsonl", "unlabeled": "games.txt"}}, "averages": {}},
            "targets.pharma.test: no such file: ",
        ),
    ],
)
def test_refused(configure: Configure, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = configure(tmp_path, **change)
    with pytest.raises(SamnerError, match=re.escape(f"{path}: {message}")):
        read_benchmark(path)


def test_editors_get_a_schema() -> None:
    schema = BenchmarkSettings.model_json_schema()
    assert {"pool", "targets", "groups"} <= schema["properties"].keys()
    assert schema["required"] == ["targets", "groups"]


@pytest.mark.parametrize("name", ["benchmark.yaml", "far_targets.yaml"])
def test_shipped(shared_data: Path, name: str) -> None:
    benchmark = read_benchmark(DOCS / name, data=shared_data)
    assert benchmark.targets and benchmark.arms[0].group == "main"
