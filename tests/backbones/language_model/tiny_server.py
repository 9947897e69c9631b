"""A server that speaks OpenAI's API, with the additions of vLLM or llama.cpp, over a base of the causal family."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from samner.backbones import BASE, load_backbone
from samner.backbones.language_model.engines.local import LocalEngine
from samner.backbones.language_model.generation.ask import Generated, Question
from samner.errors import SamnerError

BASE_NAME = "tiny-lm"


@dataclass(frozen=True)
class Fault:
    """What goes wrong with a request: a status, an answer that is cut off, one that comes late, or that is no JSON."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False
    late: float = 0.0
    body: str | None = None


@dataclass(frozen=True)
class _Grammar:
    text: str

    def lark(self) -> str:
        return self.text

    def nothing(self) -> dict[str, list[str]]:
        return {}


class _Engine(LocalEngine):
    """Takes tokens for questions, and tells tokens the way servers do, with the one that ends the answer."""

    def __init__(self, backbone: Any, raw: bool) -> None:
        self.max_new_tokens = backbone.card.max_new_tokens
        super().__init__(backbone.model, backbone.tokenizer, backbone.mixed, backbone.prompt, self.max_new_tokens)
        self.raw = raw
        self.text_of = backbone.tokenizer.decode

    def encode(self, question: str) -> list[int]:
        ids: list[int] = json.loads(question)
        return ids

    def decode(self, tokens: Any, logprobs: Any) -> Generated:
        made = super().decode(tokens, logprobs)
        count = len(made.token_texts)
        texts = [self.text_of([token]) for token in tokens[:count]] if self.raw else made.token_texts
        end = tuple(self.text_of([token]) for token in tokens[count : count + 1])
        return Generated(made.text, (*texts, *end), tuple(logprobs[: count + 1]))


