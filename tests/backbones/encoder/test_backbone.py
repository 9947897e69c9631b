from __future__ import annotations

import copy
import json
import math
import pickle
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from samner.backbones import BASE, load_backbone
from samner.backbones.encoder.backbone import EncoderBackbone
from samner.entities import Entity, EntityType, entity_types
from samner.errors import ModelError, SamnerError
from samner.files import read_json, sha256, write_json
from samner.merging import LoraAdapter, merge

TYPES = entity_types(["drug", "disease", "person", "team"])
TEXTS = [
    "Aspirin relieves headache within hours.",
    "Ada Moreno scored twice for Rovers on Sunday.",
    "",
    "Codeine and Ibuprofen did not help Lena Fischer of Harbour City against fever, headache and a cough.",
]
THRESHOLD = 0.05
Answers = list[list[Entity]]


@pytest.fixture(scope="module")
def folder(tiny_pool: Path) -> Path:
    return tiny_pool / "base"


@pytest.fixture
def base(folder: Path) -> EncoderBackbone:
    return EncoderBackbone.load(folder)


def write_adapter(
    base: EncoderBackbone,
    folder: Path,
    *,
    seed: int = 0,
    rank: int = 4,
    modules: Iterable[str] | None = None,
    strength: float = 0.02,
    shapes: dict[str, tuple[int, int]] | None = None,
    **config: Any,
) -> Path:
    """An adapter that was not trained, but changes the answers."""
    generator = torch.Generator().manual_seed(seed)
    all_shapes = {**base.module_shapes(), **(shapes or {})}
    tensors = {}
    for module in modules or all_shapes:
        out, into = all_shapes[module]
        key = f"base_model.model.{module}.lora_"
        tensors[f"{key}A.weight"] = torch.randn(rank, into, generator=generator) * strength
        tensors[f"{key}B.weight"] = torch.randn(out, rank, generator=generator) * strength
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    values = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": 2 * rank,
        "target_modules": sorted(modules or {name.rsplit(".", 1)[-1] for name in all_shapes}),
        "exclude_modules": r"pooler\..*",
        "bias": "none",
        **config,
    }
    (folder / "adapter_config.json").write_text(json.dumps(values))
    return folder


def ask(base: EncoderBackbone, *models: str) -> dict[str, Answers]:
    return base.predict(TEXTS, TYPES, models, THRESHOLD)


def ask_types(base: EncoderBackbone, types: tuple[EntityType, ...], model: str = BASE) -> dict[str, float]:
    """The score of "Aspirin" for each type."""
    (found,) = base.predict(TEXTS[:1], types, [model], 1e-6)[model]
    return {e.label: e.score for e in found if TEXTS[0][e.start : e.end] == "Aspirin"}


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def scores(answers: Answers) -> list[dict[tuple[int, int, str], float]]:
    return [{entity.key: entity.score for entity in entities} for entities in answers]


def close(one: Answers, other: Answers, tolerance: float = 1e-4) -> bool:
    """The same answers, but for rounding and for what is at the very threshold."""
    for mine, theirs in zip(scores(one), scores(other), strict=True):
        for key in mine.keys() | theirs.keys():
            if not math.isclose(mine.get(key, THRESHOLD), theirs.get(key, THRESHOLD), abs_tol=tolerance):
                return False
    return True


def far(one: Answers, other: Answers) -> bool:
    return not close(one, other, 1e-3)


