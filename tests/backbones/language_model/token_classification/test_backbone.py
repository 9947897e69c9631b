from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from samner.backbones import BASE, load_backbone
from samner.backbones.language_model.token_classification.backbone import TokenClassifier
from samner.backbones.language_model.token_classification.network import logits
from samner.entities import entity_types
from samner.errors import ModelError, SamnerError
from samner.files import read_json, write_json

TEXTS = ["Ada Moreno of Basel took aspirin.", "", "Aspirin relieves headache within hours. " * 6, "Basel"]
TYPES = entity_types(["drug", "city", "person"])


@pytest.fixture
def expert(classifier_folder: Path, tmp_path: Path) -> Callable[[int], Path]:
    """``expert(seed)``: a random PEFT adapter on all linear layers of the language model."""

    def make(seed: int) -> Path:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModel

        torch.manual_seed(seed)
        model = AutoModel.from_pretrained(classifier_folder / "lm")
        config = LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", init_lora_weights=False)
        get_peft_model(model, config).save_pretrained(tmp_path / str(seed))
        return tmp_path / str(seed)

    return make


def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in float32, whatever is fastest here."""
    monkeypatch.setenv("SAMNER_PRECISION", "float32")


def keys(answers: Any) -> Any:
    return {
        model: [sorted((e.key, round(e.score, 4)) for e in its) for its in each] for model, each in answers.items()
    }


def test_it_is_loaded_by_its_family(classifier_folder: Path) -> None:
    backbone = load_backbone(classifier_folder)
    assert isinstance(backbone, TokenClassifier)
    assert backbone.known_types() == ["drug"]
    assert backbone.threshold == 0.01


def test_reading_the_types_once_is_as_reading_all_of_each_question(
    classifier: TokenClassifier, classifier_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact(monkeypatch)
    classifier = TokenClassifier.load(classifier_folder)
    found = classifier.predict(TEXTS, TYPES, [BASE], 0.01)[BASE]
    assert any(found)
    for text, entities in zip(TEXTS, found, strict=True):
        for entity in entities:
            (tokens,) = classifier.tokenize([text])
            if tokens.cost > classifier.max_tokens:
                continue
            question = classifier.reader.question(tokens, classifier.reader.types([t.prompt for t in TYPES]))
            scores = logits(classifier.model, classifier.heads, [question], 0)[0].sigmoid()
            first = next(i for i, word in enumerate(tokens.words) if word.start == entity.start)
            column = [t.name for t in TYPES].index(entity.label)
            assert scores[first, column, 0] >= 0.01 - 1e-4


def test_models_in_one_batch_answer_as_each_alone(
    classifier_folder: Path, expert: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    exact(monkeypatch)
    classifier = TokenClassifier.load(classifier_folder)
    classifier.add_expert("one", expert(1), ["drug"])
    classifier.add_expert("two", expert(2))
    deltas = {m: 0.05 * torch.randn(shape) for m, shape in classifier.module_shapes().items()}
    classifier.add_task_model("merged", deltas)
    models = [BASE, "one", "merged", "two"]
    together = keys(classifier.predict(TEXTS, TYPES, models, 0.01))
    alone = {m: keys(classifier.predict(TEXTS, TYPES, [m], 0.01))[m] for m in models}
    assert together == alone
    assert len({str(answers) for answers in alone.values()}) == 4


def test_an_expert_answers_as_peft_has_it(
    classifier_folder: Path, expert: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import PeftModel

    exact(monkeypatch)
    mixed, plain = TokenClassifier.load(classifier_folder), TokenClassifier.load(classifier_folder)
    mixed.add_expert("one", expert(1))
    plain.model = PeftModel.from_pretrained(plain.model, expert(1)).merge_and_unload()
    mine, theirs = mixed.predict(TEXTS, TYPES, ["one"], 0.01)["one"], plain.predict(TEXTS, TYPES, [BASE], 0.01)[BASE]
    for one, other in zip(mine, theirs, strict=True):
        scores = {e.key: e.score for e in other}
        assert {e.key: e.score for e in one if e.score > 0.02} == pytest.approx(
            {key: score for key, score in scores.items() if key in {e.key for e in one if e.score > 0.02}}, abs=1e-3
        )


def test_a_fused_base_answers_as_its_task_model(
    classifier_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact(monkeypatch)
    classifier = TokenClassifier.load(classifier_folder)
    deltas = {m: 0.05 * torch.randn(shape) for m, shape in classifier.module_shapes().items()}
    classifier.add_task_model("merged", deltas, ["virus"])
    classifier.save_fused("merged", tmp_path)
    fused = TokenClassifier.load(tmp_path)
    mine, its = classifier.predict(TEXTS, TYPES, ["merged"], 0.01)["merged"], fused.predict(TEXTS, TYPES, [BASE], 0.01)
    for one, other in zip(mine, its[BASE], strict=True):
        assert {e.key: e.score for e in one} == pytest.approx({e.key: e.score for e in other}, abs=1e-4)
    assert {"virus", "drug"} <= set(fused.known_types()) and fused.threshold == classifier.threshold
    assert set(classifier.module_shapes()) == set(fused.module_shapes())


def test_texts_and_types_may_be_many(classifier: TokenClassifier) -> None:
    types = entity_types([f"kind {i}" for i in range(60)])
    found = classifier.predict(TEXTS * 3, types, [BASE], 0.01)[BASE]
    assert len(found) == 12
    assert not found[1]
    assert all(text[e.start : e.end].strip() for text, its in zip(TEXTS * 3, found, strict=True) for e in its)


def test_the_fingerprint_is_of_all_that_decides_answers(make_classifier: Callable[..., Path]) -> None:
    one, same = TokenClassifier.load(make_classifier()), TokenClassifier.load(make_classifier(threshold=0.3))
    other = TokenClassifier.load(make_classifier(scale=1.0))
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "nobody/knows-this"}, "nobody/knows-this"),
        ({"format": 2}, "format"),
        ({"scale": -1}, "scale"),
        ({"weights": {"file": "base.safetensors", "sha256": "0"}}, "damaged"),
        ({"weights": {"file": "../x", "sha256": "0"}}, "x"),
    ],
)
def test_what_is_wrong_with_a_base_is_named(
    make_classifier: Callable[..., Path], change: dict[str, Any], message: str
) -> None:
    folder = make_classifier()
    write_json(folder / "base.json", {**read_json(folder / "base.json"), **change})
    with pytest.raises(SamnerError, match=message):
        TokenClassifier.load(folder)


def test_missing_weights_are_named(make_classifier: Callable[..., Path]) -> None:
    folder = make_classifier()
    (folder / "base.safetensors").unlink()
    with pytest.raises(ModelError, match=r"base\.safetensors: missing"):
        TokenClassifier.load(folder)


def test_in_eight_bits_it_answers_nearly_the_same(
    classifier_folder: Path, expert: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = []
    for precision in ("float32", "int8"):
        monkeypatch.setenv("SAMNER_PRECISION", precision)
        classifier = TokenClassifier.load(classifier_folder)
        classifier.add_expert("one", expert(1), ["drug"])
        classifier.add_task_model("merged", {m: torch.ones(s) / 50 for m, s in classifier.module_shapes().items()})
        answers = classifier.predict(TEXTS, TYPES, [BASE, "one", "merged"], 0.001)
        scores.append({(m, i, e.key): e.score for m, its in answers.items() for i, es in enumerate(its) for e in es})
    exact_scores, found = scores
    shared = exact_scores.keys() & found.keys()
    assert len(shared) > 0.9 * max(len(exact_scores), len(found))
    errors = [abs(exact_scores[key] - found[key]) for key in shared]
    assert 0 < sum(errors) / len(errors) < 0.02  # the states of this tiny random model are as wild as noise
