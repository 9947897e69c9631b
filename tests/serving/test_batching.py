from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest

from samner.entities import entity_types
from samner.serving.batching import Batcher, Question
from samner.serving.errors import ApiError
from samner.serving.metrics import Metrics
from samner.task_model import TaskModel
from tests.serving.conftest import Ward


@pytest.fixture
def batcher() -> Iterator[Batcher]:
    batcher = Batcher(Metrics(), texts=4, characters=40, wait=0.1)
    yield batcher
    batcher.close()


def ask(model: TaskModel, labels: tuple[str, ...] = ("drug",), **changed: Any) -> Question:
    return Question("known", model, entity_types(labels), (), "union")._replace(**changed)


def test_questions_that_are_alike_share_a_pass(batcher: Batcher, model: TaskModel, ward: Ward) -> None:
    futures = [batcher.submit(ask(model), [f"Aspirin {i}", f"no {i}"]) for i in range(2)]
    for future in futures:
        assert [[e.label for e in entities] for entities in future.result(10)] == [["drug"], []]
    assert ward.batches == [["Aspirin 0", "no 0", "Aspirin 1", "no 1"]]


def test_others_do_not_and_the_oldest_comes_first(batcher: Batcher, model: TaskModel, ward: Ward) -> None:
    questions = [
        ask(model),
        ask(model, ("disease",)),
        ask(model, thresholds=(("drug", 0.7),)),
        ask(model, overlaps="all"),
        ask(model, mode="similarity"),
        ask(model),
    ]
    futures = [batcher.submit(question, [f"text {i}"]) for i, question in enumerate(questions)]
    for future in futures:
        future.result(10)
    assert ward.batches == [["text 0", "text 5"], ["text 1"], ["text 2"], ["text 3"], ["text 4"]]


def test_a_batch_is_bounded_by_texts_and_characters(batcher: Batcher, model: TaskModel, ward: Ward) -> None:
    texts = [["a"] * 3, ["b"] * 2, ["c" * 30], ["d" * 30]]
    for future in [batcher.submit(ask(model), one) for one in texts]:
        future.result(10)
    assert ward.batches == [["a", "a", "a", "c" * 30], ["b", "b", "d" * 30]]  # what did not fit comes next
    assert batcher.parts(["x"] * 9) == [(0, 4), (4, 8), (8, 9)]
    assert batcher.parts(["x" * 30, "x" * 30, "x" * 100, "x"]) == [(0, 1), (1, 2), (2, 3), (3, 4)]
    assert batcher.parts([]) == []


def test_callers_in_loops_come_to_share_passes(model: TaskModel, ward: Ward) -> None:
    batcher = Batcher(Metrics(), wait=0.1)
    ward.seconds = 0.02
    started = threading.Barrier(2)

    def caller(place: int) -> None:
        started.wait()
        time.sleep(0.01 * place)  # the second comes when the first is being read
        for _ in range(5):
            batcher.submit(ask(model), ["a"]).result(10)

    batcher.submit(ask(model), ["b"]).result(10)  # from now on one is expected, and not waited for
    threads = [threading.Thread(target=caller, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batcher.close()
    assert ward.batches.count(["a", "a"]) >= 3


def test_one_caller_in_a_loop_waits_for_nobody(model: TaskModel, ward: Ward) -> None:
    batcher = Batcher(Metrics(), wait=5.0)
    first = batcher.submit(ask(model), ["a"] * 64)  # fills its batch
    first.result(4)
    for _ in range(3):
        batcher.submit(ask(model), ["b"]).result(4)
    batcher.close()


def test_one_that_fails_takes_no_other_with_it(batcher: Batcher, model: TaskModel, ward: Ward) -> None:
    good, bad = batcher.submit(ask(model), ["Aspirin"]), batcher.submit(ask(model), ["cursed"])
    assert good.result(10)[0][0].label == "drug"
    with pytest.raises(RuntimeError, match="cursed"):
        bad.result(10)


def test_what_was_cancelled_is_not_read(batcher: Batcher, model: TaskModel, ward: Ward) -> None:
    kept, cancelled = batcher.submit(ask(model), ["a"]), batcher.submit(ask(model), ["b"])
    assert cancelled.cancel()
    kept.result(10)
    with pytest.raises(CancelledError):
        cancelled.result(10)
    assert ward.batches == [["a"]]


def test_closing_answers_what_was_taken(model: TaskModel, ward: Ward) -> None:
    batcher = Batcher(Metrics())
    ward.seconds = 0.1
    futures = [batcher.submit(ask(model), [f"Aspirin {i}"]) for i in range(5)]
    batcher.close()
    assert all(future.done() and future.result() for future in futures)
    with pytest.raises(ApiError, match="stopping"):
        batcher.submit(ask(model), ["a"])


def test_closing_does_not_wait_for_a_long_pass(model: TaskModel, ward: Ward, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samner.serving.batching._PATIENCE", 0.05)
    batcher = Batcher(Metrics(), wait=0.0)
    ward.seconds = 1.0
    future = batcher.submit(ask(model), ["a"])
    while not future.running():
        time.sleep(0.001)
    batcher.close()
    assert not future.done()
    future.result(10)


def test_from_many_threads_each_gets_its_own(model: TaskModel) -> None:
    batcher = Batcher(Metrics())
    wrong: list[int] = []

    def caller(number: int) -> None:
        for i in range(20):
            text = f"{'x ' * number}Aspirin {i}"
            [[entity]] = batcher.submit(ask(model), [text]).result(10)
            if entity.start != 2 * number:
                wrong.append(number)

    threads = [threading.Thread(target=caller, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batcher.close()
    assert wrong == []
