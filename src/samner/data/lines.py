"""Lines of UTF-8 text from files or standard input, and back."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

from samner.data.validation import check_example, located
from samner.entities import Example
from samner.errors import DataError
from samner.files import atomic_file

STANDARD_STREAM = Path("-")
"""The path that means standard input where something is read, standard output where it is written."""


def source_name(path: Path) -> str:
    """What error messages call the file that is read."""
    return "standard input" if path == STANDARD_STREAM else str(path)


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and content of every line, without its end and without a byte order mark.

    Raises:
        DataError: If the file cannot be opened, or a line is not UTF-8.
    """
    with _open(path) as handle:
        # bytes, because they split at "\n" only, where str.splitlines also splits at U+2028 and others,
        # and because decoding by line tells which line is at fault
        for number, line in enumerate(handle, start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                content = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{source_name(path)}:{number}: not UTF-8 (byte 0x{line[error.start]:02x} at position "
                    f"{error.start + 1}); convert the file to UTF-8 first"
                ) from error
            yield number, content.removesuffix("\n").removesuffix("\r")


def write_text(examples: Iterable[Example], path: Path, encode: Callable[[Example], str]) -> None:
    """Check examples and write what ``encode`` makes of each.

    Raises:
        DataError: If an example is not valid, ``encode`` refuses it, or the file cannot be written.
    """
    if path == STANDARD_STREAM:
        sys.stdout.flush()
        for chunk in _chunks(examples, "standard output", encode):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    try:
        with atomic_file(path) as temporary, temporary.open("wb") as handle:
            handle.writelines(_chunks(examples, str(path), encode))
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def _chunks(examples: Iterable[Example], name: str, encode: Callable[[Example], str]) -> Iterator[bytes]:
    for number, example in enumerate(examples, start=1):
        with located(f"{name}: example {number}"):
            check_example(example)
            chunk = encode(example).encode("utf-8")
        if number == 1 and chunk.startswith(codecs.BOM_UTF8):
            # a text may begin with U+FEFF; readers drop one, so that it needs one more
            chunk = codecs.BOM_UTF8 + chunk
        yield chunk


def _open(path: Path) -> AbstractContextManager[BinaryIO]:
    if path == STANDARD_STREAM:
        return nullcontext(sys.stdin.buffer)
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
