"""Texts in batches that are soon done, from a file or as they come through a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from queue import Empty, Queue
from threading import Thread

from samner.entities import Example

_BATCH_TEXTS = 256
_BATCH_CHARACTERS = 65_536
_WAIT = 0.5
"""Seconds that the first text of a batch waits for more, where texts come from a pipe."""


def batches(texts: Iterable[Example]) -> Iterator[list[Example]]:
    """Consecutive texts, together short enough that a batch is soon done."""
    batch: list[Example] = []
    for text in texts:
        if batch and not _has_room(batch, text):
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


def batches_as_they_come(texts: Iterable[Example]) -> Iterator[list[Example]]:
    """Like ``batches``, but what is there is a batch when its first text has waited long enough for more."""
    come: Queue[Example | BaseException | None] = Queue(maxsize=_BATCH_TEXTS)

    def read(stdin: object) -> None:
        # holds on to standard input: a process that is to end while this waits must not close it
        try:
            for text in texts:
                come.put(text)
            come.put(None)
        except BaseException as error:
            come.put(error)

    Thread(target=read, args=(sys.stdin,), daemon=True).start()
    batch: list[Example] = []
    due = 0.0
    while True:
        try:
            text = come.get(timeout=max(0.0, due - time.monotonic()) if batch else None)
        except Empty:
            yield batch
            batch = []
            continue
        if batch and not (isinstance(text, Example) and _has_room(batch, text)):
            yield batch
            batch = []
        if text is None:
            return
        if isinstance(text, BaseException):
            raise text
        if not batch:
            due = time.monotonic() + _WAIT
        batch.append(text)


def _has_room(batch: Sequence[Example], example: Example) -> bool:
    characters = sum(len(other.text) for other in batch) + len(example.text)
    return len(batch) < _BATCH_TEXTS and characters <= _BATCH_CHARACTERS
