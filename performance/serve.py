"""Measure a server under many clients beside one, and write the table into docs/serving.md.

python -m performance.serve [--seconds 120] [--clients 50] [--pool builtin] [--words N]

Adapts the pool to the sentences that ship with samner, serves the model on loopback in a process of its own, and
asks it for one sentence a request: first one caller in a loop, then many callers at once, each in a loop on a
connection that it keeps. They take turns in rounds, so that what else runs hits both alike. The server shares the
machine with the callers, and maybe with others: hence its own processor time besides. What a batch gains without
a server is shown beside.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import json
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from statistics import median

from performance.merge.measure import ROOT
from performance.merge.report import machine, table
from samner.benchmark.report.document import check_part, write_part
from samner.cli.output import guarded

LABELS = ("person", "organization", "city", "drug", "disease", "date")
PAGE, PART = ROOT / "docs" / "serving.md", "performance.serve"
ALONE = 0.25
"""Share of the time in which one caller is measured."""
ROUNDS = 3
PASS = 32
"""Texts of a pass without a server, beside a pass for each text."""
SETTLE = 5.0
"""Seconds of every run that are not counted: of memory, too, what is first needed is needed by then."""


@dataclass
class Run:
    """What callers met with."""

    clients: int
    seconds: float = 0.0
    took: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    used: float = 0.0
    read: float = 0.0

    @property
    def processor(self) -> float:
        """The server's seconds a text."""
        return self.used / self.read

    def quantile(self, share: float) -> float:
        return sorted(self.took)[int(share * (len(self.took) - 1))]


@guarded()
def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m performance.serve", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="of the many callers, beside what is not counted")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--pool", default="builtin")
    parser.add_argument("--words", type=int, help="ask for so many words of each sentence, as long as a query may be")
    parser.add_argument("--no-write", action="store_true", help="print the table, and leave docs/serving.md as it is")
    options = parser.parse_args(arguments)
    part = PART if options.words is None else f"{PART} --words {options.words}"
    if not options.no_write:
        check_part(PAGE, part)
    lines = (files("samner") / "samples" / "pharma_news.txt").read_text(encoding="utf-8").splitlines()
    texts = [" ".join(line.split()[: options.words]) for line in lines if line]
    with tempfile.TemporaryDirectory() as folder, _server(options.pool, Path(folder)) as port:
        alone, many, batch = Run(1), Run(options.clients), [0.0, 0.0]
        for _ in range(ROUNDS):
            measure(alone, port, texts, ALONE * options.seconds / ROUNDS)
            before = _metrics(port)
            measure(many, port, texts, options.seconds / ROUNDS)
            after = _metrics(port)
            for i, of in enumerate(("sum", "count")):
                batch[i] += after[f"samner_batch_texts_{of}"] - before[f"samner_batch_texts_{of}"]
        single, together = passes(Path(folder) / "model", texts)  # the server has nothing to do meanwhile
    what = "one sentence" if options.words is None else f"{options.words} words"
    rows = [_row(run) for run in (alone, many)]
    text = "\n\n".join(
        [
            f"{machine()} The pool `{options.pool}`, {what} a request; "
            f"{ALONE * options.seconds:.0f} and {options.seconds:.0f} seconds "
            f"in {ROUNDS} turns, each after {SETTLE:.0f} seconds to settle.",
            table(
                (
                    "callers",
                    "requests",
                    "errors",
                    "p50, ms",
                    "p95, ms",
                    "texts/s",
                    "processor time of the server, ms a text",
                    "resident memory, MB",
                ),
                rows,
            ),
            f"{options.clients} callers got {_rate(many) / _rate(alone):.1f} times the texts a second of one, "
            f"{alone.processor / many.processor:.1f} times by the server's processor time; a batch held "
            f"{batch[0] / batch[1]:.1f} texts on average. Without a server, a pass takes {1e3 * single:.1f} ms of "
            f"processor time for one text, and {1e3 * together:.1f} ms a text for {PASS}: the pass alone gains "
            f"{single / together:.1f} times.",
        ]
    )
    print(text)
    if failures := alone.errors + many.errors:
        print(f"{len(failures)} errors, the first: {failures[0]}", file=sys.stderr)
        raise SystemExit(1)
    if not options.no_write:
        write_part(PAGE, part, text)


