"""Texts of many requests in one pass: a queue, and a thread that reads from it what can be read together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import NamedTuple

from samner.entities import EntityType
from samner.prediction import Prediction
from samner.serving.errors import ApiError
from samner.serving.metrics import Metrics
from samner.task_model import TaskModel

Answers = list[Prediction]

BATCH_TEXTS = 64
BATCH_CHARACTERS = 32_768
WAIT = 0.003
"""Seconds that the first text waits for more when the model is idle."""
SHARE = 0.05
"""Of the seconds of a pass, those that the next one may wait besides: who was just answered may ask again at once."""

_PATIENCE = 5.0
"""Seconds that a server which stops waits for the pass under way: whoever still waits for it was told of the end."""


class Question(NamedTuple):
    """What is asked of texts; texts of which the same is asked share a pass.

    Args:
        name: What the model is called in the metrics.
        model: The task model.
        types: To look for.
        thresholds: Names of types with the score from which their entities count; the others have the model's own.
        mode: How the parts of the model are united.
        overlaps: Which entities may overlap, as ``TaskModel.predict`` has it.
    """

    name: str
    model: TaskModel
    types: tuple[EntityType, ...]
    thresholds: tuple[tuple[str, float], ...]
    mode: str
    overlaps: str = "flat"

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two questions the same."""
        return id(self.model), *self[2:]

    def ask(self, texts: Sequence[str]) -> Answers:
        """The entities of some texts."""
        thresholds = dict(self.thresholds)
        return self.model.predict(texts, self.types, threshold=thresholds, overlaps=self.overlaps, mode=self.mode)


@dataclass(slots=True)
class _Waiting:
    question: Question
    texts: Sequence[str]
    future: Future[Answers] = field(default_factory=Future)

    @property
    def characters(self) -> int:
        return sum(map(len, self.texts))


class Batcher:
    """Answers questions in the order in which they come, together with those like them that wait.

    Args:
        metrics: Where batches are counted.
        texts: The most texts of a batch, but for those of one question.
        characters: The most characters of a batch, but for those of one question.
        wait: Seconds that the first text of a batch waits for more; it may be longer after a long pass, see ``SHARE``,
            and is shorter once as many ask as before.
        clock: For tests.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        texts: int = BATCH_TEXTS,
        characters: int = BATCH_CHARACTERS,
        wait: float = WAIT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.metrics = metrics
        self.texts = texts
        self.characters = characters
        self.wait = wait
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._change = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="samner-batches", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether questions are answered."""
        return self._thread.is_alive() and not self._closing

    def parts(self, texts: Sequence[str]) -> list[tuple[int, int]]:
        """Start and end of the runs of texts to ask about at a time, so that no request holds up all others."""
        cuts, characters = [0], 0
        for place, text in enumerate(texts):
            if place > cuts[-1] and (place - cuts[-1] >= self.texts or characters + len(text) > self.characters):
                cuts.append(place)
                characters = 0
            characters += len(text)
        return list(zip(cuts, [*cuts[1:], len(texts)], strict=True)) if texts else []

    def submit(self, question: Question, texts: Sequence[str]) -> Future[Answers]:
        """Ask; what is cancelled before it is read is left out.

        Raises:
            ApiError: If it was closed.
        """
        waiting = _Waiting(question, texts)
        with self._change:
            if self._closing:
                raise ApiError(503, "the server is stopping")
            self._queue.append(waiting)
            self.metrics.queue.inc(len(texts))
            self._change.notify()
        return waiting.future

    def close(self) -> None:
        """Take no more questions, and answer those that were taken, as far as that goes in a few seconds."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join(_PATIENCE)

    def _work(self) -> None:
        answered, seconds = 0, 0.0
        while batch := self._next(answered, seconds):
            began = self._clock()
            asked = [waiting for waiting in batch if waiting.future.set_running_or_notify_cancel()]
            if asked:
                self._answer(asked)
            answered, seconds = len(asked), self._clock() - began

    def _next(self, answered: int, seconds: float) -> list[_Waiting]:
        """The oldest question and those like it; none at the end.

        Args:
            answered: How many were just answered.
            seconds: How long that took.
        """
        with self._change:
            # in a loop, who was answered and who waited meanwhile would take turns at half a batch each
            expected = len(self._queue) + answered
            until = self._clock() + max(self.wait, SHARE * seconds)
            while not self._queue:
                if self._closing:
                    return []
                self._change.wait()
                until = max(until, self._clock() + self.wait)
            while (left := until - self._clock()) > 0 and not self._closing and not self._full():
                if answered and len(self._queue) >= expected:
                    break
                self._change.wait(left)
            batch: list[_Waiting] = []
            rest: deque[_Waiting] = deque()
            texts = characters = 0
            key = self._queue[0].question.key
            for waiting in self._queue:
                fits = texts + len(waiting.texts) <= self.texts and characters + waiting.characters <= self.characters
                if waiting.question.key == key and (fits or not batch):
                    batch.append(waiting)
                    texts += len(waiting.texts)
                    characters += waiting.characters
                else:
                    rest.append(waiting)
            self._queue = rest
            self.metrics.queue.dec(texts)
            return batch

    def _full(self) -> bool:
        return sum(len(waiting.texts) for waiting in self._queue) >= self.texts

    def _answer(self, batch: Sequence[_Waiting]) -> None:
        question = batch[0].question
        texts = [text for waiting in batch for text in waiting.texts]
        self.metrics.batch_texts.observe(len(texts))
        self.metrics.batch_requests.observe(len(batch))
        try:
            with self.metrics.batch_seconds.time():
                answers = question.ask(texts)
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for waiting in batch:  # one of them is at fault, and the others are not to suffer
                self._answer([waiting])
            return
        self.metrics.texts.labels(question.name).inc(len(texts))
        start = 0
        for waiting in batch:
            waiting.future.set_result(answers[start : start + len(waiting.texts)])
            start += len(waiting.texts)