class TestAtRest:
    def test_saved_and_loaded_it_answers_the_same(self, base: EncoderBackbone, tmp_path: Path) -> None:
        with torch.no_grad():
            base.encoder.encoder.layer[3].output.dense.weight.mul_(1.05)
        base.threshold, base.types = 0.4, {"medicine": ["drug: a medicine", "disease"]}
        base.save(tmp_path / "base", card={"licence": "Apache-2.0"})
        again = EncoderBackbone.load(tmp_path / "base")
        assert again.fingerprint != base.fingerprint  # which is of what was loaded
        again.save(tmp_path / "again")
        assert EncoderBackbone.load(tmp_path / "again").fingerprint == again.fingerprint
        assert (again.threshold, again.types) == (0.4, base.types)
        assert again.known_types() == ["disease", "drug: a medicine"]
        assert ask(again, BASE) == ask(base, BASE)
        assert json.loads((tmp_path / "base" / "base.json").read_text())["licence"] == "Apache-2.0"

    def test_in_half_precision_it_is_the_same_base(self, base: EncoderBackbone, tmp_path: Path) -> None:
        with torch.no_grad():
            base.encoder.encoder.layer[3].output.dense.weight.mul_(1.05)
        base.save(tmp_path / "half", torch.float16)
        base.save(tmp_path / "full")
        sizes = [(tmp_path / name / "base.safetensors").stat().st_size for name in ("half", "full")]
        assert sizes[0] < 0.6 * sizes[1]
        again = EncoderBackbone.load(tmp_path / "half")
        assert again.fingerprint == EncoderBackbone.load(tmp_path / "full").fingerprint
        assert close(ask(again, BASE)[BASE], ask(base, BASE)[BASE], 0.02)

    def test_only_what_differs_from_the_sentence_encoder_is_stored(
        self, base: EncoderBackbone, tmp_path: Path
    ) -> None:
        from safetensors import safe_open

        base.save(tmp_path / "base")
        with safe_open(tmp_path / "base" / "base.safetensors", framework="pt") as file:
            assert set(file.keys()) == {"heads.maps", "heads.log_scale", "heads.bias"}

    def test_it_can_be_saved_while_it_holds_experts(self, base: EncoderBackbone, tmp_path: Path) -> None:
        with torch.no_grad():
            base.encoder.encoder.layer[3].output.dense.weight.mul_(1.05)
        base.save(tmp_path / "before")
        base.add_expert("one", write_adapter(base, tmp_path / "one"))
        base.save(tmp_path / "after")
        for name in ("base.json", "base.safetensors"):
            assert (tmp_path / "before" / name).read_bytes() == (tmp_path / "after" / name).read_bytes()

    def test_the_fingerprint_tells_bases_apart(self, base: EncoderBackbone, tmp_path: Path) -> None:
        assert EncoderBackbone().fingerprint != base.fingerprint
        with torch.no_grad():
            base.heads.bias[1] += 0.01
        base.save(tmp_path / "other")
        assert EncoderBackbone.load(tmp_path / "other").fingerprint != base.fingerprint

    @pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
    def test_damaged_weights_are_refused(self, folder: Path, tmp_path: Path, damage: str) -> None:
        shutil.copytree(folder, tmp_path / "base")
        path = tmp_path / "base" / "base.safetensors"
        content = bytearray(path.read_bytes())
        if damage == "flip":
            content[-1] ^= 1
        elif damage == "truncate":
            del content[-100:]
        path.write_bytes(content)
        if damage == "remove":
            path.unlink()
        with pytest.raises(ModelError, match="missing" if damage == "remove" else "damaged, its SHA-256"):
            load_backbone(tmp_path / "base")

    @pytest.mark.parametrize(
        "tensors",
        [
            {},
            {"heads.maps": torch.zeros(3, 2, 2), "heads.log_scale": torch.zeros(3), "heads.bias": torch.zeros(3)},
            {
                "heads.maps": torch.zeros(3, 384, 384),
                "heads.log_scale": torch.zeros(3),
                "heads.bias": torch.zeros(3),
                "encoder.no.such.weight": torch.zeros(3),
            },
        ],
        ids=["none", "other shape", "unknown"],
    )
    def test_weights_of_something_else_are_refused(
        self, folder: Path, tmp_path: Path, tensors: dict[str, Tensor]
    ) -> None:
        shutil.copytree(folder, tmp_path / "base")
        path = tmp_path / "base" / "base.safetensors"
        save_file(tensors, path)
        self.rewrite(tmp_path / "base", lambda card: card["weights"].update(sha256=sha256(path)))
        with pytest.raises(ModelError, match=r"base\.safetensors"):
            load_backbone(tmp_path / "base")

    def test_weights_that_are_no_safetensors_are_refused(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path / "base")
        path = tmp_path / "base" / "base.safetensors"
        path.write_bytes(b"cos\nsystem\n(S'echo'\ntR.")
        self.rewrite(tmp_path / "base", lambda card: card["weights"].update(sha256=sha256(path)))
        with pytest.raises(ModelError, match="not the weights of a base"):
            load_backbone(tmp_path / "base")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda card: card.pop("weights"), "not the card"),
            (lambda card: card.update(weights={}), "not the card"),
            (lambda card: card.update(sentence_encoder="minilm"), "not the card"),
            (lambda card: card.update(threshold="high"), "not the card"),
            (lambda card: card.update(types=["drug"]), "not the card"),
            (lambda card: card.update(format=2), r"base\.json: its format is 2"),
            (lambda card: card["weights"].update(file="../base.safetensors"), "leads outside"),
            (lambda card: card["sentence_encoder"].update(sha256="0"), "another release of the sentence encoder"),
            (lambda card: card["sentence_encoder"].update(reference="no-such/encoder"), "is not opened unasked"),
        ],
    )
    def test_a_card_that_is_wrong_is_refused(
        self, folder: Path, tmp_path: Path, change: Callable[[Any], None], message: str
    ) -> None:
        shutil.copytree(folder, tmp_path / "base")
        self.rewrite(tmp_path / "base", change)
        with pytest.raises(SamnerError, match=message):
            load_backbone(tmp_path / "base")

    def rewrite(self, folder: Path, change: Callable[[Any], None]) -> None:
        card = json.loads((folder / "base.json").read_text())
        change(card)
        (folder / "base.json").write_text(json.dumps(card))


