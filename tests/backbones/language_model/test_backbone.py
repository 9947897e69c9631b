from __future__ import annotations

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from samner.backbones import BASE, load_backbone
from samner.backbones.language_model.backbone import CausalBackbone
from samner.backbones.language_model.engines import local
from samner.backbones.language_model.engines.local import LocalEngine
from samner.backbones.language_model.generation.answer_format import Constraint
from samner.backbones.language_model.generation.ask import Generated, Question
from samner.backbones.language_model.generation.prompt import load_prompt, prompt_ids, render
from samner.backbones.mixed_batch import MixedModels
from samner.entities import EntityType
from samner.errors import ModelError, SamnerError
from samner.lora import LoraAdapter
from samner.merging import merge
from tests.backbones.language_model.tiny_llama import tiny_tokenizer

TEXTS = [
    "Aspirin relieves headache within hours.",
    'Ada Moreno, who "likes" C++, left Rovers.',
    "Rovers lost 3:2 to Harbour City 😀 in Basel.",
]
TYPES = (EntityType("person"), EntityType("drug", "a medicine"))
MODELS = [BASE, "a", "b", "x"]


@pytest.fixture(scope="module")
def experts(make_expert) -> list[Path]:
    return [make_expert(1), make_expert(2)]


@pytest.fixture(scope="module")
def backbone(base: Path, experts: list[Path]) -> CausalBackbone:
    loaded: Any = load_backbone(base)
    for name, folder in zip("ab", experts, strict=True):
        loaded.add_expert(name, folder)
    loaded.add_task_model("x", merge([LoraAdapter.load(folder) for folder in experts], density=0.5))
    return loaded


def questions(backbone: CausalBackbone, models: list[str], constrained: bool) -> list[Question]:
    prompt = backbone.prompt
    return [
        Question(model, question, Constraint.of(prompt.format, TYPES, text) if constrained else None)
        for text in TEXTS
        for question in prompt.questions(text, TYPES)
        for model in models
    ]


def assert_same(left: list[Generated], right: list[Generated]) -> None:
    assert [g.text for g in left] == [g.text for g in right]
    for one, other in zip(left, right, strict=True):
        assert one.token_texts == other.token_texts
        assert torch.allclose(torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=1e-3)


# -- answering --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("constrained", [True, False])
def test_one_mixed_batch_answers_as_each_question_alone(backbone, constrained):
    asked = questions(backbone, MODELS, constrained)
    together = backbone.engine.answer(asked)
    assert_same(together, [backbone.engine.answer([question])[0] for question in asked])
    assert len({answer.text for answer in together[: len(MODELS)]}) > 1  # the models differ


def test_threads_get_the_answers_of_one(backbone):
    ways = [[BASE, "a"], ["x"], ["b", "x", "a"]]
    expected = [backbone.predict(TEXTS, TYPES, models, 0.01) for models in ways]
    before = {model: backbone.statistics[model]["answers"] for model in MODELS}
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: backbone.predict(TEXTS, TYPES, ways[i % 3], 0.01), range(9)))
    for i, answers in enumerate(found):
        for model, texts in answers.items():
            assert [[e.key for e in found] for found in texts] == [
                [e.key for e in found] for found in expected[i % 3][model]
            ]
    asked = len(backbone.prompt.questions("", TYPES)) * len(TEXTS)
    counted = {model: backbone.statistics[model]["answers"] - before[model] for model in MODELS}
    assert counted == {BASE: 3 * asked, "a": 6 * asked, "b": 3 * asked, "x": 6 * asked}


def test_a_view_and_a_pickle_of_it_hold_their_models_alone(backbone):
    view = backbone.only(["b"])
    expected = backbone.predict(TEXTS, TYPES, ["b"], 0.01)  # which makes the grammars
    for one in (view, pickle.loads(pickle.dumps(view))):
        assert set(one.models) == {"b"} and one.predict(TEXTS, TYPES, ["b"], 0.01) == expected
    with pytest.raises(ModelError, match="holds no model 'a'"):
        view.predict(TEXTS, TYPES, ["a"], 0.01)
    with pytest.raises(ModelError, match="holds no model 'c'"):
        backbone.only(["c"])
    assert set(backbone.models) == {"a", "b", "x"}


