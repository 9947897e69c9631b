"""Verbs on a full disk, or in a read-only folder: one clear line, and nothing that was not there before."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from samner import ExpertPool
from samner.files import sha256
from tests.reliability.processes import forked, is_one_line, samner, warm
from tests.reliability.tiny import LABELS, TEXTS, copied, make_expert

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(1800)]

ROOM = [0, 4, 16, 40, 100, 200]
"""Kilobytes that are left: some are enough for the first of several files."""
VERBS = ["train", "adapt", "merge", "export", "pool add", "pool remove", "extract"]


@pytest.fixture
def disk(as_root: None, tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="module")
def verbs(
    pool_folder: Path, model_folder: Path, texts_file: Path, tmp_path_factory: Any
) -> dict[str, Callable[[Path], list[object]]]:
    root = tmp_path_factory.mktemp("disks")
    source = make_expert(ExpertPool(pool_folder), root / "added", seed=9)
    labelled = root / "labelled.jsonl"
    rows = [{"text": t, "entities": [{"start": 4, "end": t.index(" flows"), "label": "river"}]} for t in TEXTS]
    labelled.write_text("".join(json.dumps(row) + "\n" for row in rows))
    many = root / "many.jsonl"
    many.write_text(texts_file.read_text() * 60)
    warm(["select", texts_file, "--labels", ",".join(LABELS), "--pool", pool_folder])
    labels = ["--labels", ",".join(LABELS), "--pool", pool_folder]
    merged = ["merge", "--pool", pool_folder, "east", "west", "--to", "delta"]
    train = ["train", labelled, "--pool", pool_folder, "--name", "new", "--option", "steps=4"]
    return {
        "train": lambda p: [*train, "-o", p / "new"],
        "adapt": lambda p: ["adapt", texts_file, *labels, "-o", p / "model"],
        "merge": lambda p: [*merged, "-o", p / "merged"],
        "export": lambda p: ["export", model_folder, "--to", "fused", "-o", p / "exported"],
        "pool add": lambda p: ["pool", "add", p / "pool", source],
        "pool remove": lambda p: ["pool", "remove", p / "pool", "east"],
        "extract": lambda p: ["extract", many, "--model", model_folder, "-o", p / "out.jsonl"],
    }


def _state(place: Path) -> dict[str, str]:
    return {p.relative_to(place).as_posix(): sha256(p) if p.is_file() else "" for p in sorted(place.rglob("*"))}


@pytest.mark.parametrize("name", VERBS)
def test_a_full_disk(name: str, disk: Path, verbs: Any, pool_folder: Path, tally: Any, tmp_path: Path) -> None:
    row = tally(f"`samner {name}` on a full disk")
    for kilobytes in ROOM:
        if name.startswith("pool"):
            copied(pool_folder, disk / "pool")
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "full").write_bytes(bytes(max(0, free - 1024 * kilobytes)))
        before = _state(disk)
        ended = forked(samner(*verbs[name](disk)), tmp_path / "errors")
        after = _state(disk)
        row.done()
        if ended.code == 0:  # it was not too full
            _clear(disk)
            continue
        if ended.code != 2 or not is_one_line(ended.said):
            row.failed("no clear line", f"{kilobytes} kB, {ended.code}: {ended.said[-800:]}")
        # what a later run goes on with is no half of a result
        left = {path: digest for path, digest in after.items() if not path.startswith(("new.run", "out.jsonl.part"))}
        if left != before:
            row.failed("something left", sorted(left.items() ^ before.items())[:3])
        _clear(disk)


@pytest.mark.parametrize("name", VERBS)
def test_a_read_only_folder(name: str, disk: Path, verbs: Any, pool_folder: Path, tally: Any, tmp_path: Path) -> None:
    row = tally(f"`samner {name}` in a read-only folder")
    if name.startswith("pool"):
        copied(pool_folder, disk / "pool")
    before = _state(disk)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    ended = forked(samner(*verbs[name](disk)), tmp_path / "errors")
    row.done()
    if ended.code != 2 or not is_one_line(ended.said):
        row.failed("no clear line", f"{ended.code}: {ended.said[-800:]}")
    if _state(disk) != before:
        row.failed("something changed")


def _clear(disk: Path) -> None:
    for path in sorted(disk.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
