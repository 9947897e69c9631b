"""The user's index of large pools: what it saves, and that nothing depends on it."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samner.errors import PoolError, SamnerError
from samner.pool import Cards, ExpertCard, ExpertPool

COUNT = 60


def write(folder: Path, **values: Any) -> None:
    """An expert's folder with a card; its adapter is not asked for."""
    folder.mkdir(exist_ok=True)
    card = {"format": 1, "name": folder.name, "base": "b", "types": ["drug"], "embedding": [0.1, 1 / 3], **values}
    (folder / "expert.json").write_text(json.dumps(card))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pool of 60 cards that the index knows."""
    monkeypatch.setenv("SAMNER_HOME", str(tmp_path / "home"))
    folder = tmp_path / "pool"
    (folder / "experts").mkdir(parents=True)
    (folder / "pool.json").write_text('{"base": "base"}')
    for number in range(COUNT):
        write(folder / "experts" / f"e{number:02}", description=f"No. {number}", embedding=[number / 7, 0.5])
    time.sleep(0.15)  # what changed just now is not trusted to its times
    assert len(ExpertPool(folder).experts) == COUNT
    return folder


@pytest.fixture
def index(folder: Path, tmp_path: Path) -> Path:
    return tmp_path / "home" / "cards.sqlite"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of experts whose cards are read from their folders."""
    names: list[str] = []
    original = ExpertCard.read

    def reading(folder: Path) -> ExpertCard:
        names.append(folder.name)
        return original(folder)

    monkeypatch.setattr(ExpertCard, "read", reading)
    return names


def truth(folder: Path) -> dict[str, ExpertCard]:
    return {path.name: ExpertCard.read(path) for path in sorted((folder / "experts").iterdir())}


def test_another_process_need_not_read_them(folder: Path, index: Path, read: list[str]) -> None:
    experts = ExpertPool(folder).experts
    assert experts["e03"].description == "No. 3" and experts["e03"].embedding == (3 / 7, 0.5)
    assert list(experts) == sorted(experts)
    encoder, vector = experts.embeddings()["e05"]
    assert encoder == experts["e05"].embedding_model
    np.testing.assert_array_equal(vector, experts["e05"].vector)
    assert read == []
    assert experts == truth(folder)
    assert index.is_file()
    assert {path.name for path in folder.iterdir()} == {"experts", "pool.json"}  # nothing of it is in the pool


def test_cards_are_the_same_ones_as_long_as_they_do_not_change(folder: Path) -> None:
    pool = ExpertPool(folder)
    assert pool.experts["e00"] is pool.experts["e00"]


@pytest.mark.skipif(os.name == "nt", reason="there, the time of change is that of creation")
def test_a_card_edited_by_hand_is_read_anew_even_if_size_and_time_are_as_before(folder: Path, read: list[str]) -> None:
    path = folder / "experts" / "e07" / "expert.json"
    status = path.stat()
    path.write_text(path.read_text().replace("No. 7", "No. 8"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ExpertPool(folder).experts["e07"].description == "No. 8"
    assert read == ["e07"]


def test_experts_come_and_go_by_hand(folder: Path, index: Path, read: list[str]) -> None:
    pool = ExpertPool(folder)
    assert "e01" in pool.experts
    shutil.rmtree(folder / "experts" / "e01")
    write(folder / "experts" / "e99")
    for opened in (pool, ExpertPool(folder)):
        assert list(opened.experts) == list(opened.names) == [f"e{n:02}" for n in range(COUNT) if n != 1] + ["e99"]
    assert set(read) == {"e99"}
    with sqlite3.connect(index) as file:
        assert not file.execute("SELECT * FROM cards WHERE name='e01'").fetchall()


def test_a_renamed_folder_is_found_out(folder: Path) -> None:
    (folder / "experts" / "e01").rename(folder / "experts" / "other")
    with pytest.raises(PoolError, match="is named 'e01', its folder 'other'"):
        _ = ExpertPool(folder).experts


def test_a_card_that_is_broken_since_is_an_error(folder: Path) -> None:
    (folder / "experts" / "e01" / "expert.json").write_text("{")
    with pytest.raises(PoolError, match=r"e01.expert\.json: not valid JSON"):
        _ = ExpertPool(folder).experts
    (folder / "experts" / "e01" / "expert.json").unlink()
    with pytest.raises(PoolError, match=r"e01.expert\.json: no such file"):
        _ = ExpertPool(folder).experts


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"not a database, but long enough to be taken for one" * 100),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes().replace(b"No. 7", b"No. 8")),
        lambda path: path.write_bytes(path.read_bytes().replace(b"[0.0]", b"[0.0[")),
        lambda path: path.unlink(),
        lambda path: change(path, "PRAGMA user_version=7"),
        lambda path: change(path, "DROP TABLE cards"),
        lambda path: change(path, "UPDATE cards SET card='text', embedding=NULL"),
    ],
)
def test_a_damaged_index_or_one_of_another_version_is_made_anew(
    folder: Path, index: Path, damage: Callable[[Path], None], read: list[str]
) -> None:
    expected = truth(folder)
    damage(index)
    assert ExpertPool(folder).experts == expected
    assert ExpertPool(folder).experts == expected  # what was found damaged is away by now, if not before
    read.clear()
    assert ExpertPool(folder).experts == expected
    assert read == []


