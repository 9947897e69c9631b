"""A process that predicts and adapts for a long time, and a long file through a model: memory stays flat."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from samner import ExpertPool, TaskModel, adapt
from tests.reliability.counts import COUNTS
from tests.reliability.tiny import LABELS, TEXTS

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(3600)]

_LIMIT = 1.5e9


def _memory() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def _flat(measured: list[int]) -> str:
    """How much the memory grew from the first to the largest measurement; empty if by less than 5 %."""
    growth = max(measured) / measured[0] - 1
    return "" if growth < 0.05 else f"memory grew by {growth:.0%}, {[m >> 20 for m in measured]} MB"


def test_predictions(model_folder: Path, tally: Any) -> None:
    row = tally("predictions in one process, memory measured")
    model = TaskModel.load(model_folder)
    measured = []
    for number in range(COUNTS.predictions):
        text = f"{TEXTS[number % len(TEXTS)]} {number}"
        model.predict_entities(text, LABELS if number % 3 else [*LABELS, f"type {number}"])
        row.done()
        if number % max(1, COUNTS.predictions // 10) == 0 and number >= COUNTS.predictions // 10:
            measured.append(_memory())
    if told := _flat(measured):
        row.failed(told)


def test_adaptations(pool_folder: Path, tally: Any) -> None:
    row = tally("adaptations in one process, memory measured")
    pool = ExpertPool(pool_folder)
    measured = []
    for number in range(COUNTS.adaptations):
        texts = [f"{text} {number}" for text in TEXTS]
        found = adapt(pool, texts, LABELS, experts=2, density=0.2 + number / 1000).predict(texts)
        assert len(found) == len(texts)
        row.done()
        if number % max(1, COUNTS.adaptations // 10) == 0 and number >= COUNTS.adaptations // 10:
            measured.append(_memory())
    if told := _flat(measured):
        row.failed(told)


def test_a_long_file_is_streamed(model_folder: Path, tally: Any, tmp_path: Path) -> None:
    row = tally("lines through `samner extract --model`, in order, at most 1.5 GB")
    source, out = tmp_path / "lines.jsonl", tmp_path / "out.jsonl"
    with source.open("w") as file:
        file.writelines(json.dumps({"text": f"{number} in Bonn"}) + "\n" for number in range(COUNTS.lines))
    command = [sys.executable, "-m", "samner", "extract", source, "--model", model_folder, "-o", out]
    with (tmp_path / "said").open("w+") as said:
        process, most = subprocess.Popen(command, stderr=said), 0
        while process.poll() is None:
            # not ru_maxrss, in which a child begins with what its parent had
            with suppress(OSError, StopIteration):
                status = Path(f"/proc/{process.pid}/status").read_text().splitlines()
                most = max(most, int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024)
            time.sleep(0.1)
        if process.returncode != 0:
            said.seek(0)
            row.failed("it ended with an error", said.read()[-500:])
            return
    with out.open() as file:
        for number, line in enumerate(file):
            row.done()
            if json.loads(line)["text"] != f"{number} in Bonn":
                row.failed("not in order", number)
    if row.count != COUNTS.lines:
        row.failed("lost lines", row.count)
    if most > _LIMIT:
        row.failed("more memory", most)
    print(f"{row.count:,} lines, at most {most / 1e9:.2f} GB")
