"""Errors a user can act on. The command line prints their message as one line and exits with 2."""

from __future__ import annotations

from samner.display import cut, printable


class SamnerError(Exception):
    """Base of every error samner raises on purpose; its message names what is wrong and what would be right.

    Messages quote files of others: they are shown without control characters, and at an ordinary length.
    """

    def __str__(self) -> str:
        return printable(cut(super().__str__()))


class DataError(SamnerError):
    """Labelled or unlabelled text that cannot be read as it stands; names the file, the line and the reason."""


class ModelError(SamnerError):
    """A base model, adapter or saved task model that is missing, damaged or of another base."""


class HubError(SamnerError):
    """A repository of the model hub that cannot be read or written as asked."""


class PoolError(SamnerError):
    """A pool of experts that cannot be read or changed as asked."""
