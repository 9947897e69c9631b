"""The family where a server has the models: here are only tokenizer, prompt and names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from samner.backbones.base import BASE
from samner.backbones.language_model.backbone import CausalBackbone
from samner.backbones.language_model.engines.client import Client, KeptAnswers, Request, Server
from samner.backbones.language_model.generation.answer_format import Constraint
from samner.backbones.language_model.generation.ask import Engine, Generated, Question
from samner.backbones.language_model.generation.prompt import Prompt, prompt_ids, render, unmarked
from samner.backbones.training import TrainingData
from samner.entities import Entity, EntityType
from samner.errors import ModelError
from samner.lora import LoraAdapter
from samner.words import Tokens, sound


class Served(NamedTuple):
    """A model on a server.

    Args:
        name: What the server calls it.
        identity: Equal for two models only if they answer alike.
    """

    name: str
    identity: str


class ServedBackbone(CausalBackbone):
    """A causal language model that a server runs, with experts and task models as adapters by name.

    The model's weights are not needed here, only its configuration and tokenizer. Experts that the server does not
    have are loaded by it, where it does that. Task models made here cannot be asked, as a server takes adapters only;
    they can be saved, exported as adapters and served.

    Args:
        folder: Holds ``base.json`` and what that refers to.
        server: URL or JSON file; see ``Server.read``.

    Raises:
        ModelError: If the card, the model's configuration or its tokenizer cannot be read, or the server not be asked.
        SamnerError: If the prompt or the server's file cannot be read.
    """

    def __init__(self, folder: Path, server: str) -> None:
        self.server = Server.read(server)
        self.client = Client(self.server)
        self._names: dict[str, Served] = {}
        self._parts: dict[str, str] = {}  # looked for when they are asked: who asks one needs no other
        self._loaded: set[str] = set()
        super().__init__(folder, weights=False)

    def _engine(self) -> Engine:
        return RemoteEngine(self.client, self.prompt, self.tokenizer, self.card.max_new_tokens, self._names)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> ServedBackbone:
        """The backbone in a folder that holds a ``base.json``, asked through the server that ``device`` names."""
        return cls(folder, device)

    def add_expert(self, name: str, folder: Path, types: Sequence[str] = ()) -> None:
        super().add_expert(name, folder, types)
        try:
            self._names[name] = self._find(name, LoraAdapter.load(folder).digest, folder)
        except ModelError:
            self.mixed.remove(name)
            raise

    def add_served(self, name: str, served_as: str) -> None:
        self._parts[name] = served_as

    def _find(self, name: str, identity: str, folder: Path | None = None) -> Served:
        """A model on the server, which is to load it if it has not yet."""
        there = self.server.names.get(name, name)
        if there in self.client.models:
            return Served(there, identity)
        listed = ", ".join(self.client.models)
        if self.client.is_llama_cpp:
            raise ModelError(
                f"{self.server.url} serves no {there!r}, only {listed}: export the model with 'samner export --to "
                f"gguf' and start llama-server with --lora {there}.gguf (of a whole model, --alias {there}), or say "
                "by 'names' what it is called there"
            )
        if folder:
            there = f"{there}-{identity[:12]}"  # another pool's expert of the same name is another adapter
        if there not in self.client.models:
            place = f"{self.server.adapters}/{name}" if self.server.adapters else folder and str(folder.resolve())
            if not place:
                raise ModelError(
                    f"{self.server.url} serves no {there!r}, only {listed}: export the model "
                    "with 'samner export --to vllm' and start its serve.sh, or say by 'names' what it is called there"
                )
            self.client.load(there, place)
            self._loaded.add(there)
        return Served(there, identity)

    def _base(self) -> Served:
        names = [self.server.names[BASE]] if BASE in self.server.names else self.client.bases
        if len(names) != 1 or names[0] not in self.client.models:
            raise ModelError(
                f"{self.server.url} serves {', '.join(self.client.models)}: say by 'names' which is the {BASE!r}"
            )
        return Served(names[0], self.fingerprint)

    @property
    def models(self) -> Collection[str]:
        return {*self.mixed.names, *self._names, *self._parts} - {BASE}

    def remove(self, name: str) -> None:
        super().remove(name)
        self._parts.pop(name, None)
        served = self._names.pop(name, None)
        if served and served.name in self._loaded and served not in self._names.values():
            self._loaded.remove(served.name)
            self.client.unload(served.name)

    def only(self, models: Collection[str]) -> Self:
        return self  # the models are the server's

    def read(
        self, texts: Sequence[Tokens], types: Sequence[EntityType], models: Sequence[str], threshold: float
    ) -> dict[str, list[list[Entity]]]:
        if BASE in models and BASE not in self._names:
            self._names[BASE] = self._base()
        for name in models:
            if name in self._parts and name not in self._names:
                self._names[name] = self._find(self._parts[name], name)
        if missing := [name for name in models if name not in self._names]:
            raise ModelError(
                f"{self.server.url} has no {missing[0]!r}, which was merged here: save it ('samner adapt'), export it "
                "('samner export --to vllm' or 'gguf') and let the server serve that"
            )
        return super().read(texts, types, models, threshold)

    def train_expert(
        self, data: TrainingData, out: Path, options: Mapping[str, Any], *, run: Path | None, resume: bool
    ) -> dict[str, Any]:
        raise ModelError(f"{self.server.url}: a server trains no experts; give a device of this machine")


class RemoteEngine:
    """Greedy decoding by a server; an ``Engine``.

    Args:
        client: The server.
        prompt: How a question is put.
        tokenizer: Of the models.
        max_new_tokens: Of an answer, at most.
        names: The models to ask, by the names that questions have.
    """

    def __init__(
        self, client: Client, prompt: Prompt, tokenizer: Any, max_new_tokens: int, names: Mapping[str, Served]
    ) -> None:
        self._client = client
        self._prompt = prompt
        self._tokenizer = tokenizer
        self._max_new_tokens = max_new_tokens
        self._names = names
        self._kept = KeptAnswers(client.server.answers) if client.server.answers else None
        self._takes_tokens = client.is_vllm or client.is_llama_cpp
        default = "completions" if self._takes_tokens or not tokenizer.chat_template else "chat"
        self._chat = (client.server.api or default) == "chat"

    def answer(self, questions: Sequence[Question]) -> list[Generated]:
        """See ``Engine``."""
        asked = [self._request(question) for question in questions]
        digests = [
            _digest(self._names[q.model].identity, request) for q, request in zip(questions, asked, strict=True)
        ]
        open_ones = dict(zip(digests, asked, strict=True))
        answers: dict[str, Generated] = {}
        for digest in list(open_ones) if self._kept else []:
            kept = self._kept.get(digest) if self._kept else None
            if kept is not None:
                answers[digest] = kept
                del open_ones[digest]
        by_request = {id(request): digest for digest, request in open_ones.items()}

        def take(request: Request, reply: dict[str, Any]) -> None:
            digest = by_request[id(request)]
            answers[digest] = self._read(reply)
            if self._kept:
                self._kept.add(digest, answers[digest])

        if open_ones:
            self._client.ask(open_ones.values(), take)
        return [answers[digest] for digest in digests]

    def _request(self, question: Question) -> Request:
        name, scaled = self._names[question.model].name, self._client.scaled
        body: dict[str, Any] = {"model": name, "max_tokens": self._max_new_tokens, "temperature": 0}
        if scaled:
            body["lora"] = [{"id": number, "scale": float(its == name)} for its, number in scaled.items()]
        if self._client.is_vllm:
            body["repetition_penalty"] = 1.0  # a model may come with another one, which vLLM would take up
        if question.constraint:
            body |= self._structure(question.constraint)
        if self._chat:
            return Request(
                "/chat/completions",
                {**body, "messages": self._prompt.messages(sound(question.text)), "logprobs": True},
            )
        text = render(self._prompt, question.text, self._tokenizer)
        read = prompt_ids([text], self._tokenizer)[0] if self._takes_tokens else sound(unmarked(text))
        return Request("/completions", {**body, "prompt": read, "logprobs": 1})

    def _structure(self, constraint: Constraint) -> dict[str, Any]:
        by_schema = self._client.server.structure == "schema"
        if self._client.is_llama_cpp:
            return {"json_schema": constraint.schema()} if by_schema else {"grammar": constraint.gbnf()}
        if not self._client.is_vllm:
            # OpenAI promises to keep to a schema only if it is of an object
            schema = {"name": "answer", "schema": constraint.schema(), "strict": constraint.format == "object"}
            return {"response_format": {"type": "json_schema", "json_schema": schema}}
        if by_schema:
            return {"structured_outputs": {"json": constraint.schema()}}
        return {"structured_outputs": {"grammar": constraint.lark()}}

    def _read(self, reply: Mapping[str, Any]) -> Generated:
        try:
            choice = reply["choices"][0]
            told = choice.get("logprobs") or {}
            text = (choice["message"].get("content") or "") if self._chat else choice["text"]
            if self._chat or "content" in told:  # llama.cpp's form for both
                tokens = [(item["token"], item["logprob"]) for item in told.get("content") or ()]
            else:
                tokens = list(zip(told.get("tokens") or (), told.get("token_logprobs") or (), strict=True))
            answer = generated(text, tokens)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{self._client.server.url}: its answer is not in the form of OpenAI's API; its URL usually ends in "
                "/v1"
            ) from error
        if self._client.is_llama_cpp and choice.get("finish_reason") == "length":
            written = (reply.get("usage") or {}).get("completion_tokens", self._max_new_tokens)
            if written < self._max_new_tokens:  # it says so of no other answer, and would be short of entities
                raise ModelError(
                    f"{self._client.server.url}: the context is full after {written} tokens of an answer; start "
                    "llama-server with a larger --ctx-size"
                )
        return answer


def _digest(identity: str, request: Request) -> str:
    """Of what decides an answer, which the name or number that a server happens to have for the model does not."""
    body = {key: value for key, value in request.body.items() if key not in ("model", "lora")}
    return hashlib.sha256(json.dumps([identity, request.path, body], sort_keys=True).encode()).hexdigest()


def generated(text: str, tokens: Sequence[tuple[str, float | None]]) -> Generated:
    """An answer with the log-probabilities that a server told, each where its token stands in the text.

    Servers differ in how they write tokens. One that is part of a character may be blank or hold a replacement
    character: it adds nothing, and the last of them adds what the next token leaves over. One may lack the blank that
    it begins with, and the last may be the one that ends the answer. Where even so tokens are not found in the text,
    the whole answer counts as one token of average probability.

    Args:
        text: The answer.
        tokens: Text and log-probability of each token; none if they were not told.
    """
    logprobs = [logprob for _, logprob in tokens if logprob is not None]
    if not tokens or len(logprobs) < len(tokens):
        return Generated(text, (), ())
    pieces: list[str] = []
    place, partial = 0, False  # partial: the tokens just before are parts of a character
    for token, _ in tokens:
        if not token or "\N{REPLACEMENT CHARACTER}" in token:
            pieces.append("")
            partial = True
            continue
        at = text.find(token, place)
        gap = text[place:at] if at >= 0 else ""
        if at < 0 or (gap and not partial and not gap.isspace()):
            break
        if partial:
            pieces[-1], gap = gap, ""
        pieces.append(gap + token)
        place, partial = at + len(token), False
    if partial and place < len(text):
        pieces[-1], place = text[place:], len(text)
    if place < len(text) or len(pieces) < len(tokens) - 1:
        return Generated(text, (text,), (sum(logprobs) / len(logprobs),))
    while pieces and not pieces[-1]:
        pieces.pop()
    return Generated(text, tuple(pieces), tuple(logprobs[: len(pieces)]))
