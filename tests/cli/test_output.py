from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from samner.cli.output import console, guarded, table
from samner.errors import PoolError


@guarded()
def program(error: BaseException | None) -> str:
    if error:
        raise error
    return "done"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PoolError("no pool\nthere"), 2, "error: no pool there\n"),
        (FileNotFoundError(2, "No such file or directory", "data/x.jsonl"), 2, "error: data/x.jsonl: No such file"),
        (OSError(28, "No space left on device", "from.json", None, "to.json"), 2, "error: to.json: No space left"),
        (OSError(28, "No space left on device"), 2, "error: No space left on device\n"),
        (OSError("disk full"), 2, "error: disk full\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_what_a_user_can_act_on_ends_a_program_with_one_line(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # the decorator holds for every call
        with pytest.raises(SystemExit) as ended:
            program(error)
        assert ended.value.code == code
        told = capsys.readouterr()
        assert told.out == "" and told.err.startswith(said) and told.err.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_table_that_cannot_be_written_is_said_to_be_of_standard_output(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = open("/dev/full", "w")  # noqa: SIM115  closing it fails, too
    monkeypatch.setattr("sys.stdout", full)
    with pytest.raises(SystemExit) as ended, guarded():
        console().print(table(["name"], [["news"]]))
    with suppress(OSError):
        full.close()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: standard output: No space left on device\n"


def test_a_bug_is_not_hidden() -> None:
    assert program(None) == "done"
    with pytest.raises(KeyError):
        program(KeyError("x"))


def test_a_pipe_that_nobody_reads_ends_a_program_as_the_shell_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with TemporaryFile("w") as stream:
        monkeypatch.setattr("sys.stdout", stream)
        with pytest.raises(SystemExit) as ended:
            program(BrokenPipeError())
        assert ended.value.code == 141

        @guarded()
        def by_rich() -> None:
            try:
                raise BrokenPipeError
            except BrokenPipeError:
                raise SystemExit(1)  # noqa: B904  as rich's console does

        with pytest.raises(SystemExit) as ended:
            by_rich()
        assert ended.value.code == 141
    with pytest.raises(SystemExit) as ended:
        program(SystemExit(1))
    assert ended.value.code == 1