class TestPredict:
    def test_the_tiny_base_finds_what_it_was_taught(self, base: EncoderBackbone) -> None:
        answers = base.predict(TEXTS[:2], TYPES, [BASE], 0.3)[BASE]
        assert any(TEXTS[0][e.start : e.end] == "Aspirin" and e.label == "drug" for e in answers[0])
        assert any(TEXTS[1][e.start : e.end] == "Ada Moreno" and e.label == "person" for e in answers[1])

    def test_company_and_order_do_not_matter(self, base: EncoderBackbone) -> None:
        together = ask(base, BASE)[BASE]
        assert together[2] == []
        for text, expected in zip(TEXTS, together, strict=True):
            assert close(base.predict([text], TYPES, [BASE], THRESHOLD)[BASE], [expected])
        backwards = base.predict(TEXTS[::-1], TYPES, [BASE], THRESHOLD)[BASE]
        assert close(backwards[::-1], together)

    def test_a_type_is_scored_alone_as_in_company(self, base: EncoderBackbone) -> None:
        together = ask(base, BASE)[BASE]
        for wanted in TYPES:
            alone = base.predict(TEXTS, [wanted], [BASE], THRESHOLD)[BASE]
            assert close(alone, [[e for e in entities if e.label == wanted.name] for entities in together])

    def test_a_higher_threshold_finds_less(self, base: EncoderBackbone) -> None:
        low, high = (base.predict(TEXTS, TYPES, [BASE], threshold)[BASE] for threshold in (0.1, 0.5))
        for many, few in zip(scores(low), scores(high), strict=True):
            assert few.items() <= many.items()
        assert sum(map(len, low)) > sum(map(len, high)) > 0

    def test_the_description_counts(self, base: EncoderBackbone) -> None:
        described = entity_types({"drug": "a football club", "disease": "", "person": "", "team": ""})
        assert far(base.predict(TEXTS, described, [BASE], THRESHOLD)[BASE], ask(base, BASE)[BASE])

    def test_a_type_that_is_half_known_gains_most(self, base: EncoderBackbone) -> None:
        types = entity_types(["drug", "medicine", "spaceship"])
        before = ask_types(base, types)
        base.novelty = 4.0
        after = ask_types(base, types)
        taught = base.known_types()
        assert "drug" in taught and not {"medicine", "spaceship"} & set(taught)
        for name in before:
            cosine = float((base.type_vectors([name]) @ base.type_vectors(taught).T).max())
            gain = logit(after[name]) - logit(before[name])
            assert gain == pytest.approx(4 * min(1 - cosine, cosine), abs=0.05)

    def test_what_an_expert_was_taught_is_not_novel_to_it(self, base: EncoderBackbone, tmp_path: Path) -> None:
        base.novelty = 4.0
        adapter = write_adapter(base, tmp_path / "one", strength=0.0)
        base.add_expert("taught", adapter, ["medicine"])
        base.add_expert("untaught", adapter)
        base.add_task_model("merged", {}, ["medicine"])
        types = entity_types(["medicine"])
        scores = {name: ask_types(base, types, name)["medicine"] for name in ("taught", "merged", "untaught", BASE)}
        assert scores["taught"] == pytest.approx(scores["merged"], abs=1e-4)
        assert scores["untaught"] == pytest.approx(scores[BASE], abs=1e-4)
        assert scores["taught"] < scores["untaught"]
        base.remove("taught")
        base.add_expert("taught", adapter)
        assert ask_types(base, types, "taught")["medicine"] == pytest.approx(scores["untaught"], abs=1e-4)

    def test_many_texts_are_read_in_batches(self, base: EncoderBackbone, monkeypatch: pytest.MonkeyPatch) -> None:
        together = ask(base, BASE)[BASE]
        monkeypatch.setattr("samner.backbones.encoder.backbone._BATCH_TOKENS", {"cpu": 20, "other": 20})
        assert close(ask(base, BASE)[BASE], together)

    def test_nothing_to_read(self, base: EncoderBackbone) -> None:
        assert base.predict([], TYPES, [BASE], THRESHOLD) == {BASE: []}
        assert base.predict(["", " "], TYPES, [BASE], THRESHOLD) == {BASE: [[], []]}
        assert base.tokenize([]) == []

    def test_type_vectors_are_the_sentence_encoders_own(self, base: EncoderBackbone) -> None:
        from samner.embedding import sentence_encoder

        prompts = ["drug", "disease: an illness", "drug"]
        expected = torch.from_numpy(sentence_encoder().encode(prompts))
        torch.testing.assert_close(base.type_vectors(prompts), expected, rtol=1e-4, atol=1e-5)

    def test_texts_of_full_length_are_not_truncated(self, base: EncoderBackbone) -> None:
        """``max_tokens`` and the special tokens together are what the sentence encoder can read."""
        filler = "so it goes " * 100
        (tokens,) = base.tokenize([filler])
        text = filler[: tokens.words[base.max_tokens - 8].start] + "Aspirin relieves headache."
        (tokens,) = base.tokenize([text])
        assert base.max_tokens - 3 <= tokens.cost <= base.max_tokens
        (found,) = base.read([tokens], TYPES, [BASE], 0.01)[BASE]
        assert max(entity.end for entity in found) > len(text) - 12


