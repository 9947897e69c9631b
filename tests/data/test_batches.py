from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest

from samner.data.batches import batches, batches_as_they_come
from samner.entities import Example
from samner.errors import SamnerError


def test_texts_of_a_pipe_wait_only_so_long_for_more():
    go_on, said = Event(), []

    def texts() -> Iterator[Example]:
        yield from map(Example, "abc")
        go_on.wait(30)
        yield Example("d")
        raise SamnerError("line 5 is wrong")

    with pytest.raises(SamnerError, match="line 5 is wrong"):
        for batch in batches_as_they_come(texts()):
            said.append([example.text for example in batch])
            go_on.set()
    assert said == [["a", "b", "c"], ["d"]]


def test_batches_of_a_pipe_are_short_too():
    texts = list(map(Example, [*["a"] * 600, "b" * 40_000, "c" * 40_000]))
    assert list(batches_as_they_come(texts)) == list(batches(texts))
    assert list(batches_as_they_come([])) == []


def test_batches_are_short():
    assert list(batches([])) == []
    assert [len(batch) for batch in batches(map(Example, ["a"] * 600))] == [256, 256, 88]
    texts = map(Example, ["a" * 40_000, "b" * 40_000, "c", "d" * 200_000, "e"])
    assert [len(batch) for batch in batches(texts)] == [1, 2, 1, 1]
