"""What the training of the built-in pool is asked in vain."""

from __future__ import annotations

import re

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