def test_damage_to_the_names_in_the_index_is_found_out(folder: Path, index: Path, read: list[str]) -> None:
    sound = index.read_bytes()
    for column, value in (
        (b"name TEXT", b"n\xceme TEXT"),
        (b"stamp TEXT", b"stumn TEXT"),
        (b"stamp TEXT", b"st\xcemp TEXT"),
    ):
        index.write_bytes(sound.replace(column, value, 1))
        for _ in range(2):
            assert len(ExpertPool(folder).experts) == COUNT
        read.clear()
        assert len(ExpertPool(folder).experts) == COUNT
        assert read == []


def test_a_pool_whose_path_is_not_text_is_read_without_the_index(folder: Path, tmp_path: Path) -> None:
    odd = tmp_path / os.fsdecode(b"p\xffool")
    try:
        folder.rename(odd)
    except OSError:
        pytest.skip("this file system takes no such name")
    time.sleep(0.15)
    assert len(ExpertPool(odd).experts) == COUNT


def change(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as file:
        file.execute(statement)


def test_without_a_place_for_the_index_pools_are_read_as_ever(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    for home in (tmp_path / "file", tmp_path / "file" / "below", "~nobody-of-that-name"):
        monkeypatch.setenv("SAMNER_HOME", str(home))
        assert len(ExpertPool(folder).experts) == COUNT


def test_an_index_that_another_process_holds_is_not_waited_for_long(
    folder: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("samner.pool.index._WAIT", 0.05)
    with sqlite3.connect(index, isolation_level=None) as other:
        other.execute("BEGIN EXCLUSIVE")
        write(folder / "experts" / "new")
        assert len(ExpertPool(folder).experts) == COUNT + 1
        other.execute("ROLLBACK")


def test_several_use_it_at_once(folder: Path, index: Path) -> None:
    """Some read, some add and remove, each by a pool object of its own; the index is taken away meanwhile."""

    def use(number: int) -> int:
        for turn in range(4):
            name = f"n{number}"
            if number % 2:
                write(folder / f".{name}", name=name)
                (folder / f".{name}").rename(folder / "experts" / name)
            elif not number:
                index.unlink(missing_ok=True)
            experts = ExpertPool(folder).experts
            assert set(experts) >= {f"e{n:02}" for n in range(COUNT)}
            assert experts[f"e{turn:02}"].description == f"No. {turn}"
            if number % 2:
                assert experts[name].name == name
                (folder / "experts" / name).rename(folder / f".{name}")  # whole or not at all, as pools remove them
                shutil.rmtree(folder / f".{name}")
        return number

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(use, range(8))) == list(range(8))
    assert ExpertPool(folder).experts == truth(folder)


def test_small_pools_leave_nothing_there_and_pools_that_are_gone_are_forgotten(
    folder: Path, index: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    for number in range(20):
        shutil.rmtree(other / "experts" / f"e{number:02}")
    assert len(ExpertPool(other).experts) == COUNT - 20
    assert pools(index) == {str(folder)}
    for number in range(30):
        write(other / "experts" / f"f{number:02}")
    time.sleep(0.15)
    assert len(ExpertPool(other).experts) == COUNT + 10
    assert pools(index) == {str(folder), str(other)}
    shutil.rmtree(folder)
    write(other / "experts" / "g")
    assert len(ExpertPool(other).experts) == COUNT + 11
    assert pools(index) == {str(other)}


def pools(index: Path) -> set[str]:
    with sqlite3.connect(index) as file:
        return {pool for (pool,) in file.execute("SELECT DISTINCT pool FROM cards")}


@pytest.mark.skipif(os.name == "nt", reason="needs links")
def test_links_are_followed_in_the_hubs_cache_and_nowhere_else(
    folder: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / ("0" * 40)
    shutil.copytree(folder, snapshot)
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir()
    for card in sorted(snapshot.glob("experts/*/expert.json")):
        card.rename(blobs / card.parent.name)
        card.symlink_to(blobs / card.parent.name)
    time.sleep(0.15)
    assert len(ExpertPool(snapshot).experts) == COUNT
    read.clear()
    assert len(ExpertPool(snapshot).experts) == COUNT
    assert read == []
    (snapshot / "experts" / "e00" / "expert.json").unlink()
    (snapshot / "experts" / "e00" / "expert.json").symlink_to(folder / "experts" / "e00" / "expert.json")
    with pytest.raises(SamnerError, match="leads outside"):
        _ = ExpertPool(snapshot).experts


def test_cards_are_a_mapping(folder: Path) -> None:
    experts = ExpertPool(folder).experts
    assert Cards.of(experts) is experts
    rest = experts.without({"e00", "nobody"})
    assert list(rest) == list(experts)[1:] and "e00" not in rest and rest["e01"] is experts["e01"]
    assert repr(rest).startswith("{'e01': ExpertCard(")
    assert repr(ExpertPool(folder)) == "<ExpertPool pool of 60 experts>"
