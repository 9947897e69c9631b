from __future__ import annotations

import copy
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from samner.backbones import BASE, load_backbone
from samner.backbones.gliner2.backbone import Gliner2Backbone
from samner.backbones.gliner2.base_card import create_base
from samner.entities import EntityType, entity_types
from samner.errors import HubError, ModelError, SamnerError
from samner.files import copy_model, read_json, write_json
from tests.backbones.gliner2.conftest import ARCHITECTURES, write_texts

TEXTS = [*write_texts(6), "", " \n", "Basel"]
TYPES = entity_types(["drug", "city", "person"])
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)

Make = Callable[[str], Path]


def scores(answers: Any) -> Any:
    return {model: [{e.key: round(e.score, 3) for e in its} for its in each] for model, each in answers.items()}


def nearly(one: Any, other: Any, threshold: float) -> bool:
    """Whether answers are the same but for what has just the threshold."""
    return all(
        abs(its.get(key, threshold) - that.get(key, threshold)) < 2e-3
        for model in one.keys() | other.keys()
        for its, that in zip(one[model], other[model], strict=True)
        for key in its.keys() | that.keys()
    )


@pytest.fixture
def busy(base: Make, adapter: Callable[[str, int], Path]) -> Callable[[str], Gliner2Backbone]:
    """A base with two experts and a task model on it."""

    def make(architecture: str) -> Gliner2Backbone:
        backbone = Gliner2Backbone.load(base(architecture))
        backbone.add_expert("one", adapter(architecture, 1), ["drug"])
        backbone.add_expert("two", adapter(architecture, 2))
        torch.manual_seed(3)
        backbone.add_task_model("merged", {m: 0.02 * torch.randn(s) for m, s in backbone.module_shapes().items()})
        return backbone

    return make


def test_it_is_loaded_by_its_family(base: Make) -> None:
    backbone = load_backbone(base("span"))
    assert isinstance(backbone, Gliner2Backbone)
    assert (backbone.threshold, backbone.max_tokens, backbone.known_types()) == (0.5, 384, [])


@architectures
def test_models_in_one_batch_answer_as_each_alone(busy: Callable[[str], Gliner2Backbone], architecture: str) -> None:
    backbone = busy(architecture)
    models = ["two", BASE, "merged", "one"]
    together = scores(backbone.predict(TEXTS, TYPES, models, 0.6))
    alone = {model: scores(backbone.predict(TEXTS, TYPES, [model], 0.6))[model] for model in models}
    assert nearly(together, alone, 0.6)
    assert len({str(answers) for answers in alone.values()}) == 4


@pytest.fixture
def bert(tmp_path: Path) -> Gliner2Backbone:
    """A model whose encoder is another than the published ones', with a table of 256 positions."""
    gliner2 = pytest.importorskip("gliner2")
    from transformers import BertConfig

    from tests.backbones.gliner2.random_model import make_tokenizer

    tokenizer = make_tokenizer(write_texts(50), 300)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    encoder = BertConfig(**size, max_position_embeddings=256)
    model = gliner2.AutoExtractor.from_config(
        gliner2.ExtractorConfig(architecture="boundary"), encoder_config=encoder, tokenizer=tokenizer
    )
    model.save_pretrained(str(tmp_path / "model"))
    (tmp_path / "base").mkdir()
    create_base(tmp_path / "base", str(tmp_path / "model"))
    return Gliner2Backbone.load(tmp_path / "base")


def test_an_encoder_of_another_kind_is_read_by_one_model_after_the_other(bert: Gliner2Backbone) -> None:
    deltas = {m: 0.1 * torch.randn(s) for m, s in bert.module_shapes().items()}
    bert.add_task_model("merged", deltas)
    together = scores(bert.predict(TEXTS, TYPES, [BASE, "merged"], 0.4))
    alone = {model: scores(bert.predict(TEXTS, TYPES, [model], 0.4))[model] for model in (BASE, "merged")}
    assert nearly(together, alone, 0.4)
    assert alone[BASE] != alone["merged"]


