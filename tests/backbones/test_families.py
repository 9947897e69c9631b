from __future__ import annotations

import json
from pathlib import Path

import pytest

from samner.backbones import Backbone, load_backbone
from samner.backbones.families import FAMILIES
from samner.errors import ModelError, SamnerError


def test_a_base_is_loaded_by_the_family_it_names(tiny_pool: Path) -> None:
    backbone = load_backbone(tiny_pool / "base")
    assert isinstance(backbone, Backbone)
    assert backbone.family == "encoder" and backbone.family in FAMILIES


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
