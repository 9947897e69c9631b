"""samner's answers are gliner2's: entities, offsets, scores, whatever the batch, and once merged and exported."""

from __future__ import annotations

import inspect
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samner.backbones import BASE
from samner.backbones.gliner2.backbone import Gliner2Backbone
from samner.entities import entity_types
from samner.files import read_json, write_json
from samner.spans import flat
from tests.backbones.gliner2.conftest import ARCHITECTURES, write_texts

Found = list[dict[tuple[int, int, str], float]]
TYPES = {"drug": "a medicine by its brand or generic name", "city": "", "person": "someone's name", "symptom": ""}

FEW, MANY = 18, 300
counts = pytest.mark.parametrize(
    "count", [FEW, pytest.param(MANY, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


def loaded(checkpoint: Path, adapter: Path | None = None) -> Any:
    from gliner2 import AutoExtractor

    model = AutoExtractor.from_pretrained(str(checkpoint)).eval()
    if adapter is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            model.load_adapter(str(adapter))
        model.eval()
    return model


def theirs(
    model: Any,
    texts: Sequence[str],
    threshold: float,
    *,
    types: Mapping[str, Any] | None = None,
    batch_size: int = 8,
    overlaps: str | None = "allow",
    **chunks: int,
) -> Found:
    """What gliner2 finds, long texts by its own chunking."""
    asked = types or {name: {"description": text} if text else {} for name, text in TYPES.items()}
    answers = model.batch_extract_entities_long(
        texts,
        asked,
        batch_size=batch_size,
        threshold=threshold,
        include_confidence=True,
        include_spans=True,
        overlap_policy=overlaps,
        **chunks,
    )
    found = []
    for text, answer in zip(texts, answers, strict=True):
        its: dict[tuple[int, int, str], float] = {}
        for label, spans in (answer.get("entities") or {}).items():
            for span in spans:
                # the full stop that gliner2 puts after what it reads is not in the text
                end = len(text[: span["end"]].rstrip())
                key = (span["start"], end, label)
                if key[0] < key[1]:
                    its[key] = max(its.get(key, 0.0), span["confidence"])
        found.append(its)
    return found


def some(model: Any, texts: Sequence[str], types: Mapping[str, Any] | None = None) -> float:
    """A threshold that few of a model's spans reach."""
    scores = [score for its in theirs(model, texts[:3], 0.001, types=types) for score in its.values()]
    return float(np.quantile(scores, 0.95))


def ours(backbone: Gliner2Backbone, texts: Sequence[str], threshold: float, model: str = BASE) -> Found:
    answers = backbone.predict(texts, entity_types(TYPES), [model], threshold)[model]
    return [{e.key: e.score for e in its} for its in answers]


def assert_same(one: Found, other: Found, threshold: float) -> None:
    """The same entities and scores to 1e-4; one that has just the threshold may be on either side of it."""
    assert len(one) == len(other)
    assert sum(map(len, one)) > len(one) // 2
    for its, that in zip(one, other, strict=True):
        for key in its.keys() | that.keys():
            assert its.get(key, threshold) == pytest.approx(that.get(key, threshold), abs=1e-4), key


@architectures
@counts
@pytest.mark.parametrize("batch_size", [1, 16])
def test_an_expert_answers_as_in_gliner2(
    base: Callable[[str], Path],
    checkpoint: Callable[[str], Path],
    adapter: Callable[[str, int], Path],
    architecture: str,
    count: int,
    batch_size: int,
) -> None:
    texts = write_texts(count)
    backbone = Gliner2Backbone.load(base(architecture))
    backbone.add_expert("one", adapter(architecture, 1))
    for name, model in {
        "one": loaded(checkpoint(architecture), adapter(architecture, 1)),
        BASE: loaded(checkpoint(architecture)),
    }.items():
        threshold = some(model, texts)
        expected = theirs(model, texts, threshold, batch_size=batch_size)
        assert_same(ours(backbone, texts, threshold, name), expected, threshold)


@architectures
def test_long_texts_are_read_in_the_windows_of_gliner2(
    base: Callable[[str], Path], checkpoint: Callable[[str], Path], architecture: str
) -> None:
    backbone, model = Gliner2Backbone.load(base(architecture)), loaded(checkpoint(architecture))
    parameters = inspect.signature(model.batch_extract_entities_long).parameters
    assert backbone.max_tokens == parameters["chunk_size"].default
    assert backbone.card.overlap == parameters["chunk_overlap"].default

    size = {"max_words": 30, "overlap": 8}  # of the same proportions, so that the test is quick
    backbone.card, backbone.max_tokens = backbone.card.model_copy(update=size), 30
    words = [word for text in write_texts(60) for word in text.split() if word.isalnum()]
    texts = [" ".join(words[:75]), " ".join(words[75:105]), " ".join(words[105:200])]
    threshold = some(model, texts[1:2])
    expected = theirs(model, texts, threshold, chunk_size=30, chunk_overlap=8)
    assert_same(ours(backbone, texts, threshold), expected, threshold)


@architectures
def test_without_overlaps_a_type_has_what_gliner2_leaves_of_it(
    base: Callable[[str], Path], checkpoint: Callable[[str], Path], architecture: str
) -> None:
    texts, model = write_texts(FEW), loaded(checkpoint(architecture))
    threshold = some(model, texts)
    backbone = Gliner2Backbone.load(base(architecture))
    mine = []
    for entities in backbone.predict(texts, entity_types(TYPES), [BASE], threshold)[BASE]:
        kept = [e for name in TYPES for e in flat(e for e in entities if e.label == name)]
        mine.append({e.key: e.score for e in kept})
    if architecture == "span":  # the default: the surest first; the other has the greatest sum of scores
        assert_same(mine, theirs(model, texts, threshold, overlaps=None), threshold)
    allowed = theirs(model, texts, threshold)
    assert all(its.keys() <= that.keys() for its, that in zip(mine, allowed, strict=True))


@architectures
def test_what_is_merged_and_exported_answers_in_gliner2_as_here(
    base: Callable[[str], Path],
    checkpoint: Callable[[str], Path],
    adapter: Callable[[str, int], Path],
    architecture: str,
    tmp_path: Path,
) -> None:
    from samner.export.adapter import AdapterTarget
    from samner.lora import LoraAdapter
    from samner.merging import Merger

    texts = write_texts(FEW)
    shutil.copytree(base(architecture), tmp_path / "base")
    more = {"data": [{"name": "fables", "licence": "CC0"}], "taught": {"fables": ["animal"]}}
    write_json(tmp_path / "base" / "base.json", read_json(tmp_path / "base" / "base.json") | more)
    backbone = Gliner2Backbone.load(tmp_path / "base")
    shapes = backbone.module_shapes()
    with Merger([LoraAdapter.load(adapter(architecture, seed)).on_base(shapes) for seed in (1, 2)]) as merger:
        backbone.add_task_model("merged", dict(merger.dense()))
        AdapterTarget(rank=512).write(merger, tmp_path / "adapter")
    model = loaded(checkpoint(architecture), tmp_path / "adapter")
    threshold = some(model, texts)
    found = ours(backbone, texts, threshold, "merged")
    assert_same(found, theirs(model, texts, threshold), threshold)

    backbone.save_fused("merged", tmp_path / "fused")
    assert_same(found, theirs(loaded(tmp_path / "fused"), texts, threshold), threshold)
    assert_same(found, ours(Gliner2Backbone.load(tmp_path / "fused"), texts, threshold), threshold)
    assert found != ours(backbone, texts, threshold)
    assert read_json(tmp_path / "fused" / "base.json").items() >= more.items()
