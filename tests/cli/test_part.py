from __future__ import annotations

import pytest

from samner.cli.part import PartFile
from samner.errors import SamnerError


def test_lines_become_the_file_at_the_end(tmp_path):
    part = PartFile(tmp_path / "out.jsonl", "run 1")
    part.append("a\nb\n")
    part.append("é\n")
    assert not part.out.exists()
    part.finish()
    assert part.out.read_bytes() == "a\nb\né\n".encode()
    assert list(tmp_path.iterdir()) == [part.out]


def test_resume_keeps_whole_batches(tmp_path):
    PartFile(tmp_path / "out", "run 1").append("a\nb\nc\nd")
    part = PartFile(tmp_path / "out", "run 1")
    assert part.resume({2, 4, 6}) == 2
    part.append("C\nD\n")
    part.finish()
    assert part.out.read_text() == "a\nb\nC\nD\n"


def test_resume_with_nothing_there(tmp_path):
    part = PartFile(tmp_path / "out", "run 1")
    assert part.resume({1}) == 0
    part.append("a\n")
    part.finish()
    assert part.out.read_text() == "a\n"


def test_resume_of_another_run_is_refused(tmp_path):
    PartFile(tmp_path / "out", "run 1").append("a\n")
    with pytest.raises(SamnerError, match=r"out\.part is of other texts.*leave out --resume"):
        PartFile(tmp_path / "out", "run 2").resume({1})


def test_without_resume_it_begins_anew(tmp_path):
    PartFile(tmp_path / "out", "run 1").append("a\n")
    part = PartFile(tmp_path / "out", "run 2")
    part.append("b\n")
    part.finish()
    assert part.out.read_text() == "b\n"
