"""Serve a pool, ask it over HTTP, print what was asked and answered, and stop.

python -m examples.demo_serve [POOL]

Every request is shown as the curl command that makes it, and made by curl, or by Python's own client where there is
none. By default the pool is the small one, `builtin`, which needs nothing to be installed besides.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from typing import Any

from samner.cli.output import guarded

LABELS = ["person", "organization", "city", "drug", "disease", "date"]


@guarded()
def main() -> None:
    pool = sys.argv[1] if len(sys.argv) > 1 else "builtin"
    sample = resources.files("samner") / "samples" / "pharma_news.txt"
    texts = sample.read_text(encoding="utf-8").splitlines()
    with served(pool) as address:
        print("\nIs it ready?")
        print(ask(f"{address}/health/ready"))

        print("\nAdapt the pool to texts that nobody labelled, as a job:")
        job = json.loads(ask(f"{address}/v1/adapt", {"name": "pharma", "labels": LABELS, "texts": texts}))
        while job["status"] in ("waiting", "running"):
            time.sleep(0.5)
            with urllib.request.urlopen(f"{address}/v1/adapt/{job['id']}") as answer:
                job = json.load(answer)
        print(f"job {job['id']}: {job['status']} after {job['seconds']:.1f} s {job['error'] or ''}")
        for name, merge in job["result"]["merges"].items():
            print(f"  merged for {name}: {', '.join(merge)}")

        print("\nAsk the model that it made:")
        asked = {"model": "pharma", "texts": texts[:2], "labels": [{"name": "drug", "threshold": 0.6}, "city"]}
        for text, found in zip(texts, json.loads(ask(f"{address}/v1/extract", asked))["results"], strict=False):
            print(text)
            for entity in found["entities"]:
                print(f"  {entity['label']:<6} {entity['score']:.2f}  {entity['text']}")

        print("\nWhat Prometheus gets:")
        metrics = ask(f"{address}/metrics").splitlines()
        print("\n".join(line for line in metrics if line.startswith(("samner_texts_total", "samner_batch_texts_sum"))))
    print("\nThe server has stopped.")


@contextmanager
def served(pool: str) -> Iterator[str]:
    """The address of a server of a pool, which ends with the block."""
    command = [sys.executable, "-m", "samner", "serve", "--pool", pool, "--port", "0", "--no-page"]
    print("$ samner serve --pool", pool)
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    try:
        said = server.stderr.readline()
        print(said, end="")
        if "serving" not in said:
            raise SystemExit(server.stderr.read() or 1)
        yield said.split(" on ")[1].split()[0]
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def ask(url: str, body: Any = None) -> str:
    """The answer to a request, which is shown, long texts shortened."""
    shown = "" if body is None else f" --json {shlex.quote(_short(body))}"
    print(f"$ curl -s {url}{shown}")
    sent = None if body is None else json.dumps(body)
    if curl := shutil.which("curl"):
        headers = [] if sent is None else ["-H", "Content-Type: application/json", "--data-binary", "@-"]
        command = [curl, "-sS", "--fail-with-body", url, *headers]
        return subprocess.run(command, input=sent, check=True, capture_output=True, text=True).stdout
    request = urllib.request.Request(url, sent and sent.encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return str(answer.read().decode())


def _short(body: dict[str, Any]) -> str:
    texts = body["texts"]
    few = [texts[0][:40] + "...", f"... ({len(texts)} texts)"]
    return json.dumps(body | {"texts": few}, ensure_ascii=False)


if __name__ == "__main__":
    main()
