"""What the training of the built-in pool is asked in vain, and what it says of a base."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from studies.train_builtin_pool import main


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        (["choose"], "choose: name the pools to choose from"),
        (["assemble", "news"], "this stage takes no names"),
        (["expert", "nobody"], "no 'nobody' in .*; there is: biomedical, "),
    ],
)
def test_a_wrong_name_is_told_before_anything_is_read(stage, said, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train_builtin_pool", "--data", str(tmp_path / "none"), *stage])
    with pytest.raises(SystemExit):
        main()
    assert re.search(said, capsys.readouterr().err)


def test_what_taught_a_base_is_written_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train, card = tmp_path / "data/wide/trials/train.jsonl", tmp_path / "pool/base/base.json"
    for path in (train, card):
        path.parent.mkdir(parents=True)
    train.write_text('{"text": "Aspirin helps.", "entities": [{"start": 0, "end": 7, "label": "drug"}]}\n')
    before = {"threshold": 0.1, "data": [{"name": "wide/trials"}, {"name": "foundation/wordnet"}]}
    card.write_text(json.dumps(before))
    given = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "pool"), "taught"]
    monkeypatch.setattr("sys.argv", ["train_builtin_pool", *given])
    main()
    assert json.loads(card.read_text()) == before | {"taught": {"wide/trials": ["drug"]}}
