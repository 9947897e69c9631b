"""Files and standard input as lines or bytes: opened once, decompressed, looked into before they are read."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from samner.data.validation import check_example, located
from samner.entities import Example
from samner.errors import DataError
from samner.files import atomic_file

STANDARD_STREAM = Path("-")
"""The path that means standard input where something is read, standard output where it is written."""

COMPRESSED = (".gz", ".bz2", ".xz", ".zst")

_HEAD = 1 << 16
_NOT_TEXT = {
    b"%PDF-": "a PDF; save its text as .txt",
    b"PK\x03\x04": "a zip archive, as .docx and .xlsx are; unpack it, or save a workbook as CSV",
    b"\xd0\xcf\x11\xe0": "a file of an old Office; save it as text or CSV",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"Rar!": "a rar archive; unpack it",
    b"{\\rtf": "RTF; save it as .txt",
    b"%!PS": "PostScript; save its text as .txt",
    b"\x1f\x8b": "compressed twice; unpack it once",
    b"BZh9": "compressed twice; unpack it once",
    b"\xfd7zXZ\0": "compressed twice; unpack it once",
    b"\x28\xb5\x2f\xfd": "compressed twice; unpack it once",
    b"\x04\x22\x4d\x18": "compressed by lz4; unpack it, or compress it by gzip, bzip2, xz or zstd",
    b"\x5d\0\0": "compressed by LZMA; unpack it, or compress it by gzip, bzip2, xz or zstd",
    b"\x1f\x9d": "compressed by compress (.Z); unpack it, or compress it by gzip, bzip2, xz or zstd",
    b"Obj\x01": "Avro; convert it to Parquet or JSON Lines",
    b"\x93NUMPY": "an array of numpy; save it as JSON Lines",
    b"\x89HDF": "HDF5; convert it to Parquet or JSON Lines",
    b"SQLite format 3": "an SQLite data base; export a table as CSV",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"\x80\x03": "a Python pickle, which can run code when it is opened; save it as JSON Lines",
    b"\x80\x04": "a Python pickle, which can run code when it is opened; save it as JSON Lines",
    b"\x80\x05": "a Python pickle, which can run code when it is opened; save it as JSON Lines",
}


def source_name(path: Path) -> str:
    """What error messages call the file that is read."""
    return "standard input" if path == STANDARD_STREAM else str(path)


def content_suffix(path: Path) -> str:
    """The suffix that tells the format, in lower case: that before ``.gz`` and its like."""
    return (path.with_suffix("") if path.suffix.lower() in COMPRESSED else path).suffix.lower()


class Source:
    """What is read: a file or standard input, opened once, or a folder.

    Args:
        path: Of it; ``-`` is standard input.

    Raises:
        DataError: If it is missing or cannot be opened or decompressed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = source_name(path)
        self.suffix = content_suffix(path)
        self.head = b""
        """Its first bytes: at least a line, if there is one."""
        self.problems: list[str] | None = None
        """Takes what is wrong with single texts, if reading is to go on after it."""
        self._errors: tuple[type[Exception], ...] = (EOFError, zlib.error, lzma.LZMAError)
        if path != STANDARD_STREAM and not path.exists():
            raise DataError(f"{self.name}: no such file or folder")
        self.is_folder = path != STANDARD_STREAM and path.is_dir()
        if not self.is_folder:
            with self._reading():
                self._stream = self._open()
                # a pipe is not waited for once a line has come
                while len(self.head) < _HEAD and b"\n" not in self.head and (more := self._stream.read1(_HEAD)):
                    self.head += more
            if self.head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                self._from_utf16()

    def text_head(self) -> str:
        """The first part as text, whole lines if there is one; what is not UTF-8 is replaced."""
        head = self.head.removeprefix(codecs.BOM_UTF8)
        return head[: head.rfind(b"\n") + 1 or None].decode("utf-8", "replace")

    def lines(self) -> Iterator[tuple[int, str]]:
        """Number (from 1) and content of every line, without its end and without a byte order mark.

        Raises:
            DataError: If it is no text, or a line is not UTF-8.
        """
        return ((number, line.removesuffix("\n").removesuffix("\r")) for number, line in self.whole_lines())

    def whole_lines(self) -> Iterator[tuple[int, str]]:
        """As :meth:`lines`, each with its end."""
        self._check_text()
        # bytes, because they split at "\n" only, where str.splitlines also splits at U+2028 and others,
        # and because decoding by line tells which line is at fault
        for number, line in enumerate(self._byte_lines(), start=1):
            if number == 1:
                line = line.removeprefix(codecs.BOM_UTF8)
            try:
                content = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{self.name}:{number}: not UTF-8 (byte 0x{line[error.start]:02x} at position "
                    f"{error.start + 1}); convert the file to UTF-8 first"
                ) from error
            yield number, content

    def text(self) -> str:
        """All of it as text."""
        return "".join(line for _, line in self.whole_lines())

    def content(self) -> bytes:
        """All of it."""
        if self.is_folder:
            raise DataError(f"{self.name}: cannot be read (Is a directory)")
        with self._reading():
            return self.head + bytes(self._stream.read())

    @contextmanager
    def seekable(self) -> Iterator[IO[bytes]]:
        """All of it as a file to move about in: the file itself if it is a plain one, else a copy on the disk."""
        if self.is_folder:
            raise DataError(f"{self.name}: cannot be read (Is a directory)")
        if self.path.is_file() and self._stream is self._file:
            self._file.seek(0)
            yield self._file
            return
        with tempfile.TemporaryFile() as copy:
            with self._reading():
                copy.write(self.head)
                shutil.copyfileobj(self._stream, copy)
            copy.seek(0)
            yield copy

    @contextmanager
    def noting(self) -> Iterator[None]:
        """An error inside is noted, if reading is to go on; otherwise it is raised."""
        try:
            yield
        except DataError as error:
            if self.problems is None:
                raise
            self.problems.append(str(error))

    def close(self) -> None:
        """Let go of the file; standard input stays open."""
        if not self.is_folder and self.path != STANDARD_STREAM:
            self._file.close()

    def _byte_lines(self) -> Iterator[bytes]:
        if self.is_folder:
            raise DataError(f"{self.name}: cannot be read (Is a directory)")
        *lines, rest = self.head.split(b"\n")
        yield from (line + b"\n" for line in lines)
        with self._reading():
            rest += self._stream.readline()
        while rest:
            yield rest
            with self._reading():
                rest = self._stream.readline()

    def _check_text(self) -> None:
        for magic, what in _NOT_TEXT.items():
            if self.head.startswith(magic):
                raise DataError(f"{self.name}: is {what}")
        if self.head[257:262] == b"ustar":
            raise DataError(f"{self.name}: is a tar archive; unpack it")
        if re.match(rb"(?:[^\0]\0){4}|(?:\0[^\0]){4}", self.head) or _is_utf16(self.head[:1000]):
            raise DataError(f"{self.name}: looks like UTF-16 without a byte order mark; convert it to UTF-8 first")

    def _from_utf16(self) -> None:
        try:
            self.head = self.content().decode("utf-16").encode("utf-8")
        except UnicodeError as error:
            raise DataError(f"{self.name}: begins like UTF-16 but is not; convert it to UTF-8 first") from error
        self._stream = io.BytesIO()

    def _open(self) -> Any:
        if self.path == STANDARD_STREAM:
            stream: Any = sys.stdin.buffer
        else:
            stream = self._file = self.path.open("rb")
        if not hasattr(stream, "peek"):
            stream = io.BufferedReader(stream)
        magic = stream.peek(6)
        if magic.startswith(b"\x1f\x8b"):
            return gzip.GzipFile(fileobj=stream)
        if re.match(rb"BZh[1-9]1AY", magic):
            return bz2.BZ2File(stream)
        if magic.startswith(b"\xfd7zXZ\0"):
            return lzma.LZMAFile(stream)
        if magic.startswith(b"\x28\xb5\x2f\xfd"):
            zstandard = _zstandard(self.name)
            self._errors = (*self._errors, zstandard.ZstdError)
            return io.BufferedReader(_Zstd(stream, zstandard))
        return stream

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{self.name}: cannot be read ({error.strerror or error})") from error
        except self._errors as error:
            raise DataError(f"{self.name}: is compressed, and damaged or cut off ({error})") from error


