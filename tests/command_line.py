"""The command line in this process."""

from __future__ import annotations

from typer.testing import CliRunner, Result


def samner(*arguments: object, stdin: str | bytes | None = None) -> Result:
    """Run ``samner`` with some arguments.

    Raises:
        BaseException: What a user would see as a traceback.
    """
    from samner.cli.app import app

    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def done(*arguments: object) -> str:
    """What a run that goes well writes to standard output."""
    result = samner(*arguments)
    assert result.exit_code == 0, result.stderr
    return result.stdout