def test_an_encoder_says_what_is_more_than_its_positions(bert: Gliner2Backbone) -> None:
    with pytest.raises(ModelError, match="reads at most 256 sub-tokens at once, not .*: lower max_words"):
        bert.predict(["Basel " * 300], TYPES, [BASE], 0.4)


def test_threads_get_the_answers_of_one(busy: Callable[[str], Gliner2Backbone]) -> None:
    backbone = busy("span")
    asked = [[BASE], ["one", "merged"], ["two"], ["merged", BASE]] * 2
    alone = [scores(backbone.predict(TEXTS, TYPES, models, 0.6)) for models in asked]
    with ThreadPoolExecutor(4) as pool:
        both = list(pool.map(lambda models: scores(backbone.predict(TEXTS, TYPES, models, 0.6)), asked))
    assert all(nearly(one, other, 0.6) for one, other in zip(alone, both, strict=True))


def test_types_may_have_descriptions(base: Make) -> None:
    backbone = Gliner2Backbone.load(base("span"))
    plain = backbone.predict(TEXTS, TYPES, [BASE], 0.1)[BASE]
    described = [*TYPES[:2], EntityType("person", "someone's name")]
    told = backbone.predict(TEXTS, described, [BASE], 0.1)[BASE]
    assert {e.label for its in told for e in its} == {"drug", "city", "person"}
    assert scores({BASE: plain}) != scores({BASE: told})


def test_no_offset_is_outside_of_a_text_or_of_a_character_that_is_read(base: Make) -> None:
    texts = ["Basel", "U.S", "\ud800 Basel", "a" * 3000 + " Basel " + "b" * 600 + ",", "x " * 500, "!"]
    found = Gliner2Backbone.load(base("span")).predict(texts, TYPES, [BASE], 0.01)[BASE]
    words = [tokens.words for tokens in Gliner2Backbone.load(base("span")).tokenize(texts)]
    assert all(found)
    for its, text, entities in zip(words, texts, found, strict=True):
        starts, ends = {word.start for word in its}, {word.end for word in its}
        assert all(e.start in starts and e.end in ends and e.end <= len(text) for e in entities)


def test_a_word_without_end_takes_no_more_room_than_it_counts_for(base: Make) -> None:
    backbone = Gliner2Backbone.load(base("span"))
    (tokens,) = backbone.tokenize(["aGVsbG8" * 10_000])
    assert tokens.cost > backbone.max_tokens
    assert backbone.read([tokens], TYPES, [BASE], 0.01)[BASE]  # of a few hundred characters


def test_a_copy_answers_alike(busy: Callable[[str], Gliner2Backbone]) -> None:
    backbone = busy("span")
    expected = scores(backbone.predict(TEXTS, TYPES, ["one"], 0.6))
    for other in (copy.deepcopy(backbone), pickle.loads(pickle.dumps(backbone.only(["one"])))):
        assert scores(other.predict(TEXTS, TYPES, ["one"], 0.6)) == expected
    with pytest.raises(ModelError, match="holds no model 'two'"):
        backbone.only(["one"]).predict(TEXTS, TYPES, ["two"], 0.5)


def test_the_fingerprint_is_of_weights_and_configuration(
    base: Make, checkpoint: Make, adapter: Any, tmp_path: Path
) -> None:
    backbone = Gliner2Backbone.load(base("span"))
    again = tmp_path / "again"
    again.mkdir()
    create_base(again, str(checkpoint("span")))
    write_json(again / "base.json", {**read_json(again / "base.json"), "threshold": 0.2, "max_words": 100})
    other = Gliner2Backbone.load(again)
    assert other.fingerprint == backbone.fingerprint != Gliner2Backbone.load(base("boundary")).fingerprint
    assert (other.threshold, other.max_tokens) == (0.2, 100)


