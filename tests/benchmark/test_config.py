"""The YAML of a benchmark: what groups and arms may say, and that all else is refused with the file and the key."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samner.benchmark.config import Arm, Published, merging, read_benchmark
from samner.errors import SamnerError

SHIPPED = Path(__file__).resolve().parents[2] / "docs" / "benchmark.yaml"

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
        configure, tmp_path, vary={"experts": [1, 2]}, label="k", texts=9, seeds=[1], arms={"union": {}, "economy": {}}
    )
    assert [arm.name for arm in made] == ["union k=1", "union k=2", "economy k=1", "economy k=2"]
    assert made[1] == Arm("union k=2", "g", "union", "union k=2", (1,), {"experts": 2}, 2, 9)


def test_everything_else(configure: Configure, tmp_path: Path, made: Path) -> None:
    benchmark = read_benchmark(configure(tmp_path))
    assert benchmark.comparisons == (("union", "unified"), ("random", "all"))
    assert benchmark.published == (Published("GLiNER", "a paper", {"pharma": 60.6}),)
    assert benchmark.domains == {name: (made / f"{name}.txt",) for name in ("medicine", "sports")}
    assert benchmark.oracle_texts == 2


def test_merging(configure: Configure, tmp_path: Path) -> None:
    setup = read_benchmark(configure(tmp_path, merge={"density": 0.3, "scope": "tensor"}))
    assert merging(setup, {}, 5) == ("ties", {"density": 0.3, "scope": "tensor"})
    assert merging(setup, {"density": 0.5, "experts": 2}, 5) == ("ties", {"density": 0.5, "scope": "tensor"})
    assert merging(setup, {"method": "linear"}, 5) == ("linear", {})  # it knows neither
    assert merging(setup, {"method": "dare_ties"}, 5) == ("dare_ties", {"density": 0.3, "seed": 5})


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({}, "groups: at least one group of arms"),
        ({"g": {}}, "groups.g.arms: at least one arm"),
        ({"g": {"arms": {"union": {}}, "text": 3}}, "groups.g.text: unknown key; known are arms, vary"),
        ({"g": {"arms": {"union": {}}, "texts": 0}}, "groups.g.texts: must be a whole number of at least 1"),
        ({"g": {"arms": {"sam": {}}}}, "groups.g.arms.sam.mode: unknown 'sam'; known are union"),
        ({"g": {"arms": {"a": {"mode": "baseline"}}}}, "groups.g.arms.a.name: is missing"),
        ({"g": {"arms": {"a": {"mode": "baseline", "name": "x"}}}}, "groups.g.arms.a.name: 'x' is not among"),
        (
            {"g": {"arms": {"base": {"lam": 1.0}}}},
            "groups.g.arms.base: unknown argument 'lam'; the mode base takes threshold",
        ),
        ({"g": {"arms": {"experts": {"lam": 1.0}}}}, "groups.g.arms.experts: unknown argument 'lam'; the mode exp"),
        ({"g": {"arms": {"union": {"name": "x"}}}}, "groups.g.arms.union.name: only the modes expert and baseline"),
        ({"g": {"arms": {"union": {"encoder": "bert"}}}}, "groups.g.arms.union.encoder: unknown 'bert'"),
        ({"g": {"arms": {"union": {"seeds": [-1]}}}}, "groups.g.arms.union.seeds: must be a list of whole numbers"),
        ({"g": {"arms": {"union": {"threshold": 2}}}}, "groups.g.arms.union: the threshold must lie between"),
        ({"g": {"arms": {"union": {"threshold": "x"}}}}, "groups.g.arms.union: "),
        ({"g": {"arms": {"union": {"method": "glue"}}}}, "groups.g.arms.union: unknown merge method 'glue'"),
        ({"g": {"arms": {"union": {"density": 2}}}}, "groups.g.arms.union: density must be above 0"),
        ({"g": {"arms": {"union": {"strength": 2}}}}, "groups.g.arms.union: unknown argument 'strength'; with"),
        (
            {"g": {"arms": {"union": {}}, "vary": {"lam": [1], "density": [1]}}},
            "groups.g.vary: one argument can be varied at a time, not lam, density",
        ),
        ({"g": {"arms": {"union": {}}, "vary": {"lam": []}}}, "groups.g.vary.lam: must be a list that is not empty"),
        ({"g": {"arms": {"union": {}}, "vary": {"density": [0.5, 2]}}}, "groups.g.arms.union: density must be"),
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
        ({"arms": []}, "arms: unknown key"),
        ({"comparisons": [["union"]]}, "comparisons: each must be a list of two different arms, not ['union']"),
        ({"comparisons": [["union", "x"]]}, "comparisons: there is no arm 'x'; there are base"),
        ({"comparisons": [["union", "union k=1"]]}, "comparisons: union and union k=1 do not read the same texts"),
        ({"published": {"a": {"scores": {}}}}, "published.a.source: is missing"),
        ({"published": {"a": {"source": "s", "scores": {"x": 1}}}}, "published.a.scores.x: unknown key"),
        ({"published": {"a": {"source": "s", "scores": {"pharma": "1"}}}}, "published.a.scores.pharma: must be a num"),
        ({"domains": {"sports": ["no.txt"]}}, "domains.sports: no such file: "),
        ({"oracle": {"texts": 0}}, "oracle.texts: must be a whole number of at least 1"),
        ({"experts": 0}, "experts: must be a whole number of at least 1, not 0"),
    ],
)
def test_refused(configure: Configure, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = configure(tmp_path, **change)
    with pytest.raises(SamnerError, match=re.escape(f"{path}: {message}")):
        read_benchmark(path)


def test_shipped(shared_data: Path) -> None:
    benchmark = read_benchmark(SHIPPED, shared_data)
    assert len(benchmark.targets) == len(benchmark.averages["public"]) == 7
    groups = dict.fromkeys(arm.group for arm in benchmark.arms)
    assert [*groups][:8] == ["main", "k", "samples", "method", "density", "lam", "scope", "encoder"]