class _Zstd(io.RawIOBase):
    """Frames of zstd; unlike zstandard's own reader it does not take what is cut off for the end."""

    def __init__(self, stream: Any, zstandard: Any) -> None:
        self._stream, self._zstandard = stream, zstandard
        self._frame: Any = None
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._waiting:
            chunk = self._frame.unused_data if self._frame and self._frame.eof else b""
            chunk = chunk or self._stream.read1(_HEAD)
            if not chunk:
                if self._frame and not self._frame.eof:
                    raise EOFError("it ends within a frame")
                return 0
            if self._frame is None or self._frame.eof:
                self._frame = self._zstandard.ZstdDecompressor().decompressobj()
            self._waiting = self._frame.decompress(chunk)
        count = min(len(buffer), len(self._waiting))
        buffer[:count], self._waiting = self._waiting[:count], self._waiting[count:]
        return count


def _is_utf16(head: bytes) -> bool:
    """Whether every other byte is of one value or few that no text has: the upper halves of letters of one script."""
    for place in (0, 1):
        upper = head[place::2]
        controls = sum(byte < 9 or 13 < byte < 32 for byte in upper)
        if controls > 4 and controls > 0.8 * len(upper) and not any(byte < 9 for byte in head[1 - place :: 2]):
            return True
    return False


