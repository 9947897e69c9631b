"""Extraction by a pool of workers, on a cluster of this machine alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from samner.data import read_examples
from samner.errors import SamnerError
from samner.files import sha256
from samner.task_model import TaskModel

ray = pytest.importorskip("ray", reason="Ray is not installed")
pytest.importorskip("ray.data", reason="Ray Data is not installed")
psutil = pytest.importorskip("psutil")

# a cluster takes seconds to start, and each worker loads a model
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SENTENCES = ["Aspirin relieves headache within hours.", "Rovers lost to Harbour City.", "Nothing here."]


@pytest.fixture(scope="module")
def model(tiny_pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model adapted from the tiny pool."""
    from samner import ExpertPool, adapt

    folder = tmp_path_factory.mktemp("adapted") / "model"
    adapt(ExpertPool.load(tiny_pool), SENTENCES, ["drug", "disease", "team"], experts=2).save(folder)
    return folder


@pytest.fixture(scope="module")
def _two_workers() -> Iterator[None]:
    from samner.integrations.ray import connected

    with connected("local", 2):
        yield


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Eight files of twenty texts."""
    folder = tmp_path / "in"
    folder.mkdir()
    for shard in range(8):
        lines = [json.dumps({"id": f"{shard}-{i}", "text": f"{SENTENCES[i % 3]} {shard} {i}"}) for i in range(20)]
        (folder / f"{shard}.jsonl").write_text("\n".join(lines))
    return folder


def workers() -> list[psutil.Process]:
    """The processes of actors."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if "MapWorker" in " ".join(process.cmdline()):
                found.append(process)
    return found


@pytest.mark.usefixtures("_two_workers")
def test_a_column_of_entities(model: Path) -> None:
    from samner.integrations.ray import extract

    given = [{"id": i, "body": text} for i, text in enumerate(SENTENCES)]
    found = extract(ray.data.from_items(given), model, column="body", workers=1, batch_size=2).take_all()
    expected = TaskModel.load(model).inference(SENTENCES)
    assert [row["id"] for row in sorted(found, key=lambda row: row["id"])] == [0, 1, 2]
    for row in found:
        its = [(e["start"], e["end"], e["label"], e["found_by"]) for e in row["entities"]]
        assert its == [(e["start"], e["end"], e["label"], e["found_by"]) for e in expected[row["id"]]]
    assert any(row["entities"] for row in found)


@pytest.mark.usefixtures("_two_workers")
def test_a_worker_that_dies_loses_and_doubles_nothing(model: Path, shards: Path, tmp_path: Path) -> None:
    from samner.integrations.ray import extract_files

    killed = []

    def kill_one(number: int) -> None:
        if number == 1 and not killed:
            [first, *_] = workers()
            first.kill()
            killed.append(first.pid)

    out = tmp_path / "out"
    manifest = extract_files(shards, out, model, workers=2, on_shards=kill_one)
    assert killed and not psutil.pid_exists(killed[0])
    assert manifest["texts"] == 160
    assert sorted(path.name for path in out.iterdir()) == [*(f"{shard}.jsonl" for shard in range(8)), "_samner"]
    read = [example for shard in range(8) for example in read_examples(out / f"{shard}.jsonl")]
    assert [example.id for example in read] == [f"{shard}-{i}" for shard in range(8) for i in range(20)]
    assert sum(len(example.entities) for example in read) == manifest["entities"] > 0
    assert {shard["answers"]["file"]: shard["answers"]["sha256"] for shard in manifest["shards"]} == {
        f"{shard}.jsonl": sha256(out / f"{shard}.jsonl") for shard in range(8)
    }
    asked: list[int] = []
    assert extract_files(shards, out, model, workers=2, on_shards=asked.append) == manifest
    assert asked == [0]
    with pytest.raises(SamnerError, match="holds answers of a run with other thresholds"):
        extract_files(shards, out, model, threshold=0.9)


@pytest.mark.usefixtures("_two_workers")
def test_one_file_that_cannot_be_read_stops_no_other(model: Path, shards: Path, tmp_path: Path) -> None:
    from samner.integrations.ray import extract_files

    (shards / "3.jsonl").write_text('{"text": ')
    with pytest.raises(SamnerError, match=r"3\.jsonl:1: not valid JSON.*all other shards are done"):
        extract_files(shards, tmp_path / "out", model, workers=1)
    assert len(list((tmp_path / "out").glob("*.jsonl"))) == 7


def test_arguments_are_checked_before_the_work(model: Path, shards: Path, tmp_path: Path) -> None:
    from samner.integrations.ray import extract_files

    with pytest.raises(SamnerError, match="unknown mode 'both'"):
        extract_files(shards, tmp_path / "out", model, mode="both")
    assert not (tmp_path / "out").exists()
