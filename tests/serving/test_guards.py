from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from samner.serving.guards import Bodies, Patience, read_tokens
from samner.serving.limits import Limits


async def _never_asked(*_: Any) -> None:
    raise AssertionError("a body that did not come was read")


async def post(patience: Patience, *, stop_after: float | None = None) -> tuple[int, dict[str, str], str]:
    """Send half of a body; status, headers and message of the answer."""
    came: list[dict[str, Any]] = [{"type": "http.request", "body": b"half", "more_body": True}]
    sent: list[dict[str, Any]] = []

    async def receive() -> Any:
        return came.pop() if came else await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    if stop_after is not None:
        asyncio.get_running_loop().call_later(stop_after, patience.end)
    scope = {"type": "http", "path": "/v1/extract", "headers": []}
    await asyncio.wait_for(Bodies(_never_asked, Limits(), patience)(scope, receive, send), 10)
    start, body = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, json.loads(body["body"])["error"]["message"]


def test_a_body_that_comes_too_slowly_is_refused() -> None:
    status, headers, said = asyncio.run(post(Patience(0.05)))
    assert (status, headers["connection"]) == (408, "close")
    assert said == "the body did not come within 0.05 s; send fewer texts at a time"


def test_a_server_that_stops_hardly_waits_for_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samner.serving.guards._LAST", 0.05)
    patience = Patience(600)
    assert asyncio.run(post(patience, stop_after=0.01))[0] == 408
    assert asyncio.run(post(patience))[0] == 408  # and for none that begins then


def test_a_file_of_tokens_may_be_of_windows(tmp_path: Path) -> None:
    (tmp_path / "tokens.txt").write_text("# of the team\r\n0123456789abcdef\r\n", encoding="utf-8-sig", newline="")
    assert read_tokens(tmp_path / "tokens.txt", {}) == ("0123456789abcdef",)
