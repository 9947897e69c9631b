from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from samner.backbones import load_backbone
from samner.entities import Entity, EntityType, entity_types
from samner.errors import ModelError, SamnerError
from samner.files import sha256
from samner.merging.stream import TensorDeltas, write_delta
from samner.recogniser import combine
from samner.selection import PseudoLabel, Selection
from samner.spans import resolve
from samner.task_model import MANIFEST, Merge, TaskModel
from samner.thresholds import Calibration, Curve

Make = Callable[..., Any]
TYPES = entity_types(["city", "river"])


@pytest.fixture
def model(lookup_backbone: Make) -> TaskModel:
    """Both task models know the Rhine; only `similarity` knows York, only `sampling` Rio."""
    backbone = lookup_backbone(
        {
            "one": {"Rhine": ("river", 0.7), "York": ("city", 0.9)},
            "two": {"Rhine": ("river", 0.8), "Rio": ("city", 0.6)},
            "all": {"Rhine": ("river", 0.9)},
        }
    )
    merges = {"similarity": Merge({"a": 1.0}, "one"), "sampling": Merge({"b": 1.0}, "two")}
    return TaskModel(backbone, Path("base"), TYPES, "union", merges, {})


def two(lookup_backbone: Make, one: dict[str, Any], other: dict[str, Any], mode: str = "union") -> TaskModel:
    merges = {"similarity": Merge({"a": 1.0}, "one"), "sampling": Merge({"b": 1.0}, "two")}
    return TaskModel(lookup_backbone({"one": one, "two": other}), Path("base"), TYPES, mode, merges, {})


class TestModes:
    TEXT = "Rio , York and Rhine"

    def found(self, model: TaskModel, **options: Any) -> list[tuple[str, float, tuple[str, ...]]]:
        (entities,) = model.predict([self.TEXT], **options)
        return [(self.TEXT[e.start : e.end], e.score, e.found_by) for e in entities]

    def test_union_is_what_either_finds_with_the_highest_score(self, model: TaskModel) -> None:
        assert self.found(model) == [
            ("Rio", 0.6, ("sampling",)),
            ("York", 0.9, ("similarity",)),
            ("Rhine", 0.8, ("similarity", "sampling")),
        ]

    def test_intersection_is_what_both_find(self, model: TaskModel) -> None:
        assert self.found(model, mode="intersection") == [("Rhine", 0.7, ("similarity", "sampling"))]

    def test_either_alone(self, model: TaskModel) -> None:
        assert self.found(model, mode="similarity") == [
            ("York", 0.9, ("similarity",)),
            ("Rhine", 0.7, ("similarity",)),
        ]
        assert self.found(model, mode="sampling") == [("Rio", 0.6, ("sampling",)), ("Rhine", 0.8, ("sampling",))]
        assert model.backbone.calls[-1][1] == ["two"]

    def test_economy_is_one_model(self, model: TaskModel) -> None:
        economy = TaskModel(model.backbone, Path("base"), TYPES, "economy", {"economy": Merge({"a": 2.0}, "all")}, {})
        assert self.found(economy) == [("Rhine", 0.9, ("economy",))]
        assert model.backbone.calls[-1][1] == ["all"]

    def test_strategies_that_share_a_task_model_both_found_it(self, model: TaskModel) -> None:
        shared = Merge({"a": 1.0}, "one")
        both = TaskModel(model.backbone, Path("base"), TYPES, "union", {"similarity": shared, "sampling": shared}, {})
        assert {found_by for *_, found_by in self.found(both)} == {("similarity", "sampling")}
        assert self.found(both, mode="intersection") == self.found(both)
        assert model.backbone.calls[-1][1] == ["one"]

    def test_a_mode_the_model_does_not_hold_is_refused(self, model: TaskModel) -> None:
        with pytest.raises(SamnerError, match="unknown mode 'both'; known are union, intersection"):
            model.predict(["x"], mode="both")
        with pytest.raises(SamnerError, match="adapted for mode 'union': it holds no task model 'economy'"):
            model.predict(["x"], mode="economy")
        alone = TaskModel(model.backbone, Path("base"), TYPES, "sampling", {"sampling": Merge({}, "two")}, {})
        with pytest.raises(SamnerError, match="holds no task model 'similarity'"):
            alone.predict(["x"], mode="union")


