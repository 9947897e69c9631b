from __future__ import annotations

import copy
import gc
import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import samner.adaptation
from samner import ExpertPool, TaskModel, adapt
from samner.adaptation import merge_experts, recipes, select
from samner.entities import EntityType, entity_types
from samner.errors import PoolError, SamnerError
from samner.merging import LoraAdapter, merge
from samner.pool import PoolSnapshot
from samner.selection import SIGNALS, Selection, Target

LABELS = ["drug", "disease", "person", "team"]
TEXTS = [
    "Codeine relieves fever within hours.",
    "Triptan relieves headache within hours.",
    "Ines Roth scored twice for Rovers on Sunday.",
    "A cold compress helps against headache, too.",
]
THRESHOLD = 0.3
"""The tiny pool finds little above 0.5."""


@pytest.fixture(scope="module")
def pool(tiny_pool: Path) -> ExpertPool:
    pool = ExpertPool(tiny_pool)
    pool.backbone.threshold = THRESHOLD
    return pool


@pytest.fixture(scope="module")
def different(tiny_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> ExpertPool:
    """The tiny pool with experts that were pushed apart: the weights of one are larger, those of the other turned."""
    import json

    from safetensors.torch import load_file, save_file

    from samner.files import sha256

    folder = Path(shutil.copytree(tiny_pool, tmp_path_factory.mktemp("different") / "pool"))
    generator = torch.Generator().manual_seed(0)
    for name, strength in (("medicine", 0.02), ("sports", 0.05)):
        path = folder / "experts" / name / "adapter_model.safetensors"
        tensors = {k: torch.randn(v.shape, generator=generator) * strength for k, v in load_file(path).items()}
        save_file(tensors, path)
        card = json.loads((path.parent / "expert.json").read_text())
        card["files"][path.name] = sha256(path)
        (path.parent / "expert.json").write_text(json.dumps(card))
    pool = ExpertPool(folder)
    pool.backbone.threshold = THRESHOLD
    return pool


def keys(model: TaskModel, **options: Any) -> list[list[tuple[int, int, str]]]:
    return [[e.key for e in entities] for entities in model.predict(TEXTS, **options)]


def scores(model: TaskModel, **options: Any) -> list[float]:
    return [e.score for entities in model.predict(TEXTS, threshold=0.05, **options) for e in entities]


class TestAdapt:
    def test_each_step_is_told_and_can_end_it(self, pool: ExpertPool) -> None:
        steps: list[str] = []
        adapt(pool, TEXTS, LABELS, on_step=steps.append)
        assert steps == ["selecting experts", "merging for similarity", "merging for sampling"]

        def stop(step: str) -> None:
            if step.startswith("merging"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            adapt(pool, TEXTS, LABELS, on_step=stop)

    def test_from_texts_and_labels_to_entities(self, pool: ExpertPool) -> None:
        model = adapt(pool, TEXTS, LABELS)
        assert model.types == entity_types(LABELS)
        assert (model.mode, model.threshold) == ("union", THRESHOLD)
        assert model.selections["similarity"].ranking[0] == "medicine"
        assert model.selections["sampling"].sample == tuple(range(len(TEXTS)))
        assert model.selections["sampling"].pseudo_labels
        found = {e["text"]: e for e in model.predict_entities("Aspirin relieves headache within hours.")}
        assert found["Aspirin"]["label"] == "drug"
        assert found["Aspirin"]["found_by"] == ["similarity", "sampling"]

    @pytest.mark.parametrize(
        ("mode", "merges", "selections"),
        [
            ("union", {"similarity", "sampling"}, {"similarity", "sampling"}),
            ("intersection", {"similarity", "sampling"}, {"similarity", "sampling"}),
            ("similarity", {"similarity"}, {"similarity"}),
            ("sampling", {"sampling"}, {"sampling"}),
            ("economy", {"economy"}, {"similarity", "sampling"}),
        ],
    )
    def test_each_mode_selects_and_merges_what_it_needs(
        self, pool: ExpertPool, mode: str, merges: set[str], selections: set[str]
    ) -> None:
        model = adapt(pool, TEXTS, LABELS, mode=mode)
        assert (set(model.merges), set(model.selections)) == (merges, selections)
        entities = [e for found in model.predict(TEXTS) for e in found]
        assert entities and {name for e in entities for name in e.found_by} == merges

    def test_a_generator_of_texts_is_read_once(self, pool: ExpertPool) -> None:
        assert adapt(pool, (text for text in TEXTS), LABELS).selections == adapt(pool, TEXTS, LABELS).selections

    def test_the_same_arguments_give_the_same_model(self, tiny_pool: Path, pool: ExpertPool) -> None:
        fresh = ExpertPool(tiny_pool)
        fresh.backbone.threshold = THRESHOLD
        one, other = adapt(pool, TEXTS, LABELS), adapt(fresh, TEXTS, LABELS)
        assert one.selections["sampling"].pseudo_labels == other.selections["sampling"].pseudo_labels
        assert dict(one.merges) == dict(other.merges)
        assert keys(one) == keys(other)

    def test_experts_can_be_left_out(self, pool: ExpertPool) -> None:
        model = adapt(pool, TEXTS, LABELS, exclude=["medicine"])
        for selection in model.selections.values():
            assert selection.ranking == ("sports",) and "medicine" not in selection.cosine
        assert model.merges["similarity"].experts == {"sports": 1.0}
        with pytest.raises(PoolError, match="has no expert 'nobody' to leave out; it has: medicine, sports"):
            adapt(pool, TEXTS, LABELS, exclude=["nobody"])
        with pytest.raises(PoolError, match="every expert of .* is to be left out"):
            adapt(pool, TEXTS, LABELS, exclude=["medicine", "sports"])

    def test_how_many_experts_are_picked(self, pool: ExpertPool) -> None:
        for count, picked in ((1, 1), (2, 2), (3, 2)):
            assert len(adapt(pool, TEXTS, LABELS, experts=count).merges["similarity"].experts) == picked

    def test_all_that_are_not_far_below_the_best(self, pool: ExpertPool) -> None:
        model = adapt(pool, TEXTS, LABELS, experts="auto")
        assert model.settings["experts"] == "auto"
        for selection, score in (
            (model.selections["similarity"], model.selections["similarity"].cosine),
            (model.selections["sampling"], model.selections["sampling"].f1),
        ):
            best = score[selection.ranking[0]]
            assert selection.chosen == tuple(name for name in selection.ranking if score[name] >= 0.3 * best)

    @pytest.mark.parametrize(
        ("merge", "message"),
        [
            ({"lamda": 1}, "pool.json: 'merge' names 'lamda', which is no parameter of any merge method"),
            ({"density": 2}, "pool.json: 'merge': density must be above 0 and at most 1, not 2"),
        ],
    )
    def test_a_pool_that_names_no_way_to_merge_is_to_blame(
        self, tiny_pool: Path, merge: dict[str, Any], message: str
    ) -> None:
        pool = ExpertPool(tiny_pool)
        pool.merge = merge
        with pytest.raises(PoolError, match=message):
            adapt(pool, TEXTS, LABELS)

    def test_settings_and_merge_parameters_are_kept(self, pool: ExpertPool) -> None:
        model = adapt(pool, TEXTS, LABELS, samples=2, seed=4, experts=1, method="ties", density=0.5, lam=0.8)
        expected = {
            "pool": pool.folder.name,
            "method": "ties",
            "parameters": {"density": 0.5, "lam": 0.8},
            "experts": 1,
            "samples": 2,
            "seed": 4,
        }
        assert model.settings == expected
        assert len(model.selections["sampling"].sample) == 2

    def test_labels_may_have_descriptions(self, pool: ExpertPool) -> None:
        model = adapt(pool, TEXTS, {"drug": "a medicine", "team": ""})
        assert model.types == (EntityType("drug", "a medicine"), EntityType("team"))
        assert {e.label for found in model.predict(TEXTS, threshold=0.05) for e in found} <= {"drug", "team"}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"texts": "one string"}, "^texts must be a list of texts, not the single string"),
            ({"texts": None}, "^texts must be a list"),
            ({"pool": "builtin"}, "^pool must be an ExpertPool"),
            ({"exclude": "news"}, "^exclude must be a list of names, not the single string 'news'"),
            ({"exclude": None}, "^exclude must be a list"),
            ({"texts": ["x", 3]}, "^every one of texts must be a string; number 1 is 3$"),
            ({"texts": []}, "at least one text that is not blank"),
            ({"texts": ["", " \n"]}, "at least one text that is not blank"),
            ({"labels": []}, "at least one label"),
            ({"labels": "drug"}, "not the single string"),
            ({"labels": ["drug", "drug"]}, "given twice"),
            ({"labels": None}, "must be a list of names"),
            ({"mode": "both"}, "unknown mode 'both'"),
            ({"experts": 0}, "not 0"),
            ({"experts": "all"}, "at least 1 or 'auto', not 'all'"),
            ({"samples": 0}, "^samples must be a whole number of at least 1, not 0$"),
            ({"samples": 2.5}, "^samples must be"),
            ({"samples": "10"}, "^samples must be"),
            ({"samples": None}, "^samples must be"),
            ({"seed": "a"}, "^seed must be a whole number of at least 0"),
            ({"threshold": "0.3"}, "threshold must lie between 0 and 1 .exclusive., not '0.3'"),
            ({"threshold": 1.5}, "threshold must lie between 0 and 1"),
            ({"method": "average"}, "unknown merge method 'average'"),
            ({"sparsity": 0.2}, "has no parameter 'sparsity'"),
            ({"density": 2}, "density must be above 0 and at most 1"),
            ({"density": object()}, "density must be above 0 and at most 1"),
        ],
    )
    def test_bad_arguments_are_refused(self, pool: ExpertPool, arguments: dict[str, Any], message: str) -> None:
        before = set(pool.backbone.models)
        with pytest.raises(SamnerError, match=message):
            adapt(**{"pool": pool, "texts": TEXTS, "labels": LABELS, **arguments})
        assert {name for name in pool.backbone.models if name.startswith("task-")} <= before

    def test_an_empty_pool_is_refused(self, tiny_pool: Path, tmp_path: Path) -> None:
        with pytest.raises(PoolError, match="no experts"):
            adapt(ExpertPool.create(tmp_path / "pool", tiny_pool / "base"), TEXTS, LABELS)

    def test_half_a_surrogate_pair_does_no_harm(self, pool: ExpertPool) -> None:
        model = adapt(pool, [*TEXTS, "a \ud83d b"], LABELS)
        (found,) = model.predict(["\ud83d\ud83d Aspirin relieves headache within hours. \ude00"])
        assert (3, 10, "drug") in [e.key for e in found]


