"""What every test shares: no network, repeatable hypothesis runs, and where the data sets are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before anything imports transformers or huggingface_hub, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of labelled data sets beside the repository; the test is skipped where it is missing."""
    folder = ROOT.parent / "shared" / "data"
    if not (folder / "train").is_dir():
        pytest.skip("the data sets are not there (expected in ../shared/data beside the repository)")
    return folder


@pytest.fixture(scope="session")
def tiny_pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pool with two hardly trained experts, `medicine` and `sports`. Copy it to change it.

    Its base was taught their types for a second: enough to find `drug`, `disease`, `person` and `team` in sentences
    like those below.
    """
    from samner.backbones import TrainingData
    from samner.backbones.encoder.backbone import EncoderBackbone
    from samner.backbones.encoder.recipe import Recipe
    from samner.backbones.encoder.train import train_base
    from samner.pool import ExpertPool
    from samner.train import train_expert, training_set
    from samner.types import Entity, Example

    def example(text: str, **entities: str) -> Example:
        spans = [(text.index(part), text.index(part) + len(part), label) for label, part in entities.items()]
        return Example(text, tuple(Entity(*span) for span in spans))

    texts = {
        "medicine": [
            example(f"{drug} relieves {disease} within hours.", drug=drug, disease=disease)
            for drug in ("Aspirin", "Ibuprofen", "Triptan", "Codeine")
            for disease in ("headache", "fever")
        ],
        "sports": [
            example(f"{person} scored twice for {team} on Sunday.", person=person, team=team)
            for person in ("Ada Moreno", "Lena Fischer", "Omar Haddad", "Ines Roth")
            for team in ("Rovers", "Harbour City")
        ],
    }
    sets = [training_set(name, examples) for name, examples in texts.items()]
    root = tmp_path_factory.mktemp("tiny_pool")
    base = EncoderBackbone()
    train_base(base, TrainingData(sets), Recipe(steps=20, learning_rate=1e-2), encoder=False)
    base.save(root / "base")
    pool = ExpertPool.create(root / "pool", root / "base")
    for data in sets:
        options = {"steps": 2, "rank": 2}
        train_expert(pool, data.name, TrainingData([data]), root / data.name, options=options, description="A toy")
    for name in texts:
        pool.add(root / name)
    return pool.folder
