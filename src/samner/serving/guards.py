"""Who is let in, and with how much: hosts, tokens, requests at a time, bytes of a body. ASGI, before any parsing."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from samner.errors import SamnerError
from samner.serving.errors import ApiError
from samner.serving.limits import Limits

TOKENS = "SAMNER_TOKENS"
"""The environment variable that may hold tokens, parted by commas or blanks."""
_OPEN = ("/health/",)
_SHORTEST = 16
_LAST = 1.0
"""Seconds for which a server that stops waits for the rest of a body."""


def read_tokens(file: Path | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The tokens of a file, one a line, or else of the environment; none of both: everyone is let in.

    Raises:
        SamnerError: If the file cannot be read or holds none, or a token is too short to be a secret or no ASCII.
    """
    if file is None:
        place, tokens = f"${TOKENS}", environment.get(TOKENS, "").replace(",", " ").split()
        if not tokens and TOKENS in environment:
            raise SamnerError(f"{place} holds no token; unset it, or give one")
    else:
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "not UTF-8"
            raise SamnerError(f"{file}: the tokens cannot be read ({why})") from error
        place, tokens = str(file), [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        if not tokens:
            raise SamnerError(f"{file}: holds no token; write one a line")
    for number, token in enumerate(tokens, start=1):
        if len(token) < _SHORTEST or not token.isascii() or len(token.split()) != 1:
            raise SamnerError(
                f"{place}: token {number} must be {_SHORTEST} or more ASCII characters without blanks, as "
                "'openssl rand -hex 32' makes them"
            )
    return tuple(tokens)


class Tokens:
    """Lets in who has one of some tokens: programs as bearers, browsers with it as the password they ask for.

    Args:
        app: What is guarded, but for the health checks.
        tokens: Kept as digests, which are compared in constant time, each with all.
    """

    def __init__(self, app: ASGIApp, tokens: Iterable[str]) -> None:
        self.app = app
        self.digests = [_digest(token.encode()) for token in tokens]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or str(scope.get("path", "")).startswith(_OPEN):
            await self.app(scope, receive, send)
            return
        api = str(scope.get("path", "")).startswith(("/v1/", "/metrics"))
        given = _digest(_given(Headers(scope=scope).get("authorization", ""), basic=not api))
        if sum([hmac.compare_digest(given, digest) for digest in self.digests]):  # a list: all are compared
            await self.app(scope, receive, send)
            return
        wanted = "Bearer" if api else 'Basic realm="samner: any name, a token as the password", charset="UTF-8"'
        error = ApiError(401, "a token is wanted: Authorization: Bearer TOKEN", headers={"WWW-Authenticate": wanted})
        await error.response()(scope, receive, send)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _given(authorization: str, *, basic: bool) -> bytes:
    """The token that a request carries; nothing, if it carries none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode()
    if basic and scheme.lower() == "basic":
        try:
            return base64.b64decode(value, validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


class Crowd:
    """Refuses requests to the API, and to what Label Studio asks, while so many are under way as may be at a time.

    Args:
        app: The application.
        limits: How many.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.most = limits.requests
        self.under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(("/v1/", "/label-studio/")):
            await self.app(scope, receive, send)
            return
        if self.under_way >= self.most:
            error = ApiError(429, f"{self.most} requests are under way; try again", retry_after=1)
            await error.response()(scope, receive, send)
            return
        self.under_way += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.under_way -= 1


class Patience:
    """How long bodies are waited for: each for some seconds, and hardly any longer once the server stops.

    Args:
        seconds: For each.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._waits: set[asyncio.Timeout] = set()

    @asynccontextmanager
    async def wait(self) -> AsyncIterator[None]:
        """Around what waits for one; ``TimeoutError`` if it took too long."""
        async with asyncio.timeout(self.seconds) as wait:
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)

    def end(self) -> None:
        """The server stops: what has not come soon was not accepted. To be called in the event loop."""
        self.seconds = min(self.seconds, _LAST)
        until = asyncio.get_running_loop().time() + self.seconds
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(min(wait.when() or until, until))


class Bodies:
    """Refuses bodies that are too long, by what they say of their length and by what comes, or come too slowly.

    Args:
        app: The application.
        limits: How long they may be.
        patience: How long they are waited for.
    """

    def __init__(self, app: ASGIApp, limits: Limits, patience: Patience) -> None:
        self.app = app
        self.limits = limits
        self.patience = patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self.limits.stream_body if scope["path"] == "/v1/extract/stream" else self.limits.body
        error = ApiError(413, f"the body is longer than {most:,} bytes; send fewer texts at a time")
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > most:
            await error.response()(scope, receive, send)
            return
        parts, came, more = [], 0, True
        try:
            async with self.patience.wait():
                while more:  # whole before anything is parsed; it is held in memory by all who read it anyway
                    message = await receive()
                    if message["type"] != "http.request":
                        return
                    parts.append(message.get("body", b""))
                    came, more = came + len(parts[-1]), message.get("more_body", False)
                    if came > most:
                        break
        except TimeoutError:
            said = f"the body did not come within {self.patience.seconds:g} s; send fewer texts at a time"
            await ApiError(408, said, headers={"Connection": "close"}).response()(scope, receive, send)
            return
        if came > most:
            await error.response()(scope, receive, send)
            return
        whole: list[Message] = [{"type": "http.request", "body": b"".join(parts), "more_body": False}]

        async def replayed() -> Message:
            return whole.pop() if whole else await receive()

        await self.app(scope, replayed, send)


class Hosts:
    """Answers only to names by which the server is meant, so that no web page reaches it by a name of its own.

    Args:
        app: The application.
        hosts: The names, without ports.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self.app = app
        self.hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            host = re.sub(r":\d*$", "", Headers(scope=scope).get("host", "")).strip("[]").lower()
            if host not in self.hosts:
                error = ApiError(421, "this server does not answer to that name; see --allow-host")
                await error.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)