class TestOverlaps:
    def test_flat_keeps_the_surer_of_two_models(self, lookup_backbone: Make) -> None:
        model = two(lookup_backbone, {"New York": ("city", 0.7)}, {"York": ("river", 0.8)})
        (entities,) = model.predict(["in New York"])
        assert [(e.key, e.found_by) for e in entities] == [((7, 11, "river"), ("sampling",))]

    def test_overlapping_types_may_both_stay(self, lookup_backbone: Make) -> None:
        model = two(lookup_backbone, {"New York": ("city", 0.7)}, {"York": ("river", 0.8)})
        (entities,) = model.predict(["in New York"], overlaps="nested")
        assert [e.key for e in entities] == [(3, 11, "city"), (7, 11, "river")]

    def test_entities_of_one_type_overlap_as_any_others_do(self, lookup_backbone: Make) -> None:
        model = two(lookup_backbone, {"New York": ("city", 0.7)}, {"York": ("city", 0.8)})
        for overlaps, spans in {"flat": [(7, 11)], "nested": [(3, 11), (7, 11)], "all": [(3, 11), (7, 11)]}.items():
            (entities,) = model.predict(["in New York"], overlaps=overlaps)
            assert [(e.start, e.end) for e in entities] == spans

    def test_each_model_resolves_its_own_overlaps_before_they_vote(self, lookup_backbone: Make) -> None:
        one, other = {"New York": ("city", 0.9), "York": ("city", 0.8)}, {"York": ("city", 0.9)}
        model = two(lookup_backbone, one, other, "intersection")
        assert model.predict(["New York"]) == [[]]
        assert [e.key for e in model.predict(["York"])[0]] == [(0, 4, "city")]


candidates = st.lists(
    st.builds(
        lambda start, length, label, score: Entity(start, start + length, label, score),
        st.integers(0, 12),
        st.integers(1, 5),
        st.sampled_from(["city", "river"]),
        st.sampled_from([0.5, 0.6, 0.7]),
    ),
    unique_by=lambda entity: entity.key,
    max_size=8,
)


ways = st.sampled_from([("flat", False), ("flat", True), ("nested", False), ("nested", True), ("all", False)])


@given(st.fixed_dictionaries({"one": candidates, "two": candidates}), ways, st.integers(1, 2))
def test_combined_answers_keep_their_promises(
    found: dict[str, list[Entity]], way: tuple[str, bool], votes: int
) -> None:
    combined = combine(found, votes, overlaps=way[0], multi_label=way[1])
    assert [e.key for e in combined] == sorted({e.key for e in combined})
    for entity in combined:
        assert len(entity.found_by) >= votes
        scores = [e.score for name in entity.found_by for e in found[name] if e.key == entity.key]
        assert len(scores) == len(entity.found_by) and entity.score == sorted(scores)[-votes]
    assert resolve(combined, way[0], multi_label=way[1]) == combined


@given(candidates, ways)
def test_a_model_agrees_with_itself(found: list[Entity], way: tuple[str, bool]) -> None:
    alone = [(e.key, e.score) for e in combine({"one": found}, overlaps=way[0], multi_label=way[1])]
    for votes in (1, 2):
        both = combine({"one": found, "two": found}, votes, overlaps=way[0], multi_label=way[1])
        assert [(e.key, e.score) for e in both] == alone