def write_text(
    examples: Iterable[Example],
    path: Path,
    encode: Callable[[Example], str],
    *,
    first: str = "",
    between: str = "",
    last: str = "",
) -> None:
    """Check examples and write what ``encode`` makes of each, compressed where the suffix says so.

    Args:
        examples: What to write.
        path: Of the file, or ``-``.
        encode: One example as text.
        first: Before all of them.
        between: After each but the last.
        last: After all of them.

    Raises:
        DataError: If an example is not valid, ``encode`` refuses it, or the file cannot be written.
    """

    def chunks(name: str) -> Iterator[bytes]:
        yield first.encode()
        for number, example in enumerate(examples, start=1):
            with located(f"{name}: example {number}"):
                check_example(example)
                chunk = encode(example).encode("utf-8")
            if number == 1 and not first and chunk.startswith(codecs.BOM_UTF8):
                # a text may begin with U+FEFF; readers drop one, so that it needs one more
                chunk = codecs.BOM_UTF8 + chunk
            yield between.encode() + chunk if number > 1 else chunk
        yield last.encode()

    if path == STANDARD_STREAM:
        sys.stdout.flush()
        for chunk in chunks("standard output"):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()
        return
    with writing(path) as handle:
        for chunk in chunks(str(path)):
            handle.write(chunk)


@contextmanager
def writing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write bytes to, which appears whole or not at all, compressed where the suffix says so.

    Raises:
        DataError: If it cannot be written.
    """
    try:
        with atomic_file(path) as temporary, temporary.open("wb") as handle, _compressing(path, handle) as target:
            yield target
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def _compressing(path: Path, handle: IO[bytes]) -> Iterator[IO[bytes]]:
    opened: Any
    match path.suffix.lower():
        case ".gz":
            opened = gzip.GzipFile(filename="", mode="wb", fileobj=handle, mtime=0)
        case ".bz2":
            opened = bz2.BZ2File(handle, "wb")
        case ".xz":
            opened = lzma.LZMAFile(handle, "wb")  # noqa: SIM115
        case ".zst":
            opened = _zstandard(str(path)).ZstdCompressor().stream_writer(handle, closefd=False)
        case _:
            yield handle
            return
    with opened:
        yield opened


def _zstandard(name: str) -> Any:
    try:
        import zstandard
    except ImportError as error:
        raise DataError(f"{name}: zstd needs the package zstandard: pip install 'samner[formats]'") from error
    return zstandard