class TestWarnings:
    def test_a_domain_far_from_every_expert_is_warned_of(self, pool: ExpertPool, tmp_path: Path) -> None:
        model = adapt(pool, ["The compiler inlines pure functions."], ["programming language", "operating system"])
        warning = model.warnings[0]
        assert warning.startswith("no expert is close to this domain: the most similar texts are those of ")
        assert "names close to 'programming language', 'operating system'" in warning
        model.save(tmp_path / "model")
        assert TaskModel.load(tmp_path / "model").warnings == model.warnings

    @pytest.mark.parametrize("mode", ["similarity", "sampling", "economy"])
    def test_in_every_mode(self, pool: ExpertPool, mode: str) -> None:
        far = adapt(pool, ["The compiler inlines pure functions."], ["programming language", "library"], mode=mode)
        assert far.warnings[0].startswith("no expert is close to this domain")
        assert adapt(pool, TEXTS, LABELS, mode=mode, experts=2).warnings == ()

    def test_more_experts_than_there_are_are_asked_for(self, pool: ExpertPool) -> None:
        model = adapt(pool, TEXTS, LABELS, experts=9)
        said = "9 experts were asked for, and there are only 2"
        assert [said in selection.note for selection in model.selections.values()] == [True, False]
        assert model.warnings == ()  # it is no reason to doubt, and not to be said again whenever the model is opened

    @pytest.mark.parametrize(
        "texts",
        [
            ["Codeine relieves fever within hours."],
            ["Codeine relieves fever within hours.", "codeine relieves FEVER within hours"],
            ["Codeine helps.", "Codeine relieves."],
        ],
        ids=["one", "one again", "short"],
    )
    def test_texts_that_decide_nothing(self, pool: ExpertPool, texts: list[str]) -> None:
        (warning,) = adapt(pool, texts, LABELS, mode="sampling", experts=1).warnings
        assert "too little to tell experts apart" in warning or "no two experts agreed" in warning