class TestWhatIsWrong:
    @pytest.fixture
    def copied(self, checkpoint: Make, tmp_path: Path) -> Path:
        copy_model(checkpoint("span"), tmp_path / "checkpoint")
        (tmp_path / "base").mkdir()
        return tmp_path / "checkpoint"

    @pytest.mark.parametrize(
        ("missing", "message"),
        [
            ("config.json", r"config\.json: no such file, so .* is not a GLiNER2 checkpoint"),
            ("encoder_config/config.json", r"encoder_config.config\.json: no such file"),
            ("model.safetensors", r"model\.safetensors: no such file; save the model as safetensors first"),
            ("tokenizer.json", r"tokenizer\.json: no such file; save the tokenizer beside the model first"),
        ],
    )
    def test_a_folder_that_is_no_checkpoint(self, copied: Path, missing: str, message: str) -> None:
        (copied / missing).unlink()
        (copied / "pytorch_model.bin").write_bytes(b"never opened")
        with pytest.raises(ModelError, match=message):
            create_base(copied.parent / "base", str(copied))

    @pytest.mark.parametrize("config", ["config.json", "encoder_config/config.json"])
    def test_a_checkpoint_with_code_of_its_own(self, copied: Path, config: str) -> None:
        write_json(copied / config, {**read_json(copied / config), "auto_map": {"AutoModel": "mine.Model"}})
        with pytest.raises(ModelError, match="names code of its own"):
            create_base(copied.parent / "base", str(copied))

    def test_an_architecture_that_gliner2_does_not_have(self, copied: Path) -> None:
        write_json(copied / "config.json", {**read_json(copied / "config.json"), "architecture": "other"})
        with pytest.raises(ModelError, match="the architecture must be span or boundary"):
            create_base(copied.parent / "base", str(copied))

    def test_damaged_weights(self, copied: Path) -> None:
        base = copied.parent / "base"
        create_base(base, str(copied))
        for weights in (base / "model" / "model.safetensors", copied / "model.safetensors"):
            weights.write_bytes(weights.read_bytes()[:-1000])
        with pytest.raises(ModelError, match=r"model\.safetensors: damaged or cut off \("):
            Gliner2Backbone.load(base)
        with pytest.raises(ModelError, match=r"model\.safetensors: damaged or cut off \("):
            create_base(base, str(copied))

    def test_settings_of_language_models(self, copied: Path) -> None:
        with pytest.raises(SamnerError, match="--prompt and --four-bit are for language models"):
            Gliner2Backbone.create_base(copied.parent / "base", str(copied), prompt="json-by-type")

    def test_a_model_that_is_nowhere(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="no such folder"):
            create_base(tmp_path, "/not/here")
        with pytest.raises(HubError, match="owner/name"):
            create_base(tmp_path, "owner/name")

    def test_a_card_that_names_a_model_its_reader_did_not(self, base: Make, tmp_path: Path) -> None:
        card = read_json(base("span") / "base.json")
        write_json(tmp_path / "base.json", {**card, "model": "owner/unknown@main"})
        with pytest.raises(ModelError, match="not opened unasked"):
            Gliner2Backbone.load(tmp_path)

    def test_a_missing_package(self, base: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "gliner2", None)
        with pytest.raises(ModelError, match=r"pip install 'samner\[gliner2\]'"):
            Gliner2Backbone.load(base("span"))

    def test_a_label_that_is_a_mark_of_gliner2(self, base: Make) -> None:
        with pytest.raises(SamnerError, match=r"the label '\[SEP_TEXT\]' is a mark of gliner2's own"):
            Gliner2Backbone.load(base("span")).predict(["Basel"], entity_types(["city", "[SEP_TEXT]"]), [BASE], 0.5)

    def test_an_adapter_of_another_base(self, base: Make, adapter: Callable[[str, int], Path]) -> None:
        with pytest.raises(ModelError, match="no such module"):
            Gliner2Backbone.load(base("boundary")).add_expert("one", adapter("span", 1))


def test_a_base_on_the_hub_is_pinned_to_its_commit(
    checkpoint: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = tmp_path / "hub" / "models--owner--name"
    copy_model(checkpoint("span"), cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "v1").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "base").mkdir()
    create_base(tmp_path / "base", "owner/name@v1")
    assert read_json(tmp_path / "base" / "base.json")["model"] == f"owner/name@{commit}"
    (cached / "refs" / "v1").write_text("f" * 40)  # what the revision is today does not matter
    assert Gliner2Backbone.load(tmp_path / "base").predict(["Basel"], TYPES, [BASE], 0.01)[BASE][0]
