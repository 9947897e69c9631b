"""Answers of many files, a shard each, without the machines."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from samner.data import read_examples
from samner.entities import EntityType
from samner.errors import SamnerError
from samner.files import sha256
from samner.integrations.shards import Job
from samner.recogniser import Merge
from samner.task_model import TaskModel

pa = pytest.importorskip("pyarrow")
TEXT = "Aspirin relieves headache"


@pytest.fixture
def model(lookup_backbone, tmp_path: Path) -> TaskModel:
    """Finds the drug."""
    backbone = lookup_backbone({"m": {"Aspirin": "drug"}})
    merges = {"similarity": Merge({"a": 1.0}, "m")}
    return TaskModel(backbone, tmp_path, (EntityType("drug"),), "similarity", merges, {}, {}, threshold=0.5)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Three shards of three formats."""
    import pyarrow.parquet

    folder = tmp_path / "in" / "more"
    folder.mkdir(parents=True)
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(json.dumps({"id": 1, "text": TEXT}).encode()))
    (folder.parent / "b.txt").write_text(f"{TEXT}\nnothing\n")
    pyarrow.parquet.write_table(pa.table({"id": [1, 2], "text": [TEXT, ""]}), folder.parent / "c.parquet")
    (folder.parent / "_hidden.txt").write_text("no text of it")
    return Job(str(folder.parent), str(tmp_path / "out"), "model", (("drug", ""),))


def test_every_shard_has_its_answers(job: Job, model: TaskModel) -> None:
    assert job.todo(model) == ["b.txt", "c.parquet", "more/a.jsonl.gz"]
    for name in job.todo(model):
        job.do(name, model)
    out = Path(job.out)
    found = {name: read_examples(out / name) for name in ("b.txt.jsonl", "c.parquet", "more/a.jsonl.gz")}
    assert {name: [len(example.entities) for example in its] for name, its in found.items()} == {
        "b.txt.jsonl": [1, 0],
        "c.parquet": [1, 0],
        "more/a.jsonl.gz": [1],
    }
    assert [example.id for example in found["c.parquet"]] == [1, 2]
    manifest = job.finish()
    assert manifest == json.loads((out / "_samner" / "manifest.json").read_text()) | {"labels": (("drug", ""),)}
    assert (manifest["texts"], manifest["entities"], len(manifest["shards"])) == (5, 3, 3)
    for shard in manifest["shards"]:
        assert shard["sha256"] == sha256(Path(job.source) / shard["shard"])
        assert shard["answers"]["sha256"] == sha256(out / shard["answers"]["file"])


def test_what_is_done_is_not_done_again(job: Job, model: TaskModel) -> None:
    first, *others = job.todo(model)
    record = job.do(first, model)
    asked = len(model.backbone.calls)
    assert job.todo(model) == others
    assert job.do(first, model) == record  # asked anew, as a worker died that had just done it
    assert len(model.backbone.calls) == asked
    assert job.finish()["shards"] == [record]


def test_a_shard_without_a_record_is_done_again(job: Job, model: TaskModel) -> None:
    name = job.todo(model)[0]
    job.do(name, model)
    (Path(job.out) / "_samner" / "shards" / f"{name}.json").unlink()
    left = [Path(job.out) / f".{file}.abcd_123" for file in ("b.txt.jsonl", "b.txt.jsonl.gz")]
    for path in left:  # by a worker that died while it wrote; and of another shard, which may be at work
        path.touch()
    assert name in job.todo(model)
    job.do(name, model)
    assert len(read_examples(Path(job.out) / "b.txt.jsonl")) == 2
    assert [path.exists() for path in left] == [False, True]


def test_in_an_object_store(job: Job, model: TaskModel) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    for name in ("b.txt", "c.parquet"):
        store.pipe(f"/texts/{name}", (Path(job.source) / name).read_bytes())
    far = replace(job, source="memory://texts", out="memory://answers", to="parquet")
    for name in far.todo(model):
        far.do(name, model)
    assert far.todo(model) == []
    assert [shard["answers"]["file"] for shard in far.finish()["shards"]] == ["b.txt.parquet", "c.parquet"]
    assert not [path for path in store.find("/answers") if "/." in path]
    one = replace(job, source="memory://texts/b.txt", out="memory://others")
    assert one.todo(model) == ["b.txt"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda job: replace(job, threshold=0.4), "holds answers of a run with other thresholds; name a new folder"),
        (lambda job: replace(job, labels=(("dose", ""),)), "holds answers of a run with other labels"),
        (lambda job: replace(job, overlaps="all"), "holds answers of a run with other model or settings"),
        (lambda job: replace(job, to="parquet"), "holds answers of a run with other format of answers"),
        (lambda job: replace(job, to="csv"), "answers of shards are written as jsonl, parquet, arrow, not as 'csv'"),
        (lambda job: replace(job, out=f"{job.source}/out"), "which is read; name another folder for answers"),
        (lambda job: replace(job, out=str(Path(job.source).parent)), "holds other files; name a new folder"),
        (lambda job: replace(job, source=f"{job.source}/none"), "none: holds no file of texts"),
        (lambda job: replace(job, source="nowhere://texts"), "nowhere://texts: cannot be read or written"),
    ],
)
def test_other_jobs_are_refused(job: Job, model: TaskModel, change, message: str) -> None:
    job.do(job.todo(model)[0], model)
    with pytest.raises(SamnerError) as caught:
        change(job).todo(model)
    assert message in str(caught.value)


def test_changed_files_are_refused(job: Job, model: TaskModel) -> None:
    job.do(job.todo(model)[0], model)
    text = Path(job.source) / "b.txt"
    text.write_text(text.read_text())  # only its time is another
    assert len(job.todo(model)) == 2
    text.write_text("another")
    with pytest.raises(SamnerError, match=r"b\.txt was changed since it was answered"):
        job.todo(model)
    text.unlink()
    with pytest.raises(SamnerError, match=r"b\.txt is gone, of which"):
        job.todo(model)


def test_changed_answers_are_told(job: Job, model: TaskModel) -> None:
    job.do(job.todo(model)[0], model)
    (Path(job.out) / "b.txt.jsonl").write_text("")
    with pytest.raises(SamnerError, match=r"b\.txt\.jsonl is gone or was changed; remove _samner/shards/b\.txt\.json"):
        job.todo(model)


def test_two_files_of_one_name_are_refused(job: Job, model: TaskModel) -> None:
    (Path(job.source) / "b.txt.jsonl").write_text('{"text": "a"}')
    with pytest.raises(SamnerError, match=r"the answers of two files would both be b\.txt\.jsonl"):
        job.todo(model)


def test_what_cannot_be_read_is_told_and_leaves_nothing(job: Job, model: TaskModel) -> None:
    bad = Path(job.source) / "c.parquet"
    bad.write_bytes(bad.read_bytes()[:-9])
    job.todo(model)
    with pytest.raises(SamnerError, match=r"c\.parquet: cannot be read as Parquet") as caught:
        job.do("c.parquet", model)
    assert not (Path(job.out) / "c.parquet").exists()
    with pytest.raises(SamnerError, match="all other shards are done, and the same command does the rest"):
        job.finish([str(caught.value)])
