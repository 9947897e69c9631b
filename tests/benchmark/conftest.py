"""A pool whose two experts answer differently, two targets, and a report that only notes it was asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from samner.benchmark import report

LABELLED = {
    "pharma": [
        ("Codeine relieves fever within hours.", {"Codeine": "drug", "fever": "disease"}),
        ("Naproxen relieves headache.", {"Naproxen": "drug", "headache": "disease"}),
        ("Nothing to see.", {"Nothing": "miscellaneous"}),
        ("Triptan relieves fever.", {"Triptan": "drug", "fever": "disease"}),
    ],
    "games": [
        ("Omar Haddad scored twice for Rovers.", {"Omar Haddad": "person", "Rovers": "team"}),
        ("Lena Fischer scored for United.", {"Lena Fischer": "person", "United": "team"}),
    ],
}
GROUPS: dict[str, Any] = {
    "main": {
        "arms": {
            "base": {},
            "experts": {},
            "unified": {"mode": "baseline", "name": "unified"},
            "random": {"seeds": [0, 1, 2]},
            **{
                name: {}
                for name in (
                    *("all", "similarity", "sampling", "union", "intersection", "economy", "economy-unweighted"),
                    *("economy-common", "economy-average", "ensemble-union", "ensemble-majority"),
                )
            },
            "best": {"mode": "oracle-single"},
            "oracle-k1": {"mode": "oracle"},
            "oracle-k2": {"mode": "oracle", "experts": 2},
        }
    },
    "k": {"texts": 2, "vary": {"experts": [1, 2]}, "label": "k", "arms": {"union": {}}},
    "method": {"texts": 2, "vary": {"method": ["linear", "dare_ties"]}, "arms": {"union": {"title": "Merged"}}},
    "lam": {"vary": {"lam": [0.5, 1.0]}, "arms": {"unified": {"mode": "baseline", "name": "unified"}}},
}


def line(text: str, found: dict[str, str]) -> str:
    spans = [
        {"start": text.index(part), "end": text.index(part) + len(part), "label": la} for part, la in found.items()
    ]
    return json.dumps({"text": text, "entities": spans}) + "\n"


@pytest.fixture(scope="session")
def made(tiny_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pool and targets; to be read only."""
    from samner.pool import ExpertCard

    root = tmp_path_factory.mktemp("benchmark")
    shutil.copytree(tiny_pool, root / "pool")
    noise = torch.Generator().manual_seed(0)
    for name, strength in (("medicine", 0.02), ("sports", 0.2)):
        path = root / "pool" / "experts" / name / "adapter_model.safetensors"
        save_file(
            {key: torch.randn(value.shape, generator=noise) * strength for key, value in load_file(path).items()}, path
        )
        ExpertCard.read(path.parent).write(path.parent)
    shutil.copytree(root / "pool" / "experts" / "sports", root / "pool" / "baselines" / "unified")
    for name, examples in LABELLED.items():
        (root / f"{name}.jsonl").write_text("".join(line(*example) for example in examples))
        (root / f"{name}.txt").write_text("".join(f"{text}\n" for text, _ in examples))
    return root


@pytest.fixture(scope="session")
def configure(made: Path) -> Callable[..., Path]:
    """Writes a configuration into a folder, with changes to its top-level keys."""

    def write(folder: Path, **changes: Any) -> Path:
        values = {
            "pool": str(made / "pool"),
            "data": str(made),
            "experts": 1,
            "samples": 2,
            "baselines": ["unified"],
            "oracle": {"texts": 2},
            "averages": {"half": ["pharma"]},
            "targets": {
                "pharma": {"test": "pharma.jsonl", "unlabeled": "pharma.txt", "seen_types": ["drug"]},
                "games": {"test": "games.jsonl", "unlabeled": "games.txt"},
            },
            "comparisons": [["union", "unified"], ["random", "all"]],
            "published": {"GLiNER": {"source": "a paper", "scores": {"pharma": 60.6}}},
            "groups": GROUPS,
        }
        path = folder / "benchmark.yaml"
        path.write_text(yaml.safe_dump({**values, **changes}, sort_keys=False))
        return path

    return write


@pytest.fixture(autouse=True)
def no_plots(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Drawing takes seconds; the shared run of test_run.py and the tests in report/ do it."""
    if "report" not in request.path.parent.name:
        monkeypatch.setattr(report, "write_report", lambda results, folder: None)
