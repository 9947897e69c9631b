from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.cache import Cache, digest
from samner.errors import SamnerError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@given(value=JSON, key=JSON)
def test_what_is_put_is_got(tmp_path_factory: pytest.TempPathFactory, value: object, key: object) -> None:
    path = tmp_path_factory.getbasetemp() / "kept.sqlite"
    Cache(path).put("a", key, value)
    assert Cache(path).get("a", key) == value
    assert Cache(path).get("b", key) is None


def test_a_value_takes_the_place_of_another(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "below" / "kept.sqlite")
    for value in ([1], [2]):
        cache.put("a", {"x": 1, "y": 2}, value)
    assert cache.get("a", {"y": 2, "x": 1}) == [2]
    assert digest({"x": 1, "y": 2}) == digest({"y": 2, "x": 1})


def test_the_oldest_make_room(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kept.sqlite", limit=200)
    for number in range(20):
        cache.put("a", number, f"{number} " * 20)
    found = [number for number in range(20) if cache.get("a", number) is not None]
    assert 0 < len(found) < 20
    assert found == list(range(20 - len(found), 20))


def test_many_threads(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kept.sqlite")

    def work(number: int) -> object:
        cache.put("a", number, number)
        return cache.get("a", number)

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(work, range(100))) == list(range(100))


def test_many_processes(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from samner.cache import Cache; cache = Cache(Path(sys.argv[1]))\n"
        "for i in range(30): cache.put('a', [sys.argv[2], i], i)"
    )
    source = str(Path(__file__).parents[1] / "src")
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "kept.sqlite"), str(n)], env={"PYTHONPATH": source}
        )
        for n in range(3)
    ]
    assert [process.wait(60) for process in running] == [0, 0, 0]
    cache = Cache(tmp_path / "kept.sqlite")
    assert all(cache.get("a", [str(n), i]) == i for n in range(3) for i in range(30))


def test_a_damaged_value_is_none(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kept.sqlite")
    cache.put("a", 1, "x")
    with sqlite3.connect(cache.path) as file:
        file.execute("UPDATE kept SET value = x'00'")
    assert cache.get("a", 1) is None


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept.sqlite").write_text("no database, but long enough to be looked at as one" * 20)
    with pytest.raises(SamnerError, match=r"kept\.sqlite: cannot be used as a store .*delete it"):
        Cache(tmp_path / "kept.sqlite")
    with pytest.raises(SamnerError, match="cannot be used as a store"):
        Cache(tmp_path)