class TestAsGliner:
    def test_overlaps_as_flat_ner_and_multi_label_say(self, lookup_backbone: Make) -> None:
        model = two(lookup_backbone, {"New York": ("city", 0.9), "York": ("river", 0.8)}, {"New York": ("river", 0.7)})

        def found(**options: Any) -> list[tuple[str, str]]:
            return [(e["text"], e["label"]) for e in model.predict_entities("New York", **options)]

        assert found() == [("New York", "city")]
        assert found(flat_ner=False) == [("New York", "city"), ("York", "river")]
        assert found(multi_label=True) == [("New York", "city"), ("New York", "river")]
        assert found(flat_ner=False, multi_label=True) == [
            *(("New York", "city"), ("New York", "river"), ("York", "river"))
        ]

    def test_texts_are_asked_about_so_many_at_a_time(self, model: TaskModel) -> None:
        texts = ["York", "Rio", "Rhine", "York", "nothing"]
        expected = model.inference(texts)
        model.backbone.calls.clear()
        assert model.inference(texts, batch_size=2) == expected
        assert [len(texts) for texts, _ in model.backbone.calls] == [2, 2, 1]
        with pytest.raises(SamnerError, match="batch_size must be a whole number of at least 1"):
            model.inference(texts, batch_size=0)

    def test_it_is_shown_in_a_line(self, model: TaskModel) -> None:
        assert repr(model) == "<TaskModel union of a, b for ['city', 'river']>"
        model.close()
        assert repr(model) == "<TaskModel union of nothing: closed for ['city', 'river']>"


