from __future__ import annotations

import sys

import pytest

from samner.progress import Progress


def test_a_line_for_each_tenth_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(lines=True) as show:
        for done in range(1, 21):
            show("merging", done, 20)
        advance = show.counter("reading", 3000)
        advance(2999, "news")
        advance(1)
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert lines[0] == "merging: 2 of 20" and len(lines) == 12
    assert lines[-2:] == ["reading: 2,999 of 3,000 (news)", "reading: 3,000 of 3,000"]


@pytest.mark.parametrize("options", [{}, {"quiet": True, "lines": True}])
def test_else_nothing(capsys: pytest.CaptureFixture[str], options: dict[str, bool]) -> None:
    with Progress(**options) as show:
        show("merging", 1, 1)
    assert capsys.readouterr().err == ""


def test_bars_on_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with Progress() as show:
        show("merging [x]", 1, 2, "half")
    said = capsys.readouterr()
    assert said.out == "" and "merging [x]" in said.err and "50%" in said.err and "half" in said.err