def test_small_batches_change_nothing(backbone):
    asked = questions(backbone, MODELS, True)
    parts = (backbone.model, backbone.tokenizer, backbone.mixed, backbone.prompt, backbone.card.max_new_tokens)
    assert_same(backbone.engine.answer(asked), LocalEngine(*parts, batch_tokens=1).answer(asked))


def test_the_shared_beginning_is_read_once(backbone, monkeypatch):
    lengths = []
    monkeypatch.setattr(local, "_FEW", 0)  # no drafts, which are read with the rest
    handle = backbone.model.get_input_embeddings().register_forward_pre_hook(
        lambda module, inputs: lengths.append(tuple(inputs[0].shape))
    )
    backbone.engine.answer(questions(backbone, [BASE, "a"], True))
    handle.remove()
    (models, shared), (rows, rest) = lengths[:2]
    assert models == 2 and rows == 2 * len(TEXTS)
    assert shared > 40 > rest


def test_finished_answers_leave_the_batch(backbone):
    asked = questions(backbone, MODELS, True)
    written = [len(answer.token_texts) for answer in backbone.engine.answer(asked)]
    assert min(written) < max(written)
    rows = []
    handle = backbone.model.get_input_embeddings().register_forward_pre_hook(
        lambda module, inputs: rows.append(len(inputs[0]))
    )
    backbone.engine.answer(asked)
    handle.remove()
    read = rows[1:]  # after the shared beginning
    assert read[0] == len(asked) and read == sorted(read, reverse=True) and read[-1] < len(asked)


def test_a_recurrent_model_answers_without_keys_and_values():
    from transformers import GenerationConfig, MambaConfig, MambaForCausalLM

    model = MambaForCausalLM(MambaConfig(vocab_size=300, hidden_size=16, num_hidden_layers=1, state_size=4)).eval()
    model.generation_config = GenerationConfig(eos_token_id=[0], pad_token_id=1, do_sample=False)
    engine = LocalEngine(model, tiny_tokenizer(), MixedModels({}), load_prompt("json-by-type"), 5)
    answers = engine.answer([Question(BASE, "Who is in Bonn?"), Question(BASE, "Which river flows there?")])
    assert [1 <= len(answer.logprobs) <= 5 for answer in answers] == [True, True]


def test_a_sliding_window_answers_as_each_question_alone(make_lm, make_base):
    """Padding between a shared beginning and the rest would move the window, so there it is not read apart."""
    loaded: Any = load_backbone(make_base(make_lm(mistral=True, sliding_window=8)))
    assert loaded.model.config.sliding_window == 8
    asked = questions(loaded, [BASE], True)
    assert_same(loaded.engine.answer(asked), [loaded.engine.answer([question])[0] for question in asked])


def test_log_probabilities_are_the_models_own(backbone):
    question = questions(backbone, [BASE], True)[0]
    (answer,) = backbone.engine.answer([question])
    prompt = prompt_ids([render(backbone.prompt, question.text, backbone.tokenizer)], backbone.tokenizer)[0]
    # what the model would have said of these very tokens; here each is one character, or one of the vocabulary's
    ids = backbone.tokenizer.convert_tokens_to_ids([t.replace(" ", "Ġ") for t in answer.token_texts])
    with torch.no_grad():
        logits = backbone.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
    expected = logits.log_softmax(-1)[range(len(ids)), ids]
    assert torch.allclose(torch.tensor(answer.logprobs), expected, atol=1e-3)