class TestPredict:
    def test_labels_can_be_others_than_those_adapted_for(self, model: TaskModel) -> None:
        text = "York on Rhine"
        assert [e.label for e in model.predict([text], ["river"])[0]] == ["river"]
        assert [e.label for e in model.predict([text], {"city": "a large town"})[0]] == ["city"]
        for ask in (model.predict, model.inference):
            with pytest.warns(UserWarning, match=r"chosen for \['city', 'river'\], not for \['song'\]") as warned:
                assert ask([text], [EntityType("song"), EntityType("city")])[0]
            assert warned[0].filename == __file__
        assert model.types == TYPES

    def test_each_text_can_have_its_labels(self, model: TaskModel) -> None:
        texts = ["York on Rhine"] * 3
        labels = [["river"], {"city": "a town"}, ["city", "river"]]
        found = [[e.label for e in its] for its in model.predict(texts, labels)]
        assert found == [["river"], ["city"], ["city", "river"]]
        assert [[e["label"] for e in its] for its in model.inference(texts, labels)] == found
        found = [[e.label for e in its] for its in model.predict(texts, labels, threshold={"city": 0.95})]
        assert found == [["river"], [], ["river"]]
        with pytest.raises(SamnerError, match="there are labels of 3 texts, and 2 texts"):
            model.predict(texts[:2], labels)
        with pytest.raises(SamnerError, match="threshold names the label 'song'"):
            model.predict(texts, labels, threshold={"song": 0.5})

    def test_each_label_can_have_its_threshold(self, model: TaskModel) -> None:
        text = "York on Rhine"
        assert [e.label for e in model.predict([text], threshold={"river": 0.85})[0]] == ["city"]
        model.thresholds = {"city": 0.95}
        assert [e.label for e in model.predict([text])[0]] == ["river"]
        assert [e.label for e in model.predict([text], threshold={"river": 0.85})[0]] == []
        assert [e.label for e in model.predict([text], threshold=0.85)[0]] == ["city"]

    def test_what_is_below_its_threshold_is_in_the_way_of_nothing(self, lookup_backbone: Make) -> None:
        model = two(lookup_backbone, {"New York": ("city", 0.7), "York": ("river", 0.6)}, {})
        assert [e.label for e in model.predict(["New York"])[0]] == ["city"]
        assert [e.label for e in model.predict(["New York"], threshold={"city": 0.8})[0]] == ["river"]

    def test_what_is_not_flat_is_nested(self, lookup_backbone: Make) -> None:
        model = two(lookup_backbone, {"New York": ("city", 0.7), "York": ("river", 0.6)}, {})
        assert len(model.predict(["New York"])[0]) == 1
        assert model.predict(["New York"], flat=False) == model.predict(["New York"], overlaps="nested")
        assert len(model.predict(["New York"], flat=False)[0]) == 2

    def test_the_threshold_can_be_another(self, model: TaskModel) -> None:
        assert [e.label for e in model.predict(["York on Rhine"], threshold=0.85)[0]] == ["city"]
        model.threshold = 0.95
        assert model.predict(["York on Rhine"]) == [[]]
        assert len(model.predict(["York on Rhine"], threshold=0.5)[0]) == 2

    @pytest.mark.parametrize("threshold", [0, 1, -0.1, 2, float("nan"), "0.5", True, [0.5]])
    def test_a_threshold_that_is_no_probability_is_refused(self, model: TaskModel, threshold: float) -> None:
        with pytest.raises(SamnerError, match="threshold must lie between 0 and 1"):
            model.predict(["x"], threshold=threshold)

    def test_any_iterable_of_strings_will_do(self, model: TaskModel) -> None:
        texts = ["York on Rhine", "Rio"]
        expected = model.predict(texts)
        assert model.predict(text for text in texts) == expected
        assert model.predict(dict(enumerate(texts)).values()) == expected
        assert model.predict(np.array(texts)) == expected
        assert model.predict(set(texts[:1]), threshold=np.float32(0.5)) == expected[:1]

    @pytest.mark.parametrize("odd", ["no", None, 2.5, [], 1])
    def test_what_is_not_true_or_false_is_refused(self, model: TaskModel, odd: bool) -> None:
        for name in ("flat", "multi_label"):
            with pytest.raises(SamnerError, match=f"^{name} must be True or False, not "):
                model.predict([], **{name: odd})
        with pytest.raises(SamnerError, match="^flat_ner must be True or False"):
            model.predict_entities("York", flat_ner=odd)
        assert model.predict(["York"], flat=np.True_, multi_label=np.False_) == model.predict(["York"])

    def test_what_is_not_a_list_of_strings_is_refused(self, model: TaskModel) -> None:
        with pytest.raises(SamnerError, match="^texts must be a list of texts, not the single string 'York'$"):
            model.predict("York")
        for odd in (None, 5, b"York", {"York": 1}):
            with pytest.raises(SamnerError, match=r"^texts must be a list \(or other iterable\) of texts, not "):
                model.predict(odd)
        for odd in (None, 5, ["York"]):
            with pytest.raises(SamnerError, match="^text must be a string, not "):
                model.predict_entities(odd)
        for odd in (None, 3, b"York", ["York"]):
            with pytest.raises(SamnerError, match="number 1 is "):
                model.predict(["York", odd])  # type: ignore[list-item]

    @pytest.mark.parametrize("labels", [[], "city", ["city", "city"], [""], [3]])
    def test_labels_that_will_not_do_are_refused(self, model: TaskModel, labels: Any) -> None:
        with pytest.raises(SamnerError):
            model.predict(["York"], labels)

    def test_one_text_as_dictionaries(self, model: TaskModel) -> None:
        text = "\U0001f3c6 e\u0301 York \u2028Rhine"
        found = model.predict_entities(text)
        assert found == [
            {"start": 5, "end": 9, "text": "York", "label": "city", "score": 0.9, "found_by": ["similarity"]},
            {
                "start": 11,
                "end": 16,
                "text": "Rhine",
                "label": "river",
                "score": 0.8,
                "found_by": ["similarity", "sampling"],
            },
        ]
        json.dumps(found)
        assert model.inference(text) == model.inference([text]) == [found]
        assert model.batch_predict_entities([text, "Rio", text], batch_size=1)[::2] == [found, found]
        assert [e.text for e in model.predict([text])[0]] == ["York", "Rhine"]
        assert model.predict_entities(text, ["city"], threshold=0.95) == []

    def test_long_and_empty_texts(self, model: TaskModel) -> None:
        long = "word " * 100 + "York " + "word " * 100 + "Rhine"
        done: list[int] = []
        answers = model.predict(["", long, " \n"], on_done=done.append)
        assert [[e.key for e in entities] for entities in answers] == [
            [],
            [(500, 504, "city"), (len(long) - 5, len(long), "river")],
            [],
        ]
        assert sum(done) == 3
        assert model.predict([]) == []