class TestExperts:
    @pytest.fixture
    def adapters(self, base: EncoderBackbone, tmp_path: Path) -> list[Path]:
        """Three that differ in rank and in what they adapt."""
        query = [f"encoder.layer.{i}.attention.self.query" for i in range(6)]
        return [
            write_adapter(base, tmp_path / "one", seed=1),
            write_adapter(base, tmp_path / "two", seed=2, rank=2, strength=0.05),
            write_adapter(base, tmp_path / "query", seed=3, rank=8, modules=query, strength=0.1),
        ]

    def test_an_expert_answers_otherwise_and_the_base_as_before(
        self, base: EncoderBackbone, adapters: list[Path]
    ) -> None:
        before = ask(base, BASE)[BASE]
        base.add_expert("one", adapters[0])
        assert set(base.models) == {"one"}
        after = ask(base, BASE, "one")
        assert close(after[BASE], before)
        assert far(after["one"], before)

    def test_adding_an_expert_changes_no_other(self, base: EncoderBackbone, adapters: list[Path]) -> None:
        base.add_expert("one", adapters[0])
        before = ask(base, "one")["one"]
        base.add_expert("two", adapters[1])
        base.add_expert("query", adapters[2])
        assert close(ask(base, "one")["one"], before)
        assert far(ask(base, "two")["two"], before)

    def test_a_mixed_batch_equals_each_alone(self, base: EncoderBackbone, adapters: list[Path], folder: Path) -> None:
        alone = {}
        for name, adapter in zip(("one", "two", "query"), adapters, strict=True):
            fresh = EncoderBackbone.load(folder)
            fresh.add_expert(name, adapter)
            alone[name] = ask(fresh, name)[name]
            base.add_expert(name, adapter)
        alone[BASE] = ask(EncoderBackbone.load(folder), BASE)[BASE]
        mixed = ask(base, "two", BASE, "query", "one")
        assert list(mixed) == ["two", BASE, "query", "one"]
        for name, answers in mixed.items():
            assert close(answers, alone[name]), name
        assert all(far(alone[name], alone[BASE]) for name in ("one", "two", "query"))

    def test_in_bfloat16_the_same_base_answers_nearly_the_same(
        self,
        base: EncoderBackbone,
        adapters: list[Path],
        folder: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("SAMNER_PRECISION", "bfloat16")
        fast = EncoderBackbone.load(folder)
        for backbone in (base, fast):
            backbone.add_expert("one", adapters[0])
            backbone.add_task_model("merged", merge([LoraAdapter.load(adapters[1])], "ties"))
        exact, quick = (ask(backbone, BASE, "one", "merged") for backbone in (base, fast))
        for name in exact:
            assert not close(quick[name], exact[name], 1e-6)
            assert close(quick[name], exact[name], 0.05)
        assert fast.fingerprint == base.fingerprint
        fast.save_fused("merged", tmp_path / "fused")
        monkeypatch.setenv("SAMNER_PRECISION", "float32")
        assert close(ask(EncoderBackbone.load(tmp_path / "fused"), BASE)[BASE], exact["merged"])

    def test_a_fused_one_says_what_the_base_was_taught(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path / "base")
        more = {"data": [{"name": "fables", "licence": "CC0"}], "taught": {"fables": ["animal"]}}
        write_json(tmp_path / "base" / "base.json", read_json(tmp_path / "base" / "base.json") | more)
        base = EncoderBackbone.load(tmp_path / "base")
        base.add_task_model("merged", {})
        base.save_fused("merged", tmp_path / "fused")
        assert read_json(tmp_path / "fused" / "base.json").items() >= more.items()

    def test_against_the_weights_merged_by_hand(
        self, base: EncoderBackbone, adapters: list[Path], folder: Path
    ) -> None:
        by_hand = EncoderBackbone.load(folder)
        adapter = LoraAdapter.load(adapters[0])
        with torch.no_grad():
            for module in adapter.modules:
                by_hand.encoder.get_submodule(module).weight += adapter.delta(module)
        base.add_expert("one", adapters[0])
        assert close(ask(base, "one")["one"], ask(by_hand, BASE)[BASE])

    def test_a_task_model_of_one_expert_is_the_expert(self, base: EncoderBackbone, adapters: list[Path]) -> None:
        before = ask(base, BASE)[BASE]
        for name, adapter in zip(("one", "two", "query"), adapters, strict=True):
            base.add_task_model(f"merged {name}", merge([LoraAdapter.load(adapter)], "ties", density=1.0))
            base.add_expert(name, adapter)
        answers = ask(base, "merged one", "one", BASE, "merged query", "query", "two", "merged two")
        for name in ("one", "two", "query"):
            assert close(answers[f"merged {name}"], answers[name]), name
        assert close(answers[BASE], before)

    def test_task_models_do_not_depend_on_experts(self, base: EncoderBackbone, adapters: list[Path]) -> None:
        """Also where an expert adapts only some of the modules that were merged."""
        base.add_task_model("merged", merge([LoraAdapter.load(path) for path in adapters], "linear"))
        alone = ask(base, "merged", BASE)
        base.add_expert("query", adapters[2])
        assert close(ask(base, "merged")["merged"], alone["merged"])
        base.add_expert("one", adapters[0])
        assert close(ask(base, "one", "merged")["merged"], alone["merged"])
        base.remove("one")
        base.remove("query")
        again = ask(base, "merged", BASE)
        assert close(again["merged"], alone["merged"]) and close(again[BASE], alone[BASE])
        assert far(alone["merged"], alone[BASE])

    def test_task_vectors_are_those_given(self, base: EncoderBackbone) -> None:
        module, shape = next(iter(base.module_shapes().items()))
        base.add_task_model("one", {module: torch.ones(shape, dtype=torch.float16)})
        vectors = base.task_vectors("one")
        assert list(vectors) == [module]
        assert torch.equal(vectors[module], torch.ones(shape))

    def test_the_order_of_removal_does_not_matter(self, base: EncoderBackbone, adapters: list[Path]) -> None:
        before = ask(base, BASE)[BASE]
        keys = list(base.encoder.state_dict())
        base.add_expert("one", adapters[0])
        base.add_expert("two", adapters[1])
        two = ask(base, "two")["two"]
        base.remove("one")
        assert set(base.models) == {"two"}
        answers = ask(base, BASE, "two")
        assert close(answers["two"], two) and close(answers[BASE], before)
        base.remove("two")
        assert not base.models
        assert ask(base, BASE)[BASE] == before
        assert list(base.encoder.state_dict()) == keys
        base.add_expert("two", adapters[1])
        assert close(ask(base, "two")["two"], two)

    def test_removing_what_is_not_there_is_fine(self, base: EncoderBackbone) -> None:
        base.remove("nobody")
        base.remove(BASE)
        assert ask(base, BASE)[BASE][0]

    def test_a_removed_name_can_be_given_again(self, base: EncoderBackbone, adapters: list[Path]) -> None:
        base.add_expert("x", adapters[0])
        one = ask(base, "x")["x"]
        base.remove("x")
        base.add_task_model("x", merge([LoraAdapter.load(adapters[1])], "linear"))
        assert far(ask(base, "x")["x"], one)
        base.remove("x")
        assert "x" not in base.models

    def test_names_that_are_taken_are_refused(self, base: EncoderBackbone, adapters: list[Path]) -> None:
        base.add_expert("x", adapters[0])
        base.add_task_model("y", {})
        before = ask(base, "x")["x"]
        for name in ("x", "y", BASE):
            with pytest.raises(ModelError, match=f"the name '{name}' is taken"):
                base.add_expert(name, adapters[1])
            with pytest.raises(ModelError, match=f"the name '{name}' is taken"):
                base.add_task_model(name, {})
        assert close(ask(base, "x")["x"], before)

    def test_names_may_be_any_text(self, base: EncoderBackbone, adapters: list[Path]) -> None:
        base.add_expert("v1.2 – ünï/çode", adapters[0])
        assert far(ask(base, "v1.2 – ünï/çode")["v1.2 – ünï/çode"], ask(base, BASE)[BASE])

    def test_task_vectors_that_do_not_fit_are_refused(self, base: EncoderBackbone) -> None:
        module, (out, into) = next(iter(base.module_shapes().items()))
        with pytest.raises(ModelError, match=rf"task vector of '{module}' is \({out}, {into + 1}\)"):
            base.add_task_model("x", {module: torch.zeros(out, into + 1)})
        with pytest.raises(ModelError, match="no such module"):
            base.add_task_model("x", {"no.such.module": torch.zeros(2, 2)})
        assert not base.models

    @pytest.mark.parametrize("first", [True, False], ids=["as the first", "as another"])
    @pytest.mark.parametrize(
        "spoil",
        ["shape", "module", "rank", "no weights", "pickle", "garbage", "config", "kind", "nothing"],
    )
    def test_what_does_not_fit_is_refused_and_leaves_no_trace(
        self, base: EncoderBackbone, adapters: list[Path], tmp_path: Path, spoil: str, first: bool
    ) -> None:
        models = [BASE] if first else [BASE, "one"]
        if not first:
            base.add_expert("one", adapters[0])
        before = ask(base, *models)
        bad = tmp_path / "bad"
        module = next(iter(base.module_shapes()))
        if spoil == "nothing":
            pass
        elif spoil == "shape":
            write_adapter(base, bad, shapes={module: (384, 100)})
        elif spoil == "module":
            write_adapter(base, bad, shapes={"pooler.dense": (384, 384)}, exclude_modules=None)
        elif spoil == "rank":
            write_adapter(base, bad, r=7)
        elif spoil == "kind":
            write_adapter(base, bad, peft_type="NO_SUCH_KIND")
        else:
            write_adapter(base, bad)
            weights = bad / "adapter_model.safetensors"
            if spoil == "garbage":
                weights.write_bytes(b"garbage")
            elif spoil == "config":
                (bad / "adapter_config.json").write_text("{")
            else:
                weights.unlink()
                if spoil == "pickle":
                    torch.save({}, bad / "adapter_model.bin")
        with pytest.raises(ModelError) as caught:
            base.add_expert("bad", bad)
        assert "\n" not in str(caught.value)
        assert set(base.models) == set(models) - {BASE}
        for name, answers in ask(base, *models).items():
            assert close(answers, before[name])
        base.add_task_model("merged", merge([LoraAdapter.load(adapters[0])], "linear"))
        base.add_expert("two", adapters[1])
        answers = ask(base, BASE, "merged", "two")
        assert close(answers[BASE], before[BASE])
        assert far(answers["merged"], before[BASE]) and far(answers["two"], before[BASE])


class TestCopies:
    """What a worker is sent: a pickle or a copy of a backbone."""

    def test_a_copy_answers_the_same(self, base: EncoderBackbone, tmp_path: Path) -> None:
        adapter = write_adapter(base, tmp_path / "one")
        base.add_expert("one", adapter)
        base.add_task_model("merged", merge([LoraAdapter.load(adapter)], "linear"), ["drug"])
        before = ask(base, BASE, "one", "merged")
        for copied in (pickle.loads(pickle.dumps(base)), copy.deepcopy(base)):
            assert ask(copied, BASE, "one", "merged") == before
            copied.remove("one")
        assert ask(base, BASE, "one", "merged") == before

    def test_it_does_not_grow_with_what_was_asked(self, base: EncoderBackbone) -> None:
        module, shape = next(iter(base.module_shapes().items()))
        base.add_task_model("merged", {module: torch.zeros(shape)})
        before = len(pickle.dumps(base))
        base.predict(TEXTS, entity_types([f"type {i}" for i in range(50)]), [BASE, "merged"], THRESHOLD)
        assert len(pickle.dumps(base)) == before
