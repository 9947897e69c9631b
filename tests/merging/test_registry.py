"""The register of merge methods: parameters, methods of one's own, and those that packages add."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np
import pytest
import torch
from dense_reference import adapter

from samner.errors import SamnerError
from samner.lora import LoraFactors
from samner.merging import MergeMethod, Merger, merge, merge_method, methods, registry
from samner.merging.registry import DenseMethod, LowRankMethod, TileRule
from samner.merging.task_vectors import TaskVectors

GOOD = adapter({"m": np.ones((2, 2))})


@dataclass(frozen=True, kw_only=True)
class First(DenseMethod):
    """The first expert alone."""

    times: int = 1

    def rule(self, vectors: TaskVectors) -> TileRule:
        return lambda tile: vectors.values(0, tile) * self.lam * self.times


@dataclass(frozen=True, kw_only=True)
class FirstFactors(LowRankMethod):
    """The same, as factors."""

    def factors(self, vectors: TaskVectors, module: str) -> LoraFactors:
        _, b, a = vectors.factors(module)[0]
        return LoraFactors(a, b, self.lam)


not_a_method = dict


@pytest.fixture(autouse=True)
def own_register(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "METHODS", dict(registry.METHODS))
    registry.installed.cache_clear()
    yield
    registry.installed.cache_clear()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Installs entry points: ``installed(name="module:object")``."""

    def install(**points: str) -> None:
        found = [EntryPoint(name, value, registry.ENTRY_POINTS) for name, value in points.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: found if group == registry.ENTRY_POINTS else [])

    # entry points are loaded by name, and this file has none of its own under importlib
    monkeypatch.setitem(sys.modules, "a_plugin", sys.modules[__name__])
    return install


def test_methods_lists_parameters_and_defaults() -> None:
    random = {"lam": 1.0, "density": 0.2, "seed": 0}
    assert methods() == {
        "ties": {"lam": 1.0, "density": 0.2, "scope": "global"},
        "linear": {"lam": 1.0},
        "magnitude_prune": {"lam": 1.0, "density": 0.2, "scope": "global"},
        "breadcrumbs": {"lam": 1.0, "density": 0.2, "scope": "tensor", "gamma": 0.01},
        "dare_linear": random,
        "dare_ties": random,
        "della": random | {"epsilon": 0.1},
        "knots": {"lam": 1.0, "density": 0.2},
    }


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("ties", {"densty": 0.2}, "the merge method 'ties' has no parameter 'densty'; it has density, lam, scope"),
        ("linear", {"density": 0.2}, "'linear' has no parameter 'density'; it has lam"),
        ("ties", {"density": 0}, "density must be above 0 and at most 1, not 0"),
        ("ties", {"density": 1.01}, "density must be"),
        ("dare_ties", {"density": -0.1}, "density must be"),
        ("dare_linear", {"density": math.nan}, "density must be"),
        ("knots", {"density": True}, "density must be"),
        ("ties", {"density": "0.2"}, "density must be"),
        ("dare_ties", {"density": 1e-9}, "density must be at least 1e-06 to drop at random, not 1e-09"),
        ("ties", {"lam": math.inf}, "lam must be a finite number, not inf"),
        ("linear", {"lam": None}, "lam must be"),
        ("ties", {"scope": "layer"}, "scope must be 'global' or 'tensor', not 'layer'"),
        ("breadcrumbs", {"scope": None}, "scope must be"),
        ("breadcrumbs", {"gamma": 1}, "gamma must be at least 0 and below 1, not 1"),
        ("breadcrumbs", {"gamma": -0.1}, "gamma must be"),
        ("dare_ties", {"seed": 1.5}, "seed must be a whole number, not 1.5"),
        ("della", {"seed": True}, "seed must be a whole number, not True"),
        ("della", {"epsilon": -0.1}, "epsilon must be a finite number of at least 0, not -0.1"),
        ("della", {"epsilon": "0.1"}, "epsilon must be a finite number"),
        ("della", {"epsilon": 0.2}, "at most 0.199999 with density 0.2, so that every .*; it is 0.2"),
        ("della", {"density": 0.95}, "at most 0.05 with density 0.95, so that every .*; it is 0.1"),
    ],
)
def test_parameters_refused(method: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(SamnerError, match=message):
        merge([GOOD], method, **params)


def test_a_method_of_ones_own() -> None:
    merge_method("first")(First)
    assert merge([GOOD], "first", lam=2, times=3)["m"].tolist() == [[6, 6], [6, 6]]
    with pytest.raises(SamnerError, match="there is a merge method named 'first' already"):
        merge_method("first")(FirstFactors)


def test_a_low_rank_method_of_ones_own() -> None:
    merge_method("first")(FirstFactors)
    with Merger([GOOD], "first", lam=2) as merger:
        assert merger.factors("m").rank == 2
        assert dict(merger.dense())["m"].tolist() == [[2, 2], [2, 2]]


def test_a_method_that_can_do_nothing_is_a_bug() -> None:
    before = torch.get_num_threads()
    merge_method("idle")(MergeMethod)
    with pytest.raises(TypeError, match="idle is neither a DenseMethod nor a LowRankMethod"):
        Merger([GOOD], "idle", threads=before + 1)
    assert torch.get_num_threads() == before


def test_a_package_adds_methods(installed: Callable[..., None]) -> None:
    installed(first="a_plugin:First", low="a_plugin:FirstFactors")
    assert methods()["first"] == {"lam": 1.0, "times": 1}
    assert merge([GOOD], "first", times=2)["m"].tolist() == [[2, 2], [2, 2]]
    assert merge([GOOD], "low")["m"].tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_package:Method", "the merge method 'bad' of no_such_package:Method cannot be loaded"),
        ("a_plugin:NoSuchName", "the merge method 'bad' of a_plugin:NoSuchName cannot be loaded"),
        ("a_plugin:not_a_method", "merge method 'bad' .* is not a DenseMethod or LowRankMethod"),
        ("a_plugin:GOOD", "is not a DenseMethod or LowRankMethod"),
        ("a_plugin:MergeMethod", "is not a DenseMethod or LowRankMethod"),
    ],
)
def test_a_package_that_is_broken(installed: Callable[..., None], value: str, message: str) -> None:
    installed(first="a_plugin:First", bad=value)
    for _ in range(2):  # the second time as the first, though what came before it is registered
        with pytest.raises(SamnerError, match=message):
            methods()


def test_a_package_that_fails_when_imported(
    installed: Callable[..., None], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "failing_plugin.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    installed(bad="failing_plugin:Method")
    with pytest.raises(SamnerError, match=r"'bad' of failing_plugin:Method cannot be loaded \(division by zero\)"):
        methods()


def test_a_package_cannot_replace_a_method(installed: Callable[..., None]) -> None:
    installed(ties="a_plugin:First")
    with pytest.raises(SamnerError, match="there is a merge method named 'ties' already"):
        methods()