@pytest.fixture
def saved(tiny_pool: Path, tmp_path: Path) -> TaskModel:
    """A model on the tiny base whose two task models change a layer each; saved in ``tmp_path / "model"``."""
    backbone = load_backbone(tiny_pool / "base")
    generator = torch.Generator().manual_seed(0)
    for name, layer in (("task-a", 1), ("task-b", 4)):
        module = f"encoder.layer.{layer}.attention.output.dense"
        shape = backbone.module_shapes()[module]
        backbone.add_task_model(name, {module: torch.randn(shape, generator=generator) * 0.1})
    selection = Selection(
        "sampling",
        ("b",),
        ("b", "a"),
        {"a": 0.5, "b": 0.25},
        {"a": 0.0, "b": 1.0},
        2,
        (0,),
        (PseudoLabel(0, 0, 1, "drug", ("b",)),),
    )
    model = TaskModel(
        backbone,
        tiny_pool / "base",
        entity_types({"drug": "a medicine", "disease": "", "person": "", "team": ""}),
        "union",
        {"similarity": Merge({"a": 1.0, "b": 2.0}, "task-a", ("pill",)), "sampling": Merge({"b": 1.0}, "task-b")},
        {"similarity": Selection("similarity", ("a",), ("a", "b"), {"a": 0.5, "b": 0.25}), "sampling": selection},
        {"method": "ties", "parameters": {"density": 0.2}, "seed": 3},
        0.15,
    )
    model.save(tmp_path / "model")
    return model


TEXTS = ["Aspirin relieves headache within hours.", "Ada Moreno scored twice for Rovers on Sunday.", ""]


