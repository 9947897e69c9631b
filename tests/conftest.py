"""What every test shares: no network, repeatable hypothesis runs, and where the data sets are."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Before anything imports transformers or huggingface_hub, which read these once.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
# Scores that don't depend on the processor, nor on what else is in a batch; tests of other formats set them.
os.environ["SAMNER_PRECISION"] = "float32"

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
    from samner.backbones.encoder.training import Recipe, train_base
    from samner.entities import Entity, Example
    from samner.pool import ExpertPool
    from samner.training import train_expert, training_set

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


@pytest.fixture(scope="session")
def lookup_backbone() -> Callable[..., Any]:
    """Makes backbones without weights whose models look words up: ``make(models, max_tokens=8)``.

    ``models`` gives each model by name its phrases, each with the label (or the label and the score, 1 by default) it
    stands for. A token is a run of characters that are not blank. ``calls`` holds what ``predict`` was asked.
    """
    import re

    from samner.backbones import Backbone
    from samner.entities import Entity
    from samner.words import Tokens, Word

    class LookupBackbone(Backbone):
        family = "lookup"
        fingerprint = "lookup"
        threshold = 0.5

        def __init__(self, models, max_tokens=8):
            self.phrases = {
                model: {phrase: (value, 1.0) if isinstance(value, str) else value for phrase, value in phrases.items()}
                for model, phrases in models.items()
            }
            self.max_tokens = max_tokens
            self.calls = []

        def tokenize(self, texts):
            found = [tuple(Word(m.start(), m.end(), 1) for m in re.finditer(r"\S+", text)) for text in texts]
            return [Tokens(text, words) for text, words in zip(texts, found, strict=True)]

        def read(self, texts, types, models, threshold):
            self.calls.append(([tokens.text for tokens in texts], list(models)))
            assert all(0 < tokens.cost <= self.max_tokens for tokens in texts)
            wanted = {t.name for t in types}
            return {model: [self._find(model, tokens.text, wanted, threshold) for tokens in texts] for model in models}

        def _find(self, model, text, wanted, threshold):
            return [
                Entity(match.start(), match.end(), label, score)
                for phrase, (label, score) in self.phrases[model].items()
                if label in wanted and score >= threshold
                for match in re.finditer(rf"(?<!\S){re.escape(phrase)}(?!\S)", text)
            ]

        @property
        def models(self):
            return self.phrases.keys()

        def remove(self, name):
            self.phrases.pop(name, None)

        def _not_needed(self, *_, **__):
            raise NotImplementedError

        module_shapes = add_expert = add_task_model = task_vectors = train_expert = known_types = _not_needed
        load = recipe = classmethod(_not_needed)

    return LookupBackbone


@pytest.fixture(scope="session", autouse=True)
def _users_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What is kept for the user is kept apart from what the one who tests has."""
    os.environ["SAMNER_HOME"] = str(tmp_path_factory.mktemp("samner"))
