"""A pool that processes edit, and that threads use, at once."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from samner import ExpertPool, TaskModel, adapt
from tests.reliability.counts import COUNTS
from tests.reliability.tiny import EXPERTS, LABELS, TEXTS, copied, make_expert

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(1800)]


def _edit(folder: Path, source: Path, name: str, edits: int) -> None:
    pool, there = ExpertPool(folder), set[str]()
    draw = random.Random(name)
    for number in range(edits):
        if there and draw.random() < 0.5:
            gone = there.pop()
            pool.remove(gone)
        else:
            there.add(f"{name}-{number}")
            pool.add(source, f"{name}-{number}")
    (folder / f"{name}.txt").write_text(" ".join(there))


def test_two_processes_edit_one_pool(pool_folder: Path, tally: Any, tmp_path: Path) -> None:
    row = tally("edits of one pool by two processes at once")
    folder = copied(pool_folder, tmp_path / "pool")
    source = make_expert(ExpertPool(folder), tmp_path / "source", seed=9)
    context = multiprocessing.get_context("fork")
    editors = [context.Process(target=_edit, args=(folder, source, name, COUNTS.edits)) for name in "ab"]
    for editor in editors:
        editor.start()
    for editor in editors:
        editor.join()
        row.done(COUNTS.edits)
        if editor.exitcode != 0:
            row.failed("a process failed")
    expected = {*EXPERTS, *(folder / "a.txt").read_text().split(), *(folder / "b.txt").read_text().split()}
    if set(ExpertPool(folder).experts) != expected:
        row.failed("an edit was lost", set(ExpertPool(folder).experts) ^ expected)
    for problem in ExpertPool(folder).verify():
        row.failed("verify finds a problem", problem)


Answers = list[list[tuple[int, int, str, float]]]


def _answers(model: TaskModel) -> Answers:
    return [[(e.start, e.end, e.label, round(e.score, 4)) for e in found] for found in model.predict(TEXTS)]


def test_eight_threads_use_one_pool(pool_folder: Path, tally: Any, tmp_path: Path) -> None:
    row = tally("calls by eight threads on one pool (predict, adapt, add, remove, verify)")
    pool = ExpertPool(copied(pool_folder, tmp_path / "pool"))
    sources = [make_expert(pool, tmp_path / f"x{number}", seed=20 + number) for number in range(3)]
    kept = adapt(pool, TEXTS, LABELS, experts=2)
    expected = _answers(kept)
    end = time.monotonic() + COUNTS.thread_seconds
    seen: list[tuple[frozenset[str], Answers]] = []

    def predict() -> None:
        if _answers(kept) != expected:
            row.failed("other answers of predict")

    def adapted() -> None:
        with adapt(pool, TEXTS, LABELS, experts=2) as model:
            seen.append((frozenset(model.selections["similarity"].cosine), _answers(model)))

    def edit(number: int) -> None:
        pool.add(sources[number])
        pool.remove(sources[number].name)

    def verify() -> None:
        for problem in pool.verify():
            if "left over from an interrupted change" not in problem and "/x" not in problem:
                row.failed("verify finds a problem", problem)

    def often(work: Callable[..., None], *arguments: int) -> None:
        while time.monotonic() < end:
            try:
                work(*arguments)
            except Exception as error:
                row.failed(f"{work.__name__}: {type(error).__name__}", error)
            row.done()

    jobs: list[tuple[Any, ...]] = [(predict,), (predict,), (adapted,), (adapted,), (verify,)]
    jobs += [(edit, number) for number in range(3)]
    threads = [threading.Thread(target=often, args=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone: dict[frozenset[str], Answers] = {}
    for number, names in enumerate(sorted({names for names, _ in seen}, key=sorted)):
        one = ExpertPool(Path(shutil.copytree(pool_folder, tmp_path / f"alone{number}")))
        for source in sources:
            if source.name in names:
                one.add(source)
        alone[names] = _answers(adapt(one, TEXTS, LABELS, experts=2))
    for names, answers in seen:
        if answers != alone[names]:
            row.failed("other answers of an adapted model", sorted(names))
    if set(pool.experts) != set(EXPERTS):
        row.failed("an expert was lost or stayed", set(pool.experts) ^ set(EXPERTS))