def test_constrained_answers_are_valid_and_copied(backbone):
    before = {model: backbone.statistics[model].copy() for model in MODELS}
    found = backbone.predict(TEXTS, TYPES, MODELS, 1e-9)
    for model in MODELS:
        counts = backbone.statistics[model] - before[model]
        assert counts["answers"] == len(TEXTS) == counts["valid"] + counts["repaired"]
        assert counts["not_found"] == counts["normalised"] == 0
        assert len(found[model]) == len(TEXTS)
    entities = [(text, e) for model in MODELS for text, es in zip(TEXTS, found[model], strict=True) for e in es]
    assert entities
    for text, entity in entities:
        assert 0 <= entity.start < entity.end <= len(text)
        assert entity.aligned == "exact" and 0 < entity.score <= 1 and entity.label in ("person", "drug")
    surest = max(entity.score for _, entity in entities)
    assert all(not es for es in backbone.predict(TEXTS, TYPES, [BASE], min(1.0, surest + 1e-6))[BASE])


def test_unconstrained_answers_are_counted(make_base):
    loaded: Any = load_backbone(make_base(constrained=False))
    assert loaded.predict(TEXTS, TYPES, [BASE], 0.01)[BASE]
    counts = loaded.statistics[BASE]
    assert counts["answers"] == len(TEXTS) == counts["valid"] + counts["repaired"] + counts["unreadable"]


@pytest.mark.parametrize("name", ["json-pairs", "json-short", "one-type"])
def test_other_prompts(make_base, name):
    loaded: Any = load_backbone(make_base(prompt=name))
    found = loaded.predict(TEXTS[:2], TYPES, [BASE], 1e-9)[BASE]
    assert len(found) == 2
    assert loaded.statistics[BASE]["answers"] == (4 if name == "one-type" else 2)


def test_a_chat_template_is_used(make_lm, make_base):
    loaded: Any = load_backbone(make_base(make_lm(chat=True)))
    (ids,) = prompt_ids([render(loaded.prompt, "Who?", loaded.tokenizer)], loaded.tokenizer)
    text = loaded.tokenizer.decode(ids)
    assert text.startswith("<s>system: You find named entities") and text.endswith("user: Who?\nassistant: ")
    assert ids.count(loaded.tokenizer.bos_token_id) == 1
    assert loaded.predict(TEXTS, TYPES, [BASE], 0.01)[BASE]


def test_odd_texts(backbone):
    texts = ["\ud83d", "\x00\x1b", '‮שלום "x" [y] \\n {z}', "e\u0301" * 30]
    found = backbone.predict(texts, TYPES, ["x"], 1e-9)["x"]
    for text, entities in zip(texts, found, strict=True):
        assert all(0 <= e.start < e.end <= len(text) for e in entities)


ODD_TYPES = tuple(
    EntityType(*names)
    for names in [
        ('the "best" drug', 'a "name" {text}'),
        ("{text}", "{types} {type}"),
        ("it's {x: [1]}",),
        ("back\\slash/\u2028",),
        ("%s\x7f <|end|>",),
    ]
)


@pytest.mark.parametrize("prompt", ["json-by-type", "json-pairs", "json-short", "one-type"])
@pytest.mark.parametrize("constrained", [True, False])
def test_types_with_quotes_and_braces(make_base, prompt, constrained):
    loaded: Any = load_backbone(make_base(prompt=prompt, constrained=constrained, max_new_tokens=120))
    found = loaded.predict(TEXTS[:1], ODD_TYPES, [BASE], 1e-9)[BASE][0]
    assert {entity.label for entity in found} <= {t.name for t in ODD_TYPES}
    counts = loaded.statistics[BASE]
    if constrained:
        assert counts["valid"] + counts["repaired"] == counts["answers"] and counts["not_found"] == 0


def test_nothing_to_read(backbone):
    assert backbone.predict([], TYPES, MODELS, 0.5) == {model: [] for model in MODELS}


def test_a_question_beyond_the_model_is_refused(backbone):
    (tokens,) = backbone.tokenize(["word " * 500])
    with pytest.raises(ModelError, match=r"a question of \d+ tokens and an answer of 40 are more than the 512"):
        backbone.read([tokens], TYPES, [BASE], 0.5)


