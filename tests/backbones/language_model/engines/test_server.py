from __future__ import annotations

import asyncio
import json
import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from samner.backbones import BASE, load_backbone
from samner.backbones.language_model.engines.server import generated
from samner.backbones.language_model.generation.ask import Generated, Question
from samner.entities import Entity, EntityType
from samner.errors import ModelError, SamnerError
from tests.backbones.language_model.tiny_server import BASE_NAME, Fault, TinyServer, serving

TEXTS = ['Ada Moreno, who "likes" C++, left.', "Rovers lost 3:2 to Harbour City 😀."]
TYPES = (EntityType("person"), EntityType("drug", "a medicine"))
MODELS = [BASE, "a", "b"]
TINY = 1e-9


NONE = Fault(body='{"choices": [{"text": "{}"}]}')


@pytest.fixture(scope="module")
def base(make_base: Any) -> Path:
    return make_base(max_new_tokens=24)


@pytest.fixture(scope="module")
def experts(make_expert: Any) -> dict[str, Path]:
    return {"a": make_expert(1), "b": make_expert(2)}


@pytest.fixture(scope="module")
def running(base: Path, experts: dict[str, Path]) -> Iterator[TinyServer]:
    with serving(TinyServer(base, experts)) as server:
        yield server


@pytest.fixture(autouse=True)
def _as_a_server_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server goes on after a string that its list has already, so this process does here, too."""
    monkeypatch.setattr("samner.backbones.language_model.engines.local._of_lists", lambda constraint: False)


@pytest.fixture
def server(running: TinyServer) -> Iterator[TinyServer]:
    yield running
    running.faults, running.asked, running.most_active = [], [], 0


@pytest.fixture(scope="module")
def local(base: Path, experts: dict[str, Path]) -> Any:
    return with_experts(load_backbone(base), experts)


@pytest.fixture
def describe(server: TinyServer, tmp_path: Path) -> Any:
    """Writes the description of the server as a file."""

    def write(**values: Any) -> str:
        path = tmp_path / "server.json"
        path.write_text(json.dumps({"url": server.url, **values}))
        return str(path)

    return write


def with_experts(backbone: Any, experts: dict[str, Path]) -> Any:
    for name, folder in experts.items():
        backbone.add_expert(name, folder)
    return backbone


def found(backbone: Any, texts: list[str] = TEXTS, models: list[str] = MODELS) -> dict[str, list[list[Entity]]]:
    return backbone.predict(texts, TYPES, models, TINY)


def assert_same(left: dict[str, list[list[Entity]]], right: dict[str, list[list[Entity]]]) -> None:
    def plain(answers: dict[str, list[list[Entity]]]) -> Any:
        return {model: [[(*e.key, e.aligned) for e in text] for text in texts] for model, texts in answers.items()}

    def scores(answers: dict[str, list[list[Entity]]]) -> torch.Tensor:
        return torch.tensor([e.score for texts in answers.values() for text in texts for e in text])

    assert plain(left) == plain(right)
    assert torch.allclose(scores(left), scores(right), rtol=1e-2)


# -- the same answers -------------------------------------------------------------------------------------------------


def test_a_server_answers_as_this_process_does(base, server, experts, local):
    remote = with_experts(load_backbone(base, server.url), experts)
    assert_same(found(remote), found(local))
    assert any(text for texts in found(local).values() for text in texts)
    assert remote.statistics["a"] == _once(local)
    assert {path for _, path, _ in server.asked} == {"/v1/completions"}
    assert {body["model"] for _, _, body in server.asked} == {BASE_NAME, "a", "b"}
    assert remote.fingerprint == local.fingerprint and remote.module_shapes() == local.module_shapes()
    assert remote.tokenize(TEXTS) == local.tokenize(TEXTS)
    assert {parameter.device.type for parameter in remote.model.parameters()} == {"meta"}


def _once(local: Any) -> dict[str, int]:
    """What was counted of the answers to all texts, however often they were asked for."""
    counts = local.statistics["a"]
    return {name: count * len(TEXTS) // counts["answers"] for name, count in counts.items()}


@pytest.mark.parametrize(("api", "raw"), [("chat", True), ("chat", False), ("completions", True)])
def test_any_way_of_asking_gives_the_same(make_lm, make_base, experts, describe, api, raw):
    base = make_base(make_lm(chat=True))
    here = with_experts(load_backbone(base), experts)
    with serving(TinyServer(base, experts, raw=raw)) as server:
        remote = with_experts(load_backbone(base, describe(url=server.url, api=api)), experts)
        assert_same(found(remote), found(here))
        questions = [Question(model, f"Who? 東京😀{model}") for model in MODELS]  # any answer goes
        for one, other in zip(remote.engine.answer(questions), here.engine.answer(questions), strict=True):
            assert one.text == other.text
            mean, expected = (sum(g.logprobs) / max(1, len(g.logprobs)) for g in (one, other))
            assert mean == pytest.approx(expected, abs=0.2)
        path = "/v1/chat/completions" if api == "chat" else "/v1/completions"
        assert {asked for _, asked, _ in server.asked} == {path}


@pytest.mark.parametrize(("chat", "path"), [(True, "/v1/chat/completions"), (False, "/v1/completions")])
def test_another_server_than_vllm_is_told_a_schema(make_lm, make_base, experts, describe, chat, path):
    base = make_base(make_lm(chat=chat))
    with serving(TinyServer(base, experts, owner="tests")) as server:
        reference = describe(url=server.url, names={BASE: BASE_NAME})
        found(with_experts(load_backbone(base, reference), experts), TEXTS[:1])
    assert {asked for _, asked, _ in server.asked} == {path}
    for _, _, body in server.asked:
        assert body["response_format"]["json_schema"]["schema"]["required"] == ["person", "drug"]
        assert not body.keys() & {"structured_outputs", "repetition_penalty"}


@pytest.mark.parametrize("structure", ["grammar", "schema"])
def test_llama_cpp_is_asked_for_adapters_by_their_numbers(base, experts, local, describe, structure):
    with serving(TinyServer(base, experts, owner="llamacpp")) as server:
        remote = with_experts(load_backbone(base, describe(url=server.url, structure=structure)), experts)
        answers = found(remote)
        assert {path for _, path, _ in server.asked} == {"/v1/completions"}
        assert {"json_schema" if structure == "schema" else "grammar"} <= server.asked[0][2].keys()
        if structure == "grammar":
            assert_same(answers, found(local))
        remote.add_served("task-1", "c")
        with pytest.raises(ModelError, match=r"serves no 'c', only tiny-lm, a, b: .* llama-server with --lora c.gguf"):
            found(remote, models=["task-1"])


def test_llama_cpp_without_a_list_of_adapters_has_none(base, experts, monkeypatch):
    with serving(TinyServer(base, experts, owner="llamacpp")) as server:
        monkeypatch.setattr(server, "lora_adapters", lambda: {"error": "not found"})
        remote = load_backbone(base, server.url)
        with pytest.raises(ModelError, match="serves no 'a', only tiny-lm: export"):
            remote.add_expert("a", experts["a"])


def test_llama_cpp_with_files_of_one_name_knows_them_by_their_paths(base, experts, describe, monkeypatch):
    with serving(TinyServer(base, experts, owner="llamacpp")) as server:
        listed = [{"id": 0, "path": "news/a.gguf", "scale": 0.0}, {"id": 1, "path": "law/a.gguf", "scale": 0.0}]
        monkeypatch.setattr(server, "lora_adapters", lambda: listed)
        with pytest.raises(ModelError, match=r"serves no 'a', only tiny-lm, news/a.gguf, law/a.gguf: "):
            load_backbone(base, server.url).add_expert("a", experts["a"])
        remote = load_backbone(base, describe(url=server.url, names={"a": "law/a.gguf"}))
        remote.add_expert("a", experts["a"])
        found(remote, models=["a"])
        assert {one["id"]: one["scale"] for one in server.asked[0][2]["lora"]} == {0: 0.0, 1: 1.0}


def test_an_answer_that_llama_cpp_had_no_room_for_is_refused(base, experts, describe, tmp_path):
    with serving(TinyServer(base, experts, owner="llamacpp")) as server:
        remote = load_backbone(base, describe(url=server.url, answers=str(tmp_path / "kept")))
        cut = {"choices": [{"text": '{"person": ["', "finish_reason": "length"}], "usage": {"completion_tokens": 5}}
        for _ in range(2):  # nor is it kept
            server.faults = [Fault(body=json.dumps(cut))]
            with pytest.raises(ModelError, match="the context is full after 5 tokens of an answer; .* --ctx-size"):
                found(remote, TEXTS[:1], [BASE])
        server.faults = [Fault(body=json.dumps({**cut, "usage": {"completion_tokens": 24}}))]
        assert found(remote, TEXTS[:1], [BASE]) == {BASE: [[]]}


def test_vllm_may_be_told_a_schema_too(base, server, describe):
    remote = load_backbone(base, describe(structure="schema"))
    found(remote, models=[BASE])
    assert {tuple(body["structured_outputs"]) for _, _, body in server.asked} == {("json",)}


def test_half_a_character_does_no_harm(base, server, experts, local):
    texts = ["Ada \ud83d Moreno", "\udc00"]
    remote = with_experts(load_backbone(base, server.url), experts)
    assert_same(found(remote, texts), found(local, texts))


def test_asks_from_within_an_event_loop(base, server):
    async def notebook() -> Any:
        return found(load_backbone(base, server.url), TEXTS[:1], [BASE])

    server.faults = [NONE]
    assert asyncio.run(notebook()) == {BASE: [[]]}


# -- names and adapters -----------------------------------------------------------------------------------------------


def test_names_are_translated(base, server, experts, describe, local):
    remote = load_backbone(base, describe(names={"other": "a", BASE: BASE_NAME}))
    remote.add_expert("other", experts["a"])
    assert_same({"a": found(remote, models=["other"])["other"]}, found(local, models=["a"]))
    assert sorted(remote.models) == ["other"]


def test_experts_are_loaded_where_the_server_does_that(base, experts, local, make_expert, tmp_path):
    with serving(TinyServer(base, runtime=True)) as server:
        remote = with_experts(load_backbone(base, server.url), experts)
        assert_same(found(remote, TEXTS[:1]), found(local, TEXTS[:1]))
        names = list(server.backbone.models)
        assert sorted(name[:2] for name in names) == ["a-", "b-"]
        again = load_backbone(base, server.url)
        again.add_expert("a", experts["a"])  # is there already
        again.add_expert("b", make_expert(3))  # of the same name as one of another pool
        assert len(server.backbone.models) == 3
        with pytest.raises(ModelError, match="the name 'a' is taken"):
            again.add_expert("a", experts["a"])
        again.remove("a")
        assert len(server.backbone.models) == 3  # not its own
        remote.remove("a")
        remote.remove("b")
        assert len(server.backbone.models) == 1


def test_adapters_may_lie_elsewhere_for_the_server(base, experts, tmp_path):
    for name, folder in experts.items():
        shutil.copytree(folder, tmp_path / "seen" / name)
    with serving(TinyServer(base, runtime=True)) as server:
        file = tmp_path / "server.json"
        file.write_text(json.dumps({"url": server.url, "adapters": str(tmp_path / "seen")}))
        with_experts(load_backbone(base, str(file)), experts)
        assert {body["lora_path"] for _, _, body in server.asked} == {str(tmp_path / "seen" / n) for n in "ab"}
        file.write_text(json.dumps({"url": server.url, "adapters": "/nowhere"}))
        remote = load_backbone(base, str(file))
        remote.add_served("task-1", "c")
        with pytest.raises(ModelError, match=r"cannot load /nowhere/c \(No adapter found for /nowhere/c\)"):
            found(remote, models=["task-1"])


def test_what_the_server_lacks_is_said(base, experts, server, tmp_path, monkeypatch):
    remote = load_backbone(base, server.url)
    remote.add_served("task-1", "similarity")
    with pytest.raises(ModelError, match=r"serves no 'similarity', only tiny-lm, a, b: export .* start its serve.sh"):
        found(remote, models=["task-1"])
    with pytest.raises(ModelError, match=r"serves no 'c-\w+', only tiny-lm, a, b: .*VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        remote.add_expert("c", experts["a"])
    assert list(remote.models) == ["task-1"]
    remote.add_task_model("task-2", {})
    with pytest.raises(ModelError, match=r"has no 'task-2', which was merged here: save it"):
        found(remote, models=["task-2"])
    with pytest.raises(ModelError, match="a server trains no experts"):
        remote.train_expert(None, tmp_path, {}, run=None, resume=False)
    monkeypatch.setattr(remote.client, "bases", ["one", "two"])
    with pytest.raises(ModelError, match="say by 'names' which is the 'base'"):
        found(remote, models=[BASE])


def test_a_model_that_has_gone_is_said(base, experts, server):
    remote = with_experts(load_backbone(base, server.url), experts)
    server.backbone.remove("b")
    try:
        with pytest.raises(ModelError, match=r"http://\S+/v1: The model `b` does not exist\."):
            found(remote, TEXTS[:1], ["b"])
    finally:
        server.backbone.add_expert("b", experts["b"])


# -- trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [Fault(500), Fault(503), Fault(429), Fault(408), Fault(cut=True), Fault(late=2)],
    ids=["500", "503", "429", "408", "cut", "late"],
)
def test_passing_trouble_is_outlived(base, experts, server, describe, fault):
    remote = with_experts(load_backbone(base, describe(timeout=1.5 if fault.late else 30)), experts)
    server.faults = [fault, NONE]
    assert found(remote, TEXTS[:1], ["a"]) == {"a": [[]]}
    assert len(server.asked) == 2 and dict(remote.statistics["a"])["valid"] == 1


def test_a_server_says_how_long_to_wait(base, experts, server):
    remote = with_experts(load_backbone(base, server.url), experts)
    server.faults = [Fault(429, {"Retry-After": "1.5"}), NONE]
    found(remote, TEXTS[:1], ["a"])
    first, second = (when for when, _, _ in server.asked)
    assert second - first >= 1.5


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(500), r"error 500 \(out of order\), tried 2 times$"),
        (Fault(429), r"error 429 \(out of order\), tried 2 times$"),
        (Fault(400), r"error 400 \(out of order\)$"),
        (Fault(late=1), r"no answer within 0.5 s, tried 2 times$"),
        (Fault(cut=True), r"cannot be reached \(.+\), tried 2 times$"),
        (Fault(body="<html>"), r"no OpenAI-compatible API answers there; its URL usually ends in /v1$"),
        (Fault(body="[]"), r"no OpenAI-compatible API answers there"),
        (Fault(body="{}"), r"its answer is not in the form of OpenAI's API; its URL usually ends in /v1$"),
        (Fault(body='{"choices": [{"text": 7, "logprobs": {"tokens": ["a"]}}]}'), r"its answer is not in the form"),
    ],
)
def test_lasting_trouble_is_said_in_a_line(base, experts, server, describe, fault, message):
    remote = with_experts(load_backbone(base, describe(retries=1, timeout=0.5 if fault.late else 30)), experts)
    server.faults = [fault] * 4
    with pytest.raises(ModelError, match=rf"^{server.url}: {message}") as caught:
        found(remote, TEXTS[:1], ["a"])
    assert "\n" not in str(caught.value)


def test_no_more_requests_at_a_time_than_wanted(base, experts, server, describe):
    remote = with_experts(load_backbone(base, describe(concurrency=3)), experts)
    found(remote)
    assert 1 < server.most_active <= 3


def test_a_server_that_is_not_there(base, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        started = time.monotonic()
        with pytest.raises(ModelError, match=rf"^{url}: cannot be reached \(.+\)"):
            load_backbone(base, url)
        assert time.monotonic() - started < 5


def test_a_wrong_url(base, server):
    for url in (server.url.removesuffix("/v1"), server.url + "/chat"):
        with pytest.raises(ModelError, match=rf"^{url}: no OpenAI-compatible API answers there; its URL usually"):
            load_backbone(base, url)


def test_the_key_is_the_environments_and_never_told(base, experts, describe, monkeypatch, caplog, tmp_path):
    caplog.set_level("DEBUG")
    with serving(TinyServer(base, experts, key="sesame")) as server:
        monkeypatch.delenv("MY_KEY", raising=False)
        reference = describe(url=server.url, key="MY_KEY", answers="kept")
        with pytest.raises(ModelError, match="wants an API key; put it into the environment variable MY_KEY$"):
            load_backbone(base, reference)
        monkeypatch.setenv("MY_KEY", "wrong-password")
        with pytest.raises(ModelError, match="refuses the API key in the environment variable MY_KEY$"):
            load_backbone(base, reference)
        monkeypatch.setenv("MY_KEY", "sesame")
        server.faults = [NONE]
        found(load_backbone(base, reference), TEXTS[:1], [BASE])
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 2
    assert not any(key in told for key in (b"sesame", b"wrong-password") for told in (caplog.text.encode(), *written))


# -- describing a server ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"url": "localhost:8000"}, r"url: must be like http://localhost:8000/v1, not 'localhost:8000'"),
        ({"url": "http://[/v1"}, "url: invalid IPv6 URL"),
        ({"url": 8000}, "url: input should be a valid string"),
        ({"url": "http://me:secret@host/v1"}, "url: must hold no name or password"),
        ({"key": "sk-secret"}, "key: must name the environment variable"),
        ({"key": 1}, "key: input should be a valid string"),
        ({"api": "responses"}, "api: input should be 'completions' or 'chat', not 'responses'"),
        ({"structure": "regex"}, "structure: input should be 'grammar' or 'schema', not 'regex'"),
        ({"concurrency": 0}, "concurrency: input should be greater than 0, not 0"),
        ({"timeout": -1}, "timeout: input should be greater than 0, not -1"),
        ({"retries": True}, "retries: input should be a valid integer, not True"),
        ({"names": ["a"]}, "names: input should be an object"),
        ({"adapters": 1}, "adapters: input should be a valid string, not 1"),
        ({"answers": 1}, "answers: input should be a valid string, not 1"),
        ({"port": 1}, "port: unknown setting; known are url, names"),
    ],
)
def test_a_description_that_makes_no_sense(base, describe, values, message):
    with pytest.raises(SamnerError, match=rf"server.json: {message}") as caught:
        load_backbone(base, describe(**values))
    assert "secret" not in str(caught.value)


def test_a_description_that_is_not_there(base, tmp_path):
    with pytest.raises(SamnerError, match=r"server.json: cannot be read"):
        load_backbone(base, str(tmp_path / "server.json"))
    (tmp_path / "server.json").write_text("{}")
    with pytest.raises(SamnerError, match=r"server.json: url: is missing"):
        load_backbone(base, str(tmp_path / "server.json"))


def test_an_encoder_is_not_served(server, tmp_path):
    (tmp_path / "base.json").write_text('{"family": "encoder"}')
    with pytest.raises(ModelError, match="the encoder family runs in this process, not on the server http"):
        load_backbone(tmp_path, server.url)


# -- going on after a stop --------------------------------------------------------------------------------------------


def test_a_run_that_stopped_goes_on_where_it_was(base, experts, server, describe, local, tmp_path):
    reference = describe(answers="kept", concurrency=1, retries=0)
    remote = with_experts(load_backbone(base, reference), experts)
    server.faults = [Fault()] * 3 + [Fault(500)]
    with pytest.raises(ModelError, match="error 500"):
        found(remote)
    assert len(server.asked) == 4
    (file,) = (tmp_path / "kept").iterdir()
    assert not any(text.encode() in file.read_bytes() for text in TEXTS)

    remote = with_experts(load_backbone(base, reference), experts)
    assert_same(found(remote), found(local))
    assert len(server.asked) == 4 + 3
    assert_same(found(remote), found(local))
    assert_same(found(with_experts(load_backbone(base, reference), experts)), found(local))
    assert len(server.asked) == 4 + 3
    other = load_backbone(base, reference)
    other.add_expert("a", experts["b"])  # the same expert under another name is not asked anew
    found(other, models=["a"])
    assert len(server.asked) == 4 + 3


def test_questions_that_are_alike_are_asked_once(base, experts, server):
    remote = with_experts(load_backbone(base, server.url), experts)
    answers = found(remote, [TEXTS[0]] * 4, ["a"])["a"]
    assert answers == answers[:1] * 4
    assert len(server.asked) == 1


def test_a_file_of_something_else_is_left_alone(base, describe, tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "answers.sqlite").write_text("my own notes\n" * 100)
    with pytest.raises(SamnerError, match=r"answers.sqlite: no answers can be kept there .*; name another folder"):
        load_backbone(base, describe(answers="kept"))
    assert (tmp_path / "kept" / "answers.sqlite").read_text() == "my own notes\n" * 100


# -- tokens of an answer ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens", "pieces"),
    [
        ('["Ada"]', ['["', "Ada", '"]', "</s>"], ['["', "Ada", '"]']),
        ('["😀"]', ['["', "", "", "😀", '"]', "</s>"], ['["', "", "", "😀", '"]']),
        ('["😀"]', ['["', "\ufffd", "\ufffd\ufffd", '"]'], ['["', "", "😀", '"]']),
        ('["é", "o"]', ['["\ufffd', "\ufffd", '", "', "o", '"]'], ["", '["é', '", "', "o", '"]']),
        ('["Ada Moreno"]', ['["', "Ada", "Moreno", '"]'], ['["', "Ada", " Moreno", '"]']),
        ("[] 😀", ["[]", "\ufffd", "\ufffd", "</s>"], ["[]", "", " 😀"]),
        ("[]", ["[]"], ["[]"]),
        ("", ["</s>"], []),
    ],
)
def test_tokens_are_found_in_the_text(text, tokens, pieces):
    logprobs = [-float(i) for i in range(len(tokens))]
    answer = generated(text, list(zip(tokens, logprobs, strict=True)))
    assert answer == Generated(text, tuple(pieces), tuple(logprobs[: len(pieces)]))


def test_tokens_that_are_not_found_count_together():
    answer = generated('["Ada M"]', [('["', -1.0), ("Ada", -1.0), ("ĠM", -2.0), ('"]', -4.0)])
    assert answer == Generated('["Ada M"]', ('["Ada M"]',), (-2.0,))
    assert generated("[]", []) == generated("[]", [("[]", None)]) == Generated("[]", (), ())


tokens = st.lists(st.tuples(st.text(max_size=4), st.floats(max_value=0, min_value=-50)), max_size=8)


@given(text=st.text(max_size=20), tokens=tokens)
def test_whatever_the_tokens_together_they_are_the_text(text, tokens):
    answer = generated(text, tokens)
    assert answer.text == text and len(answer.token_texts) == len(answer.logprobs)
    if tokens:
        assert "".join(answer.token_texts) == text


@given(tokens=tokens)
def test_tokens_of_the_text_are_found(tokens):
    tokens = [(token, logprob) for token, logprob in tokens if token and "\ufffd" not in token]
    answer = generated("".join(token for token, _ in tokens), [*tokens, ("</s>", -1.0)])
    assert answer.token_texts == tuple(token for token, _ in tokens)
    assert answer.logprobs == tuple(logprob for _, logprob in tokens)