class TinyServer(ThreadingHTTPServer):
    """Serves a base and adapters on it from a port of its own.

    Args:
        base: Folder of the base.
        adapters: Name to folder of a PEFT adapter.
        owner: It has what this program has beyond OpenAI's API, and says so: ``"vllm"``, ``"llamacpp"`` or another.
        runtime: Whether it loads adapters when asked to.
        key: The API key that it wants.
        raw: Whether it tells each token as it looks alone.
    """

    daemon_threads = True

    def __init__(
        self,
        base: Path,
        adapters: Mapping[str, Path] | None = None,
        *,
        owner: str = "vllm",
        runtime: bool = False,
        key: str | None = None,
        raw: bool = False,
    ) -> None:
        self.backbone: Any = load_backbone(base)
        self.engine = _Engine(self.backbone, raw)
        self.owner, self.runtime, self.key = owner, runtime, key
        self.vllm, self.llama_cpp = owner == "vllm", owner == "llamacpp"
        for name, folder in (adapters or {}).items():
            self.backbone.add_expert(name, folder)
        self.lock = threading.Lock()
        self.faults: list[Fault] = []
        self.asked: list[tuple[float, str, dict[str, Any]]] = []
        self.active = self.most_active = 0
        self.counting = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # whoever asked has gone
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def models(self) -> list[dict[str, Any]]:
        owner = {"object": "model", "owned_by": self.owner}
        parent = {"parent": BASE_NAME} if self.vllm else {}
        adapters = [] if self.llama_cpp else sorted(self.backbone.models)
        return [{"id": BASE_NAME, **owner}, *({"id": name, **parent, **owner} for name in adapters)]

    def lora_adapters(self) -> list[dict[str, Any]]:
        """As llama.cpp lists them."""
        names = sorted(self.backbone.models)
        return [{"id": i, "path": f"/adapters/{name}.gguf", "scale": 0.0} for i, name in enumerate(names)]

    def complete(self, body: dict[str, Any], chat: bool) -> dict[str, Any]:
        with self.counting:  # not the engine's lock: who waits for that is counted too
            self.active += 1
            self.most_active = max(self.most_active, self.active)
        try:
            if chat:
                text = self.backbone.tokenizer.apply_chat_template(
                    body["messages"], tokenize=False, add_generation_prompt=True
                )
                ids = self.backbone.tokenizer(text, add_special_tokens=False)["input_ids"]
            else:
                ids = body["prompt"]
                ids = ids if isinstance(ids, list) else self.backbone.tokenizer(ids)["input_ids"]
            assert body["temperature"] == 0 and body["max_tokens"] == self.engine.max_new_tokens
            model = BASE if body["model"] == BASE_NAME else body["model"]
            if self.llama_cpp:  # which looks at no name
                scales = {one["id"]: one["scale"] for one in body["lora"]}
                assert set(scales.values()) <= {0.0, 1.0} and len(scales) == len(self.backbone.models)
                model = ([BASE] + [n for i, n in enumerate(sorted(self.backbone.models)) if scales[i]])[-1]
            constraint: Any = self._constraint(body)
            with self.lock:
                made = self.engine.answer([Question(model, json.dumps(ids), constraint)])[0]
        finally:
            with self.counting:
                self.active -= 1
        told = list(zip(made.token_texts, made.logprobs, strict=True))
        if chat or self.llama_cpp:
            content = [{"token": token, "logprob": logprob, "top_logprobs": []} for token, logprob in told]
            logprobs: dict[str, Any] = {"content": content}
        else:
            logprobs = {"tokens": [t for t, _ in told], "token_logprobs": [p for _, p in told]}
        choice = {"message": {"role": "assistant", "content": made.text}} if chat else {"text": made.text}
        asked = body.get("logprobs") is not None
        return {"object": "completion", "choices": [{"index": 0, **choice, "logprobs": logprobs if asked else None}]}

    def _constraint(self, body: Mapping[str, Any]) -> _Grammar | None:
        from llguidance import LLMatcher
        from llguidance.gbnf_to_lark import any_to_lark

        schema = body.get("json_schema") if self.llama_cpp else None
        if self.llama_cpp and "grammar" in body:
            return _Grammar(any_to_lark(body["grammar"]))
        if self.vllm and (structured := body.get("structured_outputs")):
            if "grammar" in structured:
                return _Grammar(structured["grammar"])
            schema = structured["json"]
        elif form := body.get("response_format"):
            assert form["type"] == "json_schema"
            schema = form["json_schema"]["schema"]
        return None if schema is None else _Grammar(LLMatcher.grammar_from_json_schema(schema))

    def load(self, body: Mapping[str, str]) -> tuple[int, Any]:
        name, folder = body["lora_name"], Path(body["lora_path"])
        if name in self.backbone.models:
            return 400, _error(400, f"The lora adapter '{name}' has already been loaded.")
        if not folder.is_dir():
            return 404, _error(404, f"No adapter found for {folder}")
        try:
            self.backbone.add_expert(name, folder)
        except SamnerError as error:
            return 500, _error(500, str(error))
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def unload(self, body: Mapping[str, str]) -> tuple[int, Any]:
        if body["lora_name"] not in self.backbone.models:
            return 404, _error(404, f"The lora adapter '{body['lora_name']}' cannot be found.")
        self.backbone.remove(body["lora_name"])
        return 200, f"Success: LoRA adapter '{body['lora_name']}' removed successfully."


def _error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "Error", "param": None, "code": status}}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: TinyServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self._allowed():
            if self.path == "/v1/models":
                self._send(200, {"data": self.server.models()})
            elif self.path == "/lora-adapters" and self.server.llama_cpp:
                self._send(200, self.server.lora_adapters())
            else:
                self._send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._allowed():
            return
        server = self.server
        with server.lock:
            server.asked.append((time.monotonic(), self.path, body))
            fault = server.faults.pop(0) if server.faults else Fault()
        time.sleep(fault.late)
        if fault.cut:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
            self.connection.shutdown(2)
        elif fault.status != 200:
            self._send(fault.status, _error(fault.status, "out of order"), fault.headers)
        elif fault.body is not None:
            self._send(200, fault.body)
        elif self.path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter") and server.runtime:
            with server.lock:
                self._send(*(server.load(body) if self.path == "/v1/load_lora_adapter" else server.unload(body)))
        elif self.path not in ("/v1/completions", "/v1/chat/completions"):
            self._send(404, {"detail": "Not Found"})
        elif not server.llama_cpp and body["model"] not in [model["id"] for model in server.models()]:
            self._send(404, _error(404, f"The model `{body['model']}` does not exist."))
        else:
            self._send(200, server.complete(body, chat=self.path == "/v1/chat/completions"))

    def _allowed(self) -> bool:
        if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
            self._send(401, {"error": f"Unauthorized: {self.headers['Authorization']}"})
            return False
        return True

    def _send(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        data = (value if isinstance(value, str) else json.dumps(value)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if isinstance(value, str) else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, said in (headers or {}).items():
            self.send_header(name, said)
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(server: TinyServer) -> Iterator[TinyServer]:
    """The server, at work until the end of the block."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
