"""Which sets teach the small GLiNER2 model."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("gliner2")

from studies.gliner2 import base

LINE = '{"text": "Aspirin helps.", "entities": [{"start": 0, "end": 7, "label": "drug"}]}\n'


@pytest.mark.parametrize("made", [False, True])
def test_what_was_made_teaches_where_its_folder_is_given(
    made: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("data/wide/trials", "runs/foundation/wordnet"):
        (tmp_path / name).mkdir(parents=True)
        for split in ("train", "dev"):
            (tmp_path / name / f"{split}.jsonl").write_text(LINE)
    lesson = tmp_path / "lesson.yaml"
    lesson.write_text("foundation: {wide/trials: {weight: 3}, foundation/wordnet: {}}\n")
    monkeypatch.setattr(base, "LESSON", lesson)
    train, dev = base.lessons(tmp_path / "data", tmp_path / "runs" if made else None)
    expected = {"wide/trials": 3} | ({"foundation/wordnet": 1} if made else {})
    assert {one.name: one.weight for one in train} == expected
    assert [one.name for one in dev] == list(expected)