class TestPrivacy:
    def test_no_text_is_kept_with_a_model(self, pool: ExpertPool, tmp_path: Path) -> None:
        model = adapt(pool, [f"Quillfeather{i} took Codeine within hours." for i in range(12)], LABELS)
        model.save(tmp_path / "model")
        TaskModel.load(tmp_path / "model").save(tmp_path / "again")
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or b"Quillfeather" not in path.read_bytes()
        assert "Quillfeather" not in repr(model.selections)


class TestSignals:
    def test_a_new_signal_is_one_function_and_one_entry(
        self, pool: ExpertPool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def by_name(target: Target) -> Selection:
            ranking = tuple(sorted(target.experts, reverse=True))
            return Selection("name", ranking[: target.count], ranking, target.similarity.cosine)

        with pytest.raises(SamnerError, match="unknown mode 'name'; known are union, intersection, similarity"):
            adapt(pool, TEXTS, LABELS, mode="name")
        monkeypatch.setitem(SIGNALS, "name", by_name)
        model = adapt(pool, TEXTS, LABELS, mode="name", experts=1)
        assert (set(model.merges), model.selections["name"].chosen) == ({"name"}, ("sports",))
        assert {name for found in model.predict(TEXTS) for e in found for name in e.found_by} == {"name"}


class TestSeveral:
    def test_two_adaptations_of_one_pool_live_side_by_side(self, different: ExpertPool) -> None:
        first = adapt(different, TEXTS, LABELS, mode="similarity", experts=1)
        before = scores(first)
        assert len(before) > 5
        second = adapt(different, TEXTS, ["city"], mode="similarity", experts=1, exclude=["medicine"])
        third = adapt(different, TEXTS, LABELS, density=0.7)
        assert scores(first) == before
        assert scores(second, labels=LABELS) != before
        assert scores(third) != before
        again = adapt(different, TEXTS, LABELS, mode="similarity", experts=1)
        assert again.merges == first.merges
        assert scores(again) == before

    def test_strategies_that_picked_the_same_share_a_task_model(self, different: ExpertPool) -> None:
        model = adapt(different, TEXTS, LABELS, experts=2)
        assert model.merges["similarity"] == model.merges["sampling"]
        apart = adapt(different, TEXTS, LABELS, experts=1)
        same = apart.selections["similarity"].chosen == apart.selections["sampling"].chosen
        assert (apart.merges["similarity"].model == apart.merges["sampling"].model) == same

    def test_removing_and_adding_experts_does_not_change_a_model(self, different: ExpertPool, tmp_path: Path) -> None:
        pool = ExpertPool(Path(shutil.copytree(different.folder, tmp_path / "pool")))
        model = adapt(pool, TEXTS, LABELS)
        before = scores(model)
        assert len(before) > 5
        shutil.copytree(pool.folder / "experts" / "sports", tmp_path / "sports")
        pool.remove("sports")
        assert scores(model) == before
        pool.add(tmp_path / "sports", "renamed")
        other = adapt(pool, TEXTS, LABELS)
        assert "renamed" in other.selections["similarity"].ranking
        assert scores(model) == pytest.approx(before, abs=1e-5)

    def test_one_expert_at_full_density_answers_as_the_expert(self, different: ExpertPool) -> None:
        model = adapt(different, TEXTS, LABELS, mode="similarity", experts=1, density=1.0)
        (expert,) = model.selections["similarity"].chosen
        different.load_experts([expert])
        backbone, merged = different.backbone, model.merges["similarity"].model
        answers = backbone.predict(TEXTS, model.types, [expert, merged], 0.05)
        one, other = ([e.score for found in answers[name] for e in found] for name in (expert, merged))
        assert one == pytest.approx(other, abs=1e-4)


class TestLifetime:
    """A task model is on the base as long as somebody has it."""

    def on(self, pool: ExpertPool) -> set[str]:
        gc.collect()
        return {name for name in pool.backbone.models if name.startswith("task-")}

    def test_it_leaves_with_the_last_reference(self, different: ExpertPool) -> None:
        before = self.on(different)
        for density in (0.11, 0.22, 0.33):
            model = adapt(different, TEXTS, LABELS, mode="similarity", density=density)
            assert scores(model)
            del model
            assert self.on(different) == before

    def test_models_share_it_until_the_last_is_closed(self, different: ExpertPool) -> None:
        before = self.on(different)
        first, second = (adapt(different, TEXTS, LABELS, mode="similarity", density=0.44) for _ in range(2))
        expected = scores(second)
        assert len(self.on(different) - before) == 1
        first.close()
        first.close()
        with pytest.raises(SamnerError, match="was closed"):
            first.predict(TEXTS)
        assert scores(second) == expected
        with second:
            assert scores(second) == expected
        assert self.on(different) == before
        with pytest.raises(SamnerError, match="was closed"):
            second.save("nowhere")

    def test_a_loaded_model_can_be_closed(self, different: ExpertPool, tmp_path: Path) -> None:
        adapt(different, TEXTS, LABELS, mode="similarity").save(tmp_path / "model")
        with TaskModel.load(tmp_path / "model") as model:
            assert len(model.backbone.models) == 1
        assert not model.backbone.models

    def test_what_is_asked_again_after_a_removal_is_made_again(self, different: ExpertPool) -> None:
        merged = merge_experts(different, {"medicine": 1.0}, "ties", {"density": 0.55})
        different.backbone.remove(merged.model)
        again = merge_experts(different, {"medicine": 1.0}, "ties", {"density": 0.55})
        assert again == merged and again.model in different.backbone.models
        del merged
        assert again.model in self.on(different)


class TestThreads:
    def test_everything_at_once_gives_the_answers_of_one_thread(self, different: ExpertPool, tmp_path: Path) -> None:
        pool = ExpertPool(Path(shutil.copytree(different.folder, tmp_path / "pool")))
        pool.backbone.threshold = THRESHOLD
        source = Path(shutil.copytree(pool.folder / "experts" / "sports", tmp_path / "source"))
        ways: list[dict[str, Any]] = [{"experts": 1}, {"density": 0.7}, {"mode": "economy"}]
        kept = adapt(pool, TEXTS, LABELS)

        def adapted(way: int) -> list[float]:
            with adapt(pool, TEXTS, LABELS, exclude=[n for n in pool.experts if n.startswith("x")], **ways[way]) as m:
                return scores(m)

        def edited(number: int) -> list[float]:
            pool.add(source, f"x{number}")
            pool.remove(f"x{number}")
            return []

        def verified(_: int) -> list[float]:
            return [] if all("x" in Path(problem.split(":")[0]).name for problem in pool.verify()) else [1.0]

        jobs = [(lambda _: scores(kept), 0), *((adapted, i) for i in range(3)), (verified, 0)] * 3
        jobs += [(edited, i) for i in range(6)]
        names = set(pool.backbone.models)
        expected = [scores(kept), *(adapted(i) for i in range(3)), []] * 3 + [[]] * 6
        with ThreadPoolExecutor(6) as threads:
            found = [threads.submit(job, argument) for job, argument in jobs]
        for one, right in zip(found, expected, strict=True):
            assert one.result() == pytest.approx(right, abs=1e-5)
        assert scores(kept) == pytest.approx(expected[0], abs=1e-5)
        assert names <= set(pool.backbone.models) and not any(n.startswith("x") for n in pool.experts)


class TestCopies:
    def test_a_copy_holds_the_model_and_nothing_else_of_the_pool(self, different: ExpertPool) -> None:
        model, other = (adapt(different, TEXTS, LABELS, experts=1, density=density) for density in (0.3, 0.6))
        expected = scores(model)
        for copied in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            assert set(copied.backbone.models) == {merge.model for merge in model.merges.values()}
            assert scores(copied) == expected
            copied.close()
        assert scores(model) == expected and scores(other)


class TestSnapshots:
    """A pool is what it was when an adaptation began."""

    @pytest.fixture
    def pool(self, different: ExpertPool, tmp_path: Path) -> ExpertPool:
        pool = ExpertPool(Path(shutil.copytree(different.folder, tmp_path / "pool")))
        pool.backbone.threshold = THRESHOLD
        return pool

    @pytest.mark.parametrize("after", ["snapshot", "asked", "select_by"])
    def test_experts_that_are_removed_meanwhile_count_to_the_end(
        self, pool: ExpertPool, after: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with adapt(pool, TEXTS, LABELS, experts=1) as model:
            expected = scores(model)
        owner = {"snapshot": ExpertPool, "asked": PoolSnapshot, "select_by": samner.adaptation}[after]
        original = getattr(owner, after)
        names = list(pool.experts)

        def removing(*arguments: Any, **others: Any) -> Any:
            found = original(*arguments, **others)
            for name in names:
                pool.remove(name)
            return found

        monkeypatch.setattr(owner, after, removing)
        assert scores(adapt(pool, TEXTS, LABELS, experts=1)) == pytest.approx(expected, abs=1e-5)
        gc.collect()
        assert not pool.experts and not list((pool.folder / "experts").iterdir())
        assert not [name for name in pool.backbone.models if not name.startswith("task-")]

    def test_a_removed_expert_leaves_the_base(self, pool: ExpertPool) -> None:
        pool.load_experts(list(pool.experts))
        pool.remove("sports")
        assert set(pool.backbone.models) == {"medicine"}
        shutil.rmtree(pool.folder / "experts" / "medicine")  # as another process does
        pool.load_experts([])
        assert not pool.backbone.models

    def test_an_expert_that_another_process_replaced_is_said(self, pool: ExpertPool) -> None:
        now = pool.snapshot()
        other = ExpertPool(pool.folder)
        other.remove("sports")
        with pytest.raises(PoolError, match="has no expert 'sports'"):
            now.adapter("sports")
        (pool.folder / "experts" / "medicine").rename(pool.folder / "medicine")
        card = json.loads((pool.folder / "medicine" / "expert.json").read_text())
        (pool.folder / "medicine" / "expert.json").write_text(json.dumps({**card, "name": "sports"}))
        other.add(pool.folder / "medicine", "sports")
        with pytest.raises(PoolError, match="'sports' was replaced"):
            now.asked(["sports"])


class TestParts:
    def test_economy_merges_every_pick_by_how_many_picked_it(self, different: ExpertPool) -> None:
        def picked(strategy: str, *chosen: str) -> Selection:
            return Selection(strategy, chosen, chosen, dict.fromkeys(chosen, 0.5))

        both = {"similarity": picked("similarity", "b", "a"), "sampling": picked("sampling", "c", "b")}
        assert recipes(both, "economy") == {"economy": {"a": 1.0, "b": 2.0, "c": 1.0}}
        assert recipes(both, "union") == {"similarity": {"a": 1.0, "b": 1.0}, "sampling": {"b": 1.0, "c": 1.0}}
        assert recipes({"sampling": both["sampling"]}, "sampling") == {"sampling": {"b": 1.0, "c": 1.0}}

    def test_a_task_model_is_the_weighted_merge(self, different: ExpertPool) -> None:
        made = merge_experts(different, {"medicine": 2.0, "sports": 1.0}, "ties", {"density": 0.3})
        adapters = [LoraAdapter.load(different.expert_folder(name)) for name in ("medicine", "sports")]
        expected = merge(adapters, "ties", [2, 1], density=0.3)
        vectors = different.backbone.task_vectors(made.model)
        assert vectors.keys() == expected.keys()
        assert all(torch.equal(vectors[module], expected[module]) for module in expected)
        assert merge_experts(different, {"sports": 1.0, "medicine": 2.0}, "ties", {"density": 0.3}).model == made.model
        assert merge_experts(different, {"medicine": 1.0, "sports": 1.0}, "ties", {"density": 0.3}).model != made.model

    def test_the_seed_reaches_methods_that_are_random(self, different: ExpertPool) -> None:
        models = {
            seed: adapt(different, TEXTS, LABELS, mode="similarity", method="dare_linear", seed=seed)
            for seed in (0, 1)
        }
        assert models[1].settings["parameters"]["seed"] == 1
        assert models[0].merges["similarity"].model != models[1].merges["similarity"].model
        assert scores(models[0]) != scores(models[1])

    def test_of_many_texts_some_evenly_spread_are_read(self, pool: ExpertPool) -> None:
        texts = [f"Codeine relieves fever within {i} hours." for i in range(1001)]
        chosen = select(pool, texts, entity_types(LABELS), samples=3)
        read = [texts[i * 1001 // 500] for i in range(500)]
        assert chosen["similarity"].cosine == select(pool, read, entity_types(LABELS))["similarity"].cosine
        assert all(texts[place] in read for place in chosen["sampling"].sample) and max(chosen["sampling"].sample) > 3

    def test_select_alone(self, pool: ExpertPool) -> None:
        types = entity_types(LABELS)
        both = select(pool, TEXTS, types, samples=3, seed=1)
        assert list(both) == ["similarity", "sampling"]
        assert both["sampling"].cosine == both["similarity"].cosine
        assert select(pool, TEXTS, types, mode="similarity") == {"similarity": both["similarity"]}

    def test_selection_by_similarity_alone_loads_no_expert(self, tiny_pool: Path) -> None:
        fresh = ExpertPool(tiny_pool)
        select(fresh, TEXTS, entity_types(LABELS), mode="similarity")
        assert "backbone" not in vars(fresh)


class TestAtRest:
    def test_saved_and_loaded_it_predicts_the_same(self, different: ExpertPool, tmp_path: Path) -> None:
        model = adapt(different, TEXTS, LABELS, experts=1, method="dare_ties", seed=2, threshold=0.1)
        model.save(tmp_path / "model")
        loaded = TaskModel.load(tmp_path / "model")
        long = " ".join([*TEXTS, "So it goes. " * 100, *TEXTS])
        texts = [*TEXTS, "", long]
        expected, answers = model.predict(texts), loaded.predict(texts)
        assert sum(map(len, expected)) > 3
        for mine, theirs in zip(answers, expected, strict=True):
            assert [(e.key, e.found_by) for e in mine] == [(e.key, e.found_by) for e in theirs]
            assert [e.score for e in mine] == pytest.approx([e.score for e in theirs], abs=1e-5)
        assert loaded.selections == model.selections
        assert loaded.settings == model.settings

    def test_offsets_in_long_texts(self, pool: ExpertPool) -> None:
        model = adapt(pool, TEXTS, LABELS)
        long = "\U0001f3c6 So it goes.\n" * 150 + "Aspirin relieves headache within hours."
        (found,) = model.predict([long])
        assert "Aspirin" in {long[e.start : e.end] for e in found if e.label == "drug"}


def test_a_pool_says_how_its_experts_are_merged(tiny_pool: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_pool, tmp_path / "pool"))
    (folder / "pool.json").write_text('{"format": 1, "base": "base", "merge": {"lam": 0.5, "density": 0.3}}')
    pool = ExpertPool(folder)
    assert adapt(pool, TEXTS, LABELS).settings["parameters"] == {"lam": 0.5, "density": 0.3}
    assert adapt(pool, TEXTS, LABELS, lam=2.0).settings["parameters"] == {"lam": 2.0, "density": 0.3}
    linear = adapt(pool, TEXTS, LABELS, method="linear")  # knows no density
    assert linear.settings["parameters"] == {"lam": 0.5}
    halves = pool.backbone.task_vectors(linear.merges["similarity"].model)
    whole = adapt(pool, TEXTS, LABELS, method="linear", lam=1.0)
    vectors = pool.backbone.task_vectors(whole.merges["similarity"].model)
    assert all(torch.allclose(2 * halves[m], vector) for m, vector in vectors.items())


def test_in_its_own_domain_an_expert_answers_alone_and_as_it_is(different: ExpertPool) -> None:
    texts = ["Codeine relieves fever within hours.", "Triptan relieves headache within hours."]
    model = adapt(different, texts, ["drug", "disease"])
    assert {s.chosen for s in model.selections.values()} == {("medicine",)}
    assert all(s.home and "asked alone" in s.note for s in model.selections.values())
    assert len({merge.model for merge in model.merges.values()}) == 1
    different.load_experts(["medicine"])
    expected = different.backbone.predict(texts, model.types, ["medicine"], 0.05)["medicine"]
    found = model.predict(texts, threshold=0.05)
    assert {e.key for its in found for e in its} <= {e.key for its in expected for e in its} and any(found)
    asked = adapt(different, texts, ["drug", "disease"], lam=0.5)  # who says how it is merged is obeyed
    assert asked.settings["parameters"]["lam"] == 0.5 and model.settings["parameters"]["lam"] == 1.0
    paper = adapt(different, texts, ["drug", "disease"], experts=2)
    assert not any(s.home for s in paper.selections.values())
