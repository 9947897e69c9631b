"""A server that speaks OpenAI's API: its description, requests with retries, and answers that are kept."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from samner.backbones.language_model.generation.ask import Generated
from samner.errors import ModelError, SamnerError
from samner.files import read_json, user_path
from samner.settings import Settings, validated

if TYPE_CHECKING:
    from openai import AsyncOpenAI

KEY = "OPENAI_API_KEY"
_CONNECT = 5.0
"""Seconds until a connection that does not come about is given up."""

T = TypeVar("T")


class Server(Settings):
    """A server that speaks OpenAI's API.

    Attributes:
        url: Of the API; it usually ends in ``/v1``.
        names: What the server calls a model: from the name of an expert, of a selection strategy or ``"base"``. A
            model that is not listed has its own name there.
        adapters: Folder of adapters, as the server sees it, from which it is to load those that it does not serve yet:
            ``<adapters>/<name>``. By default an expert's own folder, for a server on the same machine.
        key: The environment variable that holds the API key, if the server wants one.
        api: By default ``"completions"`` with the very tokens that the model would read here, if the server is vLLM or
            llama.cpp's; of others ``"chat"``, if the model's tokenizer has a chat template.
        structure: Whether vLLM or llama.cpp is told by a grammar that strings must occur in the text, or only which
            form an answer must have. Other servers are always told by a schema.
        concurrency: Requests under way at a time, at most.
        timeout: Seconds until an answer is given up.
        retries: How often a request is repeated if the server is busy, broken, too slow or cut off.
        answers: Folder in which answers are kept, so that no question is asked twice; none keeps none.
    """

    url: str
    names: Mapping[str, str] = {}
    adapters: str | None = None
    key: str = KEY
    api: Literal["completions", "chat"] | None = None
    structure: Literal["grammar", "schema"] = "grammar"
    concurrency: int = Field(default=32, gt=0)
    timeout: float = Field(default=300.0, gt=0)
    retries: int = Field(default=6, ge=0)
    answers: Path | None = None

    @field_validator("key")
    @classmethod
    def _names_a_variable(cls, key: str) -> str:
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", key):
            # what stands there may be the key itself, so it is not repeated
            raise ValueError(f"must name the environment variable that holds the API key, as {KEY} does")
        return key

    @field_validator("url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.username is not None:
            raise ValueError("must hold no name or password; the API key belongs in an environment variable")
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise ValueError(f"must be like http://localhost:8000/v1, not {url!r}")
        return url

    @classmethod
    def read(cls, reference: str) -> Server:
        """A server by its URL, or by a JSON file with the fields of this class.

        In a file, ``answers`` is relative to the file's folder.

        Raises:
            SamnerError: If it is not one.
        """
        if reference.lower().startswith(("http://", "https://")):
            return validated(cls, {"url": reference})
        path = Path(reference)
        server = validated(cls, read_json(path), reference)
        return (
            server
            if server.answers is None
            else server.model_copy(update={"answers": path.parent / user_path(server.answers)})
        )


class Request(NamedTuple):
    """What is posted to a path below the server's URL, as JSON values; without a body, it is a GET."""

    path: str
    body: Mapping[str, Any]


