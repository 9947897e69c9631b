from __future__ import annotations

from tempfile import TemporaryFile

import pytest

from samner.cli.output import guarded
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
