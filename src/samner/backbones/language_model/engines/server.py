"""Where a server answers, and how it is to be asked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from samner.errors import ModelError
from samner.files import read_json

APIS = ("completions", "chat")
STRUCTURES = ("grammar", "schema")
KEY = "OPENAI_API_KEY"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that speaks OpenAI's API.

    Args:
        url: Of the API; it usually ends in ``/v1``.
        names: What the server calls a model: from the name of an expert, of a selection strategy or ``"base"``. A
            model that is not listed has its own name there.
        adapters: Folder of adapters, as the server sees it, from which it is to load those that it does not serve yet:
            ``<adapters>/<name>``. By default an expert's own folder, for a server on the same machine.
        key: The environment variable that holds the API key, if the server wants one.
        api: One of ``APIS``. By default ``"completions"`` with the very tokens that the model would read here, if the
            server is vLLM; of others ``"chat"``, if the model's tokenizer has a chat template.
        structure: One of ``STRUCTURES``: whether vLLM is told by a grammar that strings must occur in the text, or
            only which form an answer must have. Other servers are always told by a schema.
        concurrency: Requests under way at a time, at most.
        timeout: Seconds until an answer is given up.
        retries: How often a request is repeated if the server is busy, broken, too slow or cut off.
        answers: Folder in which answers are kept, so that no question is asked twice; none keeps none.

    Raises:
        ModelError: If one of these is not as described.
    """

    url: str
    names: Mapping[str, str] = field(default_factory=dict)
    adapters: str | None = None
    key: str = KEY
    api: str | None = None
    structure: str = "grammar"
    concurrency: int = 32
    timeout: float = 300.0
    retries: int = 6
    answers: Path | None = None

    def __post_init__(self) -> None:
        key: Any = self.key  # from a file it may be anything
        names: Any = self.names
        if not isinstance(key, str) or not re.fullmatch(r"[A-Z_][A-Z0-9_]*", key):
            # what stands there may be the key itself, so it is not repeated
            raise ModelError(f"key must name the environment variable that holds the API key, as {KEY} does")
        checks = {
            "names": isinstance(names, Mapping) and all(isinstance(name, str) for name in names.values()),
            "adapters": self.adapters is None or isinstance(self.adapters, str),
            "api": self.api is None or self.api in APIS,
            "structure": self.structure in STRUCTURES,
            "concurrency": type(self.concurrency) is int and self.concurrency > 0,
            "timeout": type(self.timeout) in (int, float) and self.timeout > 0,
            "retries": type(self.retries) is int and self.retries >= 0,
            "answers": self.answers is None or isinstance(self.answers, str | Path),
        }
        for name, valid in checks.items():
            if not valid:
                raise ModelError(f"{name} cannot be {getattr(self, name)!r}")
        try:
            parts = urlsplit(self.url)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query
            secret = parts.username is not None
        except (AttributeError, TypeError, ValueError):
            sound, secret = False, False
        if secret:
            raise ModelError(f"url must hold no name or password; put the API key into the variable {self.key}")
        if not sound:
            raise ModelError(f"url must be like http://localhost:8000/v1, not {self.url!r}")

    @classmethod
    def read(cls, reference: str) -> Server:
        """A server by its URL, or by a JSON file with the fields of this class.

        In a file, ``answers`` is relative to the file's folder.

        Raises:
            ModelError: If it is not one.
            SamnerError: If the file cannot be read.
        """
        if reference.startswith(("http://", "https://")):
            return cls(reference)
        path = Path(reference)
        values = read_json(path)
        known = [f.name for f in fields(cls)]
        if unknown := [key for key in values if key not in known]:
            raise ModelError(f"{path}: unknown key {unknown[0]!r}; known are {', '.join(known)}")
        if "url" not in values:
            raise ModelError(f"{path}: url is missing")
        try:
            server = cls(**values)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        return server if server.answers is None else replace(server, answers=path.parent / server.answers)