class Client:
    """A server that was found at its URL.

    Attributes:
        models: Names of the models that it serves.
        bases: Those among them that are no adapters.
        is_vllm: Whether it is vLLM, which takes more than OpenAI's API has.
        is_llama_cpp: Whether it is llama.cpp's server, which does, too.
        scaled: Numbers of llama.cpp's adapters by name, which is that of the file, or its path if several
            have that name: each request says how much of each.

    Raises:
        ModelError: If it cannot be asked.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        listed = _run(self._list())
        try:
            self.models = [str(model["id"]) for model in listed["data"]]
            self.bases = [str(model["id"]) for model in listed["data"] if not model.get("parent")]
            owners = {model.get("owned_by") for model in listed["data"]}
        except (AttributeError, KeyError, TypeError) as error:
            raise ModelError(self._no_api()) from error
        self.is_vllm, self.is_llama_cpp = "vllm" in owners, "llamacpp" in owners
        self.scaled: dict[str, int] = _run(self._list_adapters()) if self.is_llama_cpp else {}
        self.models += self.scaled

    def load(self, name: str, folder: str) -> None:
        """Let the server, which must be vLLM, load an adapter from a folder as it sees it.

        Raises:
            ModelError: If it does not.
        """
        import openai

        try:
            _run(self._post_alone(Request("/load_lora_adapter", {"lora_name": name, "lora_path": folder})))
        except openai.NotFoundError as error:
            if reason := _reason(error):
                raise ModelError(f"{self.server.url}: cannot load {folder} ({reason})") from error
            raise ModelError(
                f"{self.server.url} serves no {name!r}, only {', '.join(self.models)}: start it with --lora-modules "
                f"{name}=FOLDER, or so that it loads adapters itself (VLLM_ALLOW_RUNTIME_LORA_UPDATING=1), or say by "
                "'names' what it is called there"
            ) from error
        except openai.APIStatusError as error:
            raise ModelError(f"{self.server.url}: cannot load {folder} ({_reason(error) or error})") from error
        self.models.append(name)

    def unload(self, name: str) -> None:
        """Let the server forget an adapter that it loaded.

        Raises:
            ModelError: If it does not.
        """
        import openai

        try:
            _run(self._post_alone(Request("/unload_lora_adapter", {"lora_name": name})))
        except openai.APIStatusError as error:
            raise ModelError(f"{self.server.url}: cannot unload {name!r} ({_reason(error) or error})") from error
        self.models.remove(name)

    def ask(self, requests: Iterable[Request], on_reply: Callable[[Request, dict[str, Any]], None]) -> None:
        """Post requests, so many at a time as the server is to have; replies are handed over as they come.

        Raises:
            ModelError: If one is not replied to. What was replied to before has been handed over.
        """
        _run(self._ask(iter(requests), on_reply))

    async def _ask(self, requests: Iterable[Request], on_reply: Callable[[Request, dict[str, Any]], None]) -> None:
        async def work(client: AsyncOpenAI) -> None:
            for request in requests:  # shared: each worker takes the next one
                on_reply(request, await self._said(client, request))

        try:
            async with self._open() as client, asyncio.TaskGroup() as group:
                for _ in range(self.server.concurrency):
                    group.create_task(work(client))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from failures.exceptions[0].__cause__

    async def _said(self, client: AsyncOpenAI, request: Request) -> dict[str, Any]:
        """The reply, or in one line why there is none."""
        import openai

        url, tried = self.server.url, self._tried()
        try:
            reply = (await _post(client, request)).json()
        except openai.APITimeoutError as error:
            raise ModelError(f"{url}: no answer within {self.server.timeout:g} s{tried}") from error
        except openai.APIConnectionError as error:
            raise ModelError(f"{url}: cannot be reached ({error.__cause__ or error}){tried}") from error
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise ModelError(self._refused()) from error
        except openai.NotFoundError as error:
            raise ModelError(f"{url}: {_reason(error)}" if _reason(error) else self._no_api()) from error
        except openai.APIStatusError as error:
            again = tried if error.status_code == 429 or error.status_code >= 500 else ""
            reason = _reason(error) or "it does not say why"
            raise ModelError(f"{url}: error {error.status_code} ({reason}){again}") from error
        except ValueError as error:
            raise ModelError(self._no_api()) from error
        if not isinstance(reply, dict):
            raise ModelError(self._no_api())
        return reply

    async def _list(self) -> dict[str, Any]:
        async with self._open(retries=min(2, self.server.retries)) as client:
            return await self._said(client, Request("/models", {}))

    async def _list_adapters(self) -> dict[str, int]:
        import openai

        root = self.server.url.rstrip("/").removesuffix("/v1")
        try:
            async with self._open(retries=min(2, self.server.retries)) as client:
                listed = (await _post(client, Request(f"{root}/lora-adapters", {}))).json()
            numbers = {str(one["path"]): int(one["id"]) for one in listed}
        except (openai.OpenAIError, KeyError, TypeError, ValueError):
            return {}  # something stands between that does not pass it on
        files = Counter(PurePath(path).stem for path in numbers)
        # of several models' parts, files of one name in several folders, each is known by its whole path
        return {stem if files[stem := PurePath(path).stem] == 1 else path: its for path, its in numbers.items()}

    async def _post_alone(self, request: Request) -> None:
        async with self._open(retries=0) as client:
            await _post(client, request)

    def _open(self, retries: int | None = None) -> AsyncOpenAI:
        try:
            from openai import AsyncOpenAI, Timeout
        except ImportError as error:
            raise ModelError("asking a server needs the package openai: pip install 'samner[llm]'") from error
        return AsyncOpenAI(
            base_url=self.server.url,
            api_key=os.environ.get(self.server.key) or "none",  # the client wants one, vLLM mostly does not
            timeout=Timeout(self.server.timeout, connect=min(_CONNECT, self.server.timeout)),
            max_retries=self.server.retries if retries is None else retries,
        )

    def _tried(self) -> str:
        return f", tried {self.server.retries + 1} times" if self.server.retries else ""

    def _refused(self) -> str:
        key = self.server.key
        if os.environ.get(key):
            return f"{self.server.url}: refuses the API key in the environment variable {key}"
        return f"{self.server.url}: wants an API key; put it into the environment variable {key}"

    def _no_api(self) -> str:
        return f"{self.server.url}: no OpenAI-compatible API answers there; its URL usually ends in /v1"


async def _post(client: AsyncOpenAI, request: Request) -> Any:
    from httpx2 import Response

    if not request.body:
        return await client.get(request.path, cast_to=Response)
    return await client.post(request.path, cast_to=Response, body=request.body)


def _reason(error: Any) -> str:
    """What the server says of an error, in OpenAI's form; nothing if it says it in another."""
    body = error.body
    said = body.get("message") if isinstance(body, dict) else None
    return " ".join(said.split()) if isinstance(said, str) else ""


def _run(work: Coroutine[Any, Any, T]) -> T:
    """The result of asynchronous work, also where an event loop runs already, as it does in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


class KeptAnswers:
    """Answers in a file, so that a run that stopped goes on where it was and no question is asked twice.

    Questions are not kept, only a digest of what was asked of which model. An answer is kept as soon as it is there.

    Args:
        folder: Made if missing.

    Raises:
        SamnerError: If the file there holds something else.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "answers.sqlite"
        self._do("create table if not exists answers (digest text primary key, answer text)")

    def get(self, digest: str) -> Generated | None:
        """The answer to what has this digest, if it is kept."""
        for (answer,) in self._do("select answer from answers where digest = ?", digest):
            text, tokens, logprobs = json.loads(answer)
            return Generated(text, tuple(tokens), tuple(logprobs))
        return None

    def add(self, digest: str, answer: Generated) -> None:
        """Keep an answer."""
        values = json.dumps([answer.text, answer.token_texts, answer.logprobs])
        self._do("insert or replace into answers values (?, ?)", digest, values)

    def _do(self, statement: str, *values: str) -> list[tuple[str]]:
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None)) as database:
                return database.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise SamnerError(f"{self._path}: no answers can be kept there ({error}); name another folder") from error
