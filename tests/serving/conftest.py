"""Served models whose answers are known, and the tiny pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra 'serve' is not installed")
pytest.importorskip("prometheus_client", reason="the extra 'serve' is not installed")

from fastapi import FastAPI
from starlette.testclient import TestClient

from samner.entities import entity_types
from samner.pool import ExpertPool
from samner.serving.app import create_app
from samner.serving.catalog import Catalog
from samner.serving.limits import Limits
from samner.task_model import Merge, TaskModel


class Ward:
    """The backbone of a served model: what it was asked, and a gate that holds its answers up."""

    def __init__(self, backbone: Any) -> None:
        self.backbone = backbone
        self.seconds = 0.0
        predict = backbone.predict

        def slow(texts: Any, *rest: Any) -> Any:
            time.sleep(self.seconds)
            if any(text == "cursed" for text in texts):
                raise RuntimeError("cursed")
            return predict(texts, *rest)

        backbone.predict = slow

    @property
    def batches(self) -> list[list[str]]:
        """The texts of each pass."""
        return [texts for texts, _ in self.backbone.calls]


@pytest.fixture
def model(lookup_backbone: Callable[..., Any], tmp_path: Path) -> TaskModel:
    """Finds Aspirin (0.9), headache (0.6) and York (0.7, by one part alone)."""
    known = {"Aspirin": ("drug", 0.9), "headache": ("disease", 0.6)}
    backbone = lookup_backbone({"one": known, "other": {**known, "York": ("city", 0.7)}}, max_tokens=100)
    merges = {"similarity": Merge({"medicine": 1.0}, "one"), "sampling": Merge({"news": 1.0}, "other")}
    return TaskModel(backbone, tmp_path, entity_types(["drug", "disease", "city"]), "union", merges, {})


@pytest.fixture
def ward(model: TaskModel) -> Ward:
    return Ward(model.backbone)


@pytest.fixture
def serving(model: TaskModel, ward: Ward) -> Iterator[Callable[..., TestClient]]:
    """Makes a client of a server of the model ``known``: ``serving(pools=, tokens=, hosts=, page=, **limits)``."""
    started: list[TestClient] = []

    def serve(pools: dict[str, ExpertPool] | None = None, **how: Any) -> TestClient:
        others = {name: how.pop(name) for name in ("tokens", "hosts", "page") if name in how}
        limits = Limits(**how)
        app: FastAPI = create_app(Catalog({"known": model}, pools or {}, limits.kept), limits, **others)
        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        started.append(client)
        return client

    yield serve
    for client in started:
        client.__exit__(None, None, None)