@contextmanager
def _server(pool: str, folder: Path) -> Iterator[int]:
    samner = [sys.executable, "-m", "samner"]
    sample = str(files("samner") / "samples" / "pharma_news.txt")
    adapt = [*samner, "adapt", "--pool", pool, "--labels", ",".join(LABELS), sample, "-o", str(folder / "model")]
    if failed := subprocess.run(adapt, check=False, stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(failed)  # it has said why
    serve = [*samner, "serve", "--model", str(folder / "model"), "--port", "0", "--no-page"]
    server = subprocess.Popen(serve, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        said = server.stderr.readline()
        match = re.search(r":(\d+)", said)
        if match is None:
            raise SystemExit(said + server.stderr.read())
        yield int(match[1])
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


def passes(model: Path, texts: Sequence[str]) -> tuple[float, float]:
    """Seconds of processor time that a text takes by itself, and in a pass of ``PASS``; the medians of rounds."""
    from samner.task_model import TaskModel

    opened = TaskModel.load(model)
    asked = list(itertools.islice(itertools.cycle(texts), PASS))
    took: dict[int, list[float]] = {1: [], PASS: []}
    opened.predict(asked)
    for _ in range(2 * ROUNDS):
        for size, its in took.items():
            began = time.process_time()
            for start in range(0, PASS, size):
                opened.predict(asked[start : start + size])
            its.append((time.process_time() - began) / PASS)
    return median(took[1]), median(took[PASS])


def measure(run: Run, port: int, texts: Sequence[str], seconds: float) -> None:
    """Let the callers of a run ask in loops for some seconds more."""
    run.seconds += seconds
    settled = time.perf_counter() + SETTLE
    end = settled + seconds

    def call(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for text in itertools.islice(itertools.cycle(texts), number, None):
            started = time.perf_counter()
            if started >= end:
                break
            try:
                body = json.dumps({"texts": [text]})
                connection.request("POST", "/v1/extract", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                content = answer.read()
                problem = "" if answer.status == 200 else f"{answer.status} {content[:200]!r}"
            except (OSError, http.client.HTTPException) as error:
                problem = repr(error)
                connection.close()
            if problem:
                run.errors.append(problem)
            elif started >= settled:
                run.took.append(time.perf_counter() - started)
        connection.close()

    callers = [threading.Thread(target=call, args=(number,)) for number in range(run.clients)]
    for caller in callers:
        caller.start()
    time.sleep(SETTLE)
    begun = _metrics(port)
    while time.perf_counter() < end:
        run.memory.append(int(_metrics(port)["process_resident_memory_bytes"]))
        time.sleep(min(5.0, max(end - time.perf_counter(), 0.1)))
    ended = _metrics(port)
    for caller in callers:
        caller.join()
    run.used += ended["process_cpu_seconds_total"] - begun["process_cpu_seconds_total"]
    run.read += ended["samner_batch_texts_sum"] - begun["samner_batch_texts_sum"]


def _metrics(port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def _rate(run: Run) -> float:
    return len(run.took) / run.seconds


def _row(run: Run) -> tuple[str, ...]:
    first, last, most = run.memory[0] / 1e6, run.memory[-1] / 1e6, max(run.memory) / 1e6
    return (
        str(run.clients),
        f"{len(run.took):,}",
        str(len(run.errors)),
        f"{1e3 * run.quantile(0.5):.1f}",
        f"{1e3 * run.quantile(0.95):.1f}",
        f"{_rate(run):.1f}",
        f"{1e3 * run.processor:.1f}",
        f"{first:,.0f} at first, {last:,.0f} at last, {most:,.0f} at most",
    )


if __name__ == "__main__":
    main()
