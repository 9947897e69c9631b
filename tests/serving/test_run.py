"""The real thing: ``samner serve`` in a process of its own, asked over a socket."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from samner import ExpertPool, adapt
from tests.serving import conftest  # noqa: F401 - skips where the extra is missing

ROOT = Path(__file__).parents[2]
TOKEN = "a-token-for-this-very-test"
HALF = (
    f"POST /v1/extract HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    'Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"texts": ['
)


@pytest.fixture(scope="module")
def saved(tiny_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "tiny"
    adapt(ExpertPool.load(tiny_pool), ["Aspirin relieves headache."], ["drug", "disease"]).save(folder)
    return folder


class Server:
    def __init__(self, *options: object) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "SAMNER_TOKENS": TOKEN}
        command = [sys.executable, "-m", "samner", "serve", "--port", "0", "--no-page", *map(str, options)]
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()
        match = re.search(r"http://127\.0\.0\.1:(\d+)", self.said)
        assert match, self.said + self.process.stderr.read()
        self.port = int(match[1])

    def ask(self, path: str, body: Any = None, timeout: float = 200) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
        )
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)

    def metric(self, name: str) -> float:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/metrics")
        request.add_header("Authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


@pytest.fixture
def start(saved: Path) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*options: object) -> Server:
        servers.append(Server("--model", saved, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.process.kill()
        server.process.wait()


@pytest.mark.timeout(300)
def test_it_answers_and_finishes_what_it_accepted_when_it_is_told_to_stop(start: Callable[..., Server]) -> None:
    server = start("--timeout", 600)
    assert server.said.startswith("serving 1 model and 0 pools on http://127.0.0.1:")
    assert server.ask("/health/ready") == {"status": "ready"}
    texts = ["Aspirin relieves headache within hours."] * 300
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(server.ask, "/v1/extract", {"texts": texts}) for _ in range(4)]
        while server.metric("samner_requests_under_way") < 5:  # the four, and the one that asks
            time.sleep(0.01)
        slow = socket.create_connection(("127.0.0.1", server.port))
        slow.sendall(HALF.encode())
        while server.metric("samner_requests_under_way") < 6:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")  # it does not hold up the end
        for answer in answers:
            found = answer.result()["results"]
            assert len(found) == 300 and all(one == found[0] for one in found)
    assert server.process.wait(60) == 0
    assert server.process.stderr is not None and server.process.stderr.read().strip() == "stopped"
    with pytest.raises(urllib.error.URLError):
        server.ask("/health/live")


@pytest.mark.skipif(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, reason="under nohup")
def test_a_terminal_that_is_closed_stops_it(start: Callable[..., Server]) -> None:
    server = start()
    server.process.send_signal(signal.SIGHUP)
    assert server.process.wait(60) == 0
    assert server.process.stderr is not None and server.process.stderr.read().strip() == "stopped"


@pytest.mark.slow
def test_a_pass_without_end_does_not_hold_up_the_end(start: Callable[..., Server]) -> None:
    server = start("--timeout", 1, "--max-text", 10**7, "--max-characters", 10**7)
    with ThreadPoolExecutor(1) as pool:
        text = "Aspirin relieves headache within hours. " * 100_000
        answer = pool.submit(server.ask, "/v1/extract", {"texts": [text]})
        while server.metric("samner_requests_under_way") < 2:
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(urllib.error.HTTPError, match="504"):
            answer.result()
    assert server.process.wait(60) == 0
    assert server.process.stderr is not None and server.process.stderr.read().strip() == "stopped"


def test_a_port_that_is_taken_is_said_before_anything_is_loaded(saved: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, "-m", "samner", "serve", "--model", str(saved), "--port", str(port)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: cannot serve on 127.0.0.1, port {port}: ")


def test_who_still_waits_at_the_end_is_told() -> None:
    from samner.serving.run import Told

    async def forever(*_: Any) -> None:
        await asyncio.Event().wait()

    async def cut() -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        asked = asyncio.create_task(Told(forever)({"type": "http"}, forever, send))
        await asyncio.sleep(0)
        asked.cancel()
        await asked
        return sent

    start, body = asyncio.run(cut())
    assert start["status"] == 503 and b"the server has stopped" in body["body"]
