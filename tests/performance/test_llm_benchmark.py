from __future__ import annotations

from pathlib import Path

import pytest

from performance import generation, llm
from samner import ExpertPool
from samner.backbones.language_model.base_card import BaseCard
from samner.entities import Entity
from samner.pool import ExpertCard
from tests.backbones.language_model.tiny_llama import tiny_base, tiny_llama


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of six random experts over a tiny random Llama."""
    import torch
    from peft import LoraConfig, get_peft_model

    root = tmp_path_factory.mktemp("pool")
    base = tiny_base(root, prompt="json-short")
    BaseCard.read(base).model_copy(update={"max_new_tokens": 24}).write(base)
    pool = ExpertPool.create(root / "pool", base)
    for seed in range(6):
        torch.manual_seed(seed)
        config = LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        folder = pool.folder / "experts" / f"expert{seed}"
        get_peft_model(tiny_llama(), config).save_pretrained(str(folder))
        ExpertCard(name=folder.name, base=pool.backbone.fingerprint, types=("person",), embedding=(1.0,)).write(folder)
    return pool.folder


def test_the_table_is_of_the_same_answers_both_ways(pool: Path) -> None:
    text = llm.main(["--pool", str(pool), "--count", "2", "--repeats", "1"])
    assert "answers that differ: 0 of 4 by union" in text
    assert text.count("| union: two task models | 2 ") == 2 and "| sampling: 6 experts " in text


def test_other_answers_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm, "precision", lambda: "float32")
    one, other = {"a": [[Entity(0, 3, "person", 0.5)]]}, {"a": [[Entity(0, 3, "person", 0.6)]]}
    assert llm.check_same(one, one) == 0
    for wrong in (other, {"a": [[]]}):
        with pytest.raises(SystemExit, match="a answers text 0 differently"):
            llm.check_same(one, wrong)
    monkeypatch.setattr(llm, "precision", lambda: "bfloat16")
    assert llm.check_same(one, other) == 0 and llm.check_same(one, {"a": [[]]}) == 1


def test_each_way_of_writing_json_has_its_row(pool: Path) -> None:
    rows = generation.main(["--pool", str(pool)]).splitlines()
    assert [row.split("|")[1].split(",")[0].strip() for row in rows[4:]] == [
        "transformers",
        "samner",
        "and what the grammar forces in one pass",
        "and what all questions begin with once",
        "and drafts: samner as it is",
        "the same in float32",
    ]