def rewrite(folder: Path, change: Callable[[Any], Any]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


class TestAtRest:
    def test_loaded_again_it_is_the_same(self, saved: TaskModel, tmp_path: Path) -> None:
        loaded = TaskModel.load(tmp_path / "model")
        answers = saved.predict(TEXTS)
        assert sum(map(len, answers)) > 2
        one, other = ([e.score for e in saved.predict(TEXTS, mode=mode)[0]] for mode in ("similarity", "sampling"))
        assert one and other and one != other
        assert loaded.predict(TEXTS) == answers
        for mode in ("intersection", "similarity", "sampling"):
            assert loaded.predict(TEXTS, mode=mode, overlaps="nested") == saved.predict(
                TEXTS, mode=mode, overlaps="nested"
            )
        for name in ("types", "mode", "merges", "selections", "settings", "threshold", "thresholds", "calibration"):
            assert getattr(loaded, name) == getattr(saved, name)
        assert loaded.backbone.fingerprint == saved.backbone.fingerprint

    def test_what_its_experts_were_taught_is_not_novel_to_it(self, saved: TaskModel, tmp_path: Path) -> None:
        saved.backbone.novelty = 8.0
        saved.merges = saved.merges | {"similarity": replace(saved.merges["similarity"], types=("spaceship",))}
        base = load_backbone(saved.base_folder)
        base.novelty = 8.0
        base.save(tmp_path / "base")
        saved.base_folder = tmp_path / "base"
        saved.save(tmp_path / "novel")
        loaded = TaskModel.load(tmp_path / "novel")
        found = {m: loaded.predict(TEXTS, ["spaceship"], mode=m, threshold=0.01) for m in ("similarity", "sampling")}
        assert sum(map(len, found["similarity"])) < sum(map(len, found["sampling"]))

    def test_thresholds_and_calibration_are_written_into_its_folder(self, saved: TaskModel, tmp_path: Path) -> None:
        before = {p: p.read_bytes() for p in (tmp_path / "model").rglob("*") if p.is_file() and p.name != MANIFEST}
        calibration = Calibration(
            Curve((0.05, 1.0), (0.1, 0.9)), {"drug": Curve((0.1, 1.0), (0.2, 1.0))}, {"texts": 9}
        )
        calibrated = replace(saved, threshold=0.3, thresholds={"drug": 0.6}, calibration=calibration)
        calibrated.save_thresholds(tmp_path / "model")
        assert all(path.read_bytes() == content for path, content in before.items())
        loaded = TaskModel.load(tmp_path / "model")
        assert loaded.predict(TEXTS) == calibrated.predict(TEXTS) != saved.predict(TEXTS)
        assert (loaded.threshold, loaded.thresholds, loaded.calibration) == (0.3, {"drug": 0.6}, calibration)
        loaded.save(tmp_path / "again")
        assert TaskModel.load(tmp_path / "again").calibration == calibration
        saved.save_thresholds(tmp_path / "model")
        assert TaskModel.load(tmp_path / "model").calibration is None
        other = replace(saved, merges={"similarity": saved.merges["similarity"]})
        with pytest.raises(ModelError, match="is not of the model whose thresholds are to be written"):
            other.save_thresholds(tmp_path / "model")
        rewrite(tmp_path / "model", lambda m: m.update(calibration={"curve": [[0, 1]], "curves": {}, "record": {}}))
        with pytest.raises(SamnerError, match="calibration"):
            TaskModel.load(tmp_path / "model")

    def test_it_moves_to_another_device_and_leaves_others_where_they_are(
        self, saved: TaskModel, tmp_path: Path
    ) -> None:
        loaded, backbone = TaskModel.from_pretrained(tmp_path / "model"), saved.backbone
        answers = loaded.predict(TEXTS)
        assert loaded.to("cpu") is loaded and loaded.backbone is not backbone
        assert loaded.predict(TEXTS) == answers == saved.predict(TEXTS)
        assert saved.backbone is backbone
        with pytest.raises(SamnerError, match="the device 'tpu' cannot be used here"):
            loaded.to("tpu")
        with pytest.raises(SamnerError, match="is a server; say so when the model is loaded"):
            loaded.to("http://localhost:8000/v1")

    def test_one_of_an_earlier_release_loads_and_loses_its_texts(self, saved: TaskModel, tmp_path: Path) -> None:
        """Its manifest held the sample texts word for word."""
        rewrite(tmp_path / "model", lambda m: m["selections"]["sampling"].update(sample=["a Quillfeather text"]))
        TaskModel.load(tmp_path / "model").save(tmp_path / "again")
        assert "Quillfeather" not in (tmp_path / "again" / MANIFEST).read_text()

    def test_what_a_base_is_not_made_of_is_not_saved_and_links_out_of_it_are_refused(
        self, saved: TaskModel, tmp_path: Path
    ) -> None:
        (tmp_path / "model" / "base" / "run.py").write_text("")
        loaded = TaskModel.load(tmp_path / "model")
        loaded.save(tmp_path / "again")
        assert not (tmp_path / "again" / "base" / "run.py").exists()
        (tmp_path / "key.txt").write_text("secret")
        (tmp_path / "model" / "base" / "notes.txt").symlink_to(tmp_path / "key.txt")
        with pytest.raises(SamnerError, match="notes.txt: is a link that leads outside"):
            loaded.save(tmp_path / "third")
        assert not (tmp_path / "third").exists()

    def test_it_is_saved_from_wherever_the_process_works_by_then(
        self, saved: TaskModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saved.save(tmp_path / "a" / "model")
        monkeypatch.chdir(tmp_path / "a")
        loaded = TaskModel.load("model")
        monkeypatch.chdir(tmp_path)
        loaded.save("again")
        base = tmp_path / "a" / "model" / "base"
        card = base / "base.json"
        card.write_text(card.read_text() + " ")  # another file of the same base
        loaded.save("once more")
        values = json.loads(card.read_text())
        card.write_text(json.dumps(values | {"types": [*values.get("types", []), "one more"]}))
        with pytest.raises(ModelError):
            loaded.save("of another base")
        shutil.rmtree(base)
        with pytest.raises(ModelError, match="base: the base model that was loaded is no longer there to be saved"):
            loaded.save("of no base")
        assert {path.name for path in tmp_path.iterdir()} >= {"again", "once more"}
        assert not (tmp_path / "of no base").exists() and not (tmp_path / "of another base").exists()

    def test_it_needs_neither_pool_nor_place(self, saved: TaskModel, tmp_path: Path) -> None:
        (tmp_path / "model").rename(tmp_path / "moved")
        loaded = TaskModel.load(str(tmp_path / "moved"))
        loaded.save(tmp_path / "again")
        for path in (tmp_path / "moved").rglob("*.*"):
            if path.is_file():
                assert (tmp_path / "again" / path.relative_to(tmp_path / "moved")).read_bytes() == path.read_bytes()

    def test_its_files_may_go_once_it_is_loaded(self, saved: TaskModel, tmp_path: Path) -> None:
        texts = ["Aspirin relieves headache.", "Acme paid Jane Doe."]
        expected = saved.predict(texts)
        folder = Path(shutil.copytree(tmp_path / "model", tmp_path / "copy"))
        loaded = TaskModel.load(folder)
        vectors = {m.model: saved.backbone.task_vectors(m.model) for m in saved.merges.values()}
        shutil.rmtree(folder)
        assert loaded.predict(texts) == expected
        for name, its in vectors.items():
            again = loaded.backbone.task_vectors(name)
            assert again.keys() == its.keys() and all(torch.equal(again[m], dense) for m, dense in its.items())
        pickled = pickle.dumps(loaded)
        assert len(pickled) <= len(pickle.dumps(saved)) + 2000
        assert pickle.loads(pickled).predict(texts) == expected

    def test_the_manifest_tells_what_was_done_with_what(self, saved: TaskModel, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        manifest = json.loads((folder / MANIFEST).read_text())
        assert manifest["merges"]["similarity"] == {
            "experts": {"a": 1.0, "b": 2.0},
            "model": "task-a",
            "types": ["pill"],
        }
        assert manifest["labels"][0] == {"name": "drug", "description": "a medicine"}
        assert manifest["selections"]["sampling"]["f1"] == {"a": 0.0, "b": 1.0}
        assert {"python", "samner", "torch", "peft"} <= manifest["versions"].keys()
        files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        assert files == {*manifest["files"], MANIFEST}
        assert {Path(name).suffix for name in files} == {".json", ".safetensors"}

    def test_an_existing_folder_is_refused(self, saved: TaskModel, tmp_path: Path) -> None:
        with pytest.raises(SamnerError, match="exists already"):
            saved.save(tmp_path / "model")

    def test_an_interrupted_save_leaves_nothing(
        self, saved: TaskModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr("samner.task_model.write_json", interrupted)
        with pytest.raises(KeyboardInterrupt):
            saved.save(tmp_path / "half")
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_a_folder_without_manifest_is_no_model(self, tmp_path: Path) -> None:
        for folder in (tmp_path, tmp_path / "nowhere"):
            with pytest.raises(ModelError, match="is not a saved task model"):
                TaskModel.load(folder)

    @pytest.mark.parametrize("file", ["base/base.json", "base/base.safetensors", "task-a.safetensors"])
    def test_files_that_were_touched_are_refused(self, saved: TaskModel, tmp_path: Path, file: str) -> None:
        path = tmp_path / "model" / file
        content = bytearray(path.read_bytes())
        content[-2] ^= 1
        path.write_bytes(content)
        with pytest.raises(ModelError, match="damaged or changed, its SHA-256 is not the one"):
            TaskModel.load(tmp_path / "model")
        path.unlink()
        with pytest.raises(ModelError, match="missing"):
            TaskModel.load(tmp_path / "model")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda m: m["files"].update({"../x": "0"}), "leads outside"),
            (lambda m: m["files"].update({"/etc/hostname": "0"}), "leads outside"),
            (lambda m: m["files"].update({"a\x00b": "0"}), "is not a path"),
            (lambda m: m["merges"]["sampling"].update(model="../task-b"), r"lists no checksum of \.\./task-b"),
            (lambda m: m["files"].pop("task-b.safetensors"), "lists no checksum of task-b"),
            (lambda m: m.update(base="0"), "is not the base model that the manifest names"),
            (lambda m: m.pop("merges"), "not a task model's manifest"),
            (lambda m: m.update(merges=[]), "not a task model's manifest"),
            (lambda m: m.update(files=["x"]), "not a task model's manifest"),
            (lambda m: m.update(labels=["drug"]), "not a task model's manifest"),
            (lambda m: m["selections"]["sampling"].update(more=1), "not a task model's manifest"),
            (lambda m: m["selections"]["sampling"].pop("chosen"), "not a task model's manifest"),
            (lambda m: m.update(threshold="high"), r"manifest\.json: threshold must lie between 0 and 1"),
            (lambda m: m.update(threshold=7), "threshold must lie between 0 and 1"),
            (lambda m: m.update(labels=[]), r"manifest\.json: at least one label"),
            (lambda m: m.update(mode="both"), r"manifest\.json: unknown mode"),
            (lambda m: m.update(format=2), r"manifest\.json: its format is 2, and this release .* reads format 1"),
            (lambda m: m.update(mode="economy"), "holds no task model 'economy'"),
        ],
    )
    def test_a_manifest_that_is_wrong_is_refused(
        self, saved: TaskModel, tmp_path: Path, change: Callable[[Any], Any], message: str
    ) -> None:
        rewrite(tmp_path / "model", change)
        with pytest.raises(SamnerError, match=message):
            TaskModel.load(tmp_path / "model")

    def test_task_vectors_are_kept_exactly_and_take_no_more_room_than_their_values(
        self, saved: TaskModel, tmp_path: Path
    ) -> None:
        module = "encoder.layer.1.attention.output.dense"
        sparse = torch.nn.functional.dropout(saved.backbone.task_vectors("task-a")[module], 0.9)
        saved.backbone.add_task_model("sparse", {module: sparse})
        model = replace(saved, merges={"economy": Merge({"a": 1.0}, "sparse")}, mode="economy")
        model.save(tmp_path / "sparse")
        assert (tmp_path / "sparse" / "sparse.safetensors").stat().st_size < 0.15 * 4 * sparse.numel()
        loaded = TaskModel.load(tmp_path / "sparse")
        vectors = loaded.backbone.task_vectors("sparse")
        assert vectors.keys() == {module} and torch.equal(vectors[module], sparse)

    @pytest.mark.parametrize(
        ("write", "message"),
        [
            (lambda path: path.write_bytes(b"cos\nsystem\n"), "not a complete safetensors file"),
            (lambda path: path.write_bytes(path.read_bytes()[:-1]), "not a complete safetensors file"),
            (lambda path: save_file({"x": torch.zeros(2, 2)}, path), "is not a file of task vectors"),
            (
                lambda path: write_delta(TensorDeltas({"no.such.module": torch.zeros(2, 2)}), path),
                "the task vector of 'no.such.module' is .* no such module",
            ),
            (
                lambda path: write_delta(
                    TensorDeltas({"encoder.layer.1.attention.output.dense": torch.zeros(2, 2)}), path
                ),
                r"is \(2, 2\), this base has",
            ),
        ],
        ids=["garbage", "truncated", "another file", "unknown module", "other shape"],
    )
    def test_task_vectors_that_do_not_fit_are_refused(
        self, saved: TaskModel, tmp_path: Path, write: Callable[[Path], Any], message: str
    ) -> None:
        path = tmp_path / "model" / "task-a.safetensors"
        write(path)
        rewrite(tmp_path / "model", lambda manifest: manifest["files"].update({path.name: sha256(path)}))
        with pytest.raises(ModelError, match=message):
            TaskModel.load(tmp_path / "model")

    def test_a_linked_file_out_of_the_folder_is_refused(self, saved: TaskModel, tmp_path: Path) -> None:
        path = tmp_path / "model" / "task-a.safetensors"
        shutil.move(path, tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
        with pytest.raises(SamnerError, match="leads outside"):
            TaskModel.load(tmp_path / "model")
