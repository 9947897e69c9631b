"""What a file is, before its format: compressed, in another encoding, no text at all, a pipe."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from samner.data import iter_texts, read_examples, read_texts, write_examples
from samner.entities import Entity, Example
from samner.errors import DataError

ROME = Example("in Rome", (Entity(3, 7, "city"),), {"id": 1})
LINE = b'{"text": "in Rome", "entities": [{"start": 3, "end": 7, "label": "city", "text": "Rome"}], "id": 1}\n'


def zstd(content: bytes) -> bytes:
    compressed: bytes = pytest.importorskip("zstandard").compress(content)
    return compressed


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)]
)
def test_compressed_files_are_read_and_written(tmp_path: Path, suffix: str, compress: Any) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(compress(LINE))
    assert read_examples(path) == read_examples(path, "jsonl") == [ROME]
    path.write_bytes(compress(LINE) + compress(LINE))  # as cat joins them
    assert read_examples(path) == [ROME, ROME]
    write_examples([ROME], path)
    assert path.read_bytes() != LINE and read_examples(path) == [ROME]
    path.write_bytes(compress(LINE * 50)[:-9])
    with pytest.raises(DataError, match=rf"{path.name}: is compressed, and damaged or cut off|cannot be read"):
        read_examples(path)
    text = tmp_path / f"A.TXT{suffix}"
    text.write_bytes(compress(b"one\ntwo"))
    assert read_texts(text) == ["one", "two"]
    text.rename(tmp_path / "any")  # the content tells
    assert read_texts(tmp_path / "any") == ["one", "two"]


def test_zstd_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    (tmp_path / "a.zst").write_bytes(b"\x28\xb5\x2f\xfd\x00")
    with pytest.raises(DataError, match="zstd needs the package zstandard: pip install"):
        read_texts(tmp_path / "a.zst")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PK\x03\x04\x14", "a zip archive, as .docx and .xlsx are"),
        (b"%PDF-1.7\n", "a PDF"),
        (rb"{\rtf1 Bo}", "RTF"),
        (gzip.compress(gzip.compress(b"Bo", mtime=0), mtime=0), "compressed twice"),
        (b"\x04\x22\x4d\x18Bo", "compressed by lz4"),
        (b"Obj\x01\x00", "Avro"),
        (b"\x80\x04\x95", "a Python pickle, which can run code"),
        (gzip.compress(b"a.txt" + bytes(252) + b"ustar", mtime=0), "a tar archive"),
        (b"<?xml version='1.0'?>\n<collection/>", "XML or HTML"),
        (b"12|t|A title\n12|a|Text\n", "PubTator"),
        (b"#FORMAT=WebAnno TSV 3\n", "WebAnno TSV"),
    ],
)
@pytest.mark.parametrize("name", ["a", "a.txt", "a.jsonl"])
def test_what_is_no_text_is_called_by_its_name(tmp_path: Path, content: bytes, what: str, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_texts(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: is {what}")


@pytest.mark.parametrize("text", ["Пётр живёт в Осло", "東京に住んでいる人", "Bo saw Oslo"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_no_text(tmp_path: Path, text: str, encoding: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match="UTF-16 without a byte order mark|not UTF-8"):
        read_texts(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_windows_encodings(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a"
    path.write_bytes("één\r\ntwee\r\n".encode(encoding))
    assert read_texts(path) == ["één", "twee"]
    path.write_bytes("a".encode("utf-16") + b"\x00")
    with pytest.raises(DataError, match="begins like UTF-16 but is not"):
        read_texts(path)


@pytest.mark.parametrize(
    ("piped", "wanted"),
    [
        (b"Bo saw Oslo.\nIt rained.\n", ["Bo saw Oslo.", "It rained."]),
        (b"[Music] Bo sings.\n", ["[Music] Bo sings."]),
        (b"[1] A note.", ["[1] A note."]),
        (b"{Bo} sings", ["{Bo} sings"]),
        (b'"Oh," said Bo.\n', ['"Oh," said Bo.']),
        (b"\xef\xbb\xbfBo\n", ["Bo"]),
        (LINE, ["in Rome"]),
        (b'["a b", "c"]', ["a b", "c"]),
        (gzip.compress(LINE, mtime=0), ["in Rome"]),
        (b'{"text": "a"}\n{"text": "b"\n', None),
        (b"{text: 'a'}\n", None),
        (b'["a", b]', None),
    ],
)
def test_a_pipe_is_told_by_what_it_brings(
    monkeypatch: pytest.MonkeyPatch, piped: bytes, wanted: list[str] | None
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(piped), encoding="latin-1"))
    if wanted is not None:
        assert read_texts("-") == wanted
        return
    with pytest.raises(DataError, match=r"^standard input:\d: not valid JSON.*--format text"):
        read_texts("-")


def test_a_pipe_is_read_as_it_comes(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read = threading.Event()

    def write() -> None:
        with pipe.open("wb", buffering=0) as handle:
            handle.write(b'{"text": "first"}\n')
            assert read.wait(20)
            handle.write(b'{"text": "second"}\n')

    writer = threading.Thread(target=write)
    writer.start()
    texts = iter_texts(pipe)
    assert next(texts) == "first"
    read.set()
    assert list(texts) == ["second"]
    writer.join()