def test_a_text_beyond_the_model_is_read_in_windows(backbone):
    assert len(backbone.predict(["word " * 500], TYPES, [BASE], 0.5)[BASE]) == 1


# -- at rest ----------------------------------------------------------------------------------------------------------


def test_what_a_base_says_of_itself(backbone, base):
    assert backbone.checkpoint == str((base / "model").resolve())
    assert len(backbone.module_shapes()) == 14
    assert backbone.module_shapes()["model.layers.1.mlp.down_proj"] == (32, 48)
    assert backbone.max_tokens == 128 and backbone.threshold == 0.01  # a quarter of what the model reads
    assert set(backbone.models) == {"a", "b", "x"}


def test_the_fingerprint_is_of_model_and_prompt(base, make_base, make_lm, tmp_path):
    fingerprint = load_backbone(base).fingerprint
    shutil.copytree(base, tmp_path / "copy")
    assert load_backbone(tmp_path / "copy").fingerprint == fingerprint
    assert load_backbone(make_base(threshold=0.2, dtype="float32")).fingerprint == fingerprint
    assert load_backbone(make_base(prompt="json-pairs")).fingerprint != fingerprint
    assert load_backbone(make_base(make_lm(rms_norm_eps=1e-3))).fingerprint != fingerprint


def test_types_that_the_base_was_taught(make_base):
    loaded = load_backbone(make_base(types={"a": ["drug", "city"], "b": ["city"]}))
    assert loaded.known_types() == ["city", "drug"]


def test_an_expert_that_does_not_fit_is_refused(backbone, make_lm, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    other = AutoModelForCausalLM.from_pretrained(make_lm(intermediate_size=40))
    get_peft_model(other, LoraConfig(r=2, target_modules="all-linear")).save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match=r"other: adapts .*mlp.down_proj as \(32, 40\), the base has \(32, 48\)"):
        backbone.add_expert("other", tmp_path / "other")
    with pytest.raises(ModelError, match=r"adapter_config\.json: no such file"):
        backbone.add_expert("none", tmp_path / "none")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": "int8"}, r"base\.json: dtype: input should be 'auto', .* not 'int8'"),
        ({"threshold": 2.0}, r"base\.json: threshold: input should be less than 1, not 2\.0"),
        ({"max_tokens": 0}, r"base\.json: max_tokens: input should be greater than 0, not 0"),
        ({"format": 2}, r"base\.json: format: this samner reads format 1, not 2"),
        ({"model": "no/such-model"}, "names the model .no/such-model., which is not part of it"),
        ({"model": "/some/folder"}, r"base\.json: model: must be beside this file or on a hub; no absolute path"),
        ({"model": "C:\\some"}, "no absolute path"),
        ({"prompt": "~/mine.yaml"}, r"base\.json: prompt: .* no absolute path"),
        ({"model": "../elsewhere"}, "leads outside"),
        ({"prompt": "no-such-prompt"}, "no prompt '.*no-such-prompt'"),
    ],
)
def test_a_card_that_is_wrong(make_base, entry, message):
    with pytest.raises(SamnerError, match=message):
        load_backbone(make_base(**entry))


def test_a_model_that_lacks_weights_is_refused(make_base, tmp_path):
    from safetensors.torch import load_file, save_file

    base = make_base()
    weights = load_file(base / "model" / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, base / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="has no weights of model.layers.1.mlp.up_proj.weight, and lacks 1 in all"):
        load_backbone(base)


def test_code_that_comes_with_a_model_is_not_run(make_base, make_lm, tmp_path, monkeypatch):
    folder = make_lm()
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('ran')")
    with pytest.raises(
        ModelError, match="it brings code of its own; if you trust that, set SAMNER_TRUST_REMOTE_CODE=1"
    ):
        make_base(folder)
    monkeypatch.setenv("SAMNER_TRUST_REMOTE_CODE", "1")
    with pytest.raises(SystemExit, match="ran"):
        make_base(folder)
