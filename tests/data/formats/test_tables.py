"""CSV, TSV, Parquet and Arrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from samner.data import iter_examples, read_examples, read_texts, write_examples
from samner.entities import Entity, Example
from samner.errors import DataError

ROME = Example("in Rome", (Entity(3, 7, "city"),), {"id": "a"})


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("delimiter", [b",", b";", b"\t", b"|"])
def test_a_column_of_texts(tmp_path: Path, mark: bytes, end: bytes, delimiter: bytes) -> None:
    path = tmp_path / "a.csv"
    rows = [b"nr,text,from", b'1,"a, ; ""b"" |\tc' + end + b'd",x', b"2,,y", b"3,z,"]
    table = mark + end.join(rows).replace(b'","', b"\0") + end
    path.write_bytes(table.replace(b",", delimiter, 2) if delimiter == b"," else swapped(table, delimiter))
    assert read_examples(path) == [
        Example('a, ; "b" |\tc' + end.decode() + "d", meta={"nr": "1", "from": "x"}),
        Example("", meta={"nr": "2", "from": "y"}),
        Example("z", meta={"nr": "3", "from": ""}),
    ]


def swapped(table: bytes, delimiter: bytes) -> bytes:
    """With another delimiter, quoted fields left as they are."""
    parts = table.split(b'"')
    return b'"'.join(part if i in (1, 3, 5) else part.replace(b",", delimiter) for i, part in enumerate(parts))


@pytest.mark.parametrize(
    ("name", "content", "format", "wanted"),
    [
        ("a.tsv", "id\ttext\n1\tBo saw Oslo.\n", None, ["Bo saw Oslo."]),
        ("a.tsv", "17\tBo saw Oslo.\n18\tIt rained there.\n", None, ["Bo saw Oslo.", "It rained there."]),
        ("a", "id,text\n1,Bo saw Oslo.\n", None, ["Bo saw Oslo."]),
        ("a.csv", "text\nBo\n", None, ["Bo"]),
        ("a.csv", "id,sentence\n1,Bo\n", None, ["Bo"]),
        ("a.csv", "id,note\n1,Bo\n", "csv:note", ["Bo"]),
        ("a.dat", "id\tnote\n1\tBo\n", "tsv:note", ["Bo"]),
        (
            "a.csv",
            "Sentence #,Word,POS,Tag\nSentence: 1,Bo,N,B-PER\n,saw,V,O\nSentence: 2,Oslo,N,O\n",
            None,
            ["Bo saw", "Oslo"],
        ),
        ("a.csv", "Sentence #,Word,Tag\nSentence: 1,Bo,O\n\nSentence: 2,Oslo,O\n", None, ["Bo", "Oslo"]),
        ("a.csv", "sentence_idx,word,tag\n1,Bo,O\n1,saw,O\n2,Oslo,O\n", None, ["Bo saw", "Oslo"]),
        ("a.tsv", "doc\tsent_id\tword\ttag\na\t1\tBo\tO\nb\t1\tsaw\tO\n", None, ["Bo", "saw"]),
        ("a.txt", "Text, content\nBo, Oslo\n", None, ["Text, content", "Bo, Oslo"]),
        ("a.txt", "text,text\nBo,Oslo\n", None, ["text,text", "Bo,Oslo"]),
        ("a.csv", 'word,tag\nBo,B-PER\n",",O\n\nOslo,O\n', None, ["Bo ,", "Oslo"]),
    ],
)
def test_shapes_of_tables(tmp_path: Path, name: str, content: str, format: str | None, wanted: list[str]) -> None:
    path = tmp_path / name
    path.write_text(content)
    assert [example.text for example in read_examples(path, format)] == read_texts(path, format) == wanted


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "id,name\n1,Bo\n",
            ":1: no column can be told to be the text; there are id, name: name it as in --format csv:",
        ),
        ("body,content\na,b\n", ":1: body and content may be the text; name one as in --format csv:body"),
        ("id,text,text\n1,a,b\n", ":1: has two columns 'text'; rename one"),
        (
            "id,text\n1,a\n2,b,c\n",
            ":3: has 3 columns, but the first row has 2; a field with ',' in it stands in quotes",
        ),
        ('id,text\n1,"a\n', ":2: not valid CSV"),
        ('text,entities\na,"[{]"\n', ":2: column 'entities' is not valid JSON"),
        ('text,entities\na,"[{""start"": 0, ""end"": 3, ""label"": ""x""}]"\n', ":2: entities[0]: 0:3 lies outside"),
        ("text,label\na b,\"[(0, 1, 'x')]\"\n", ":2: 'label' looks like labels"),
        ("word,tag\nBo,I-PER\n", ":2: 'I-PER' does not continue an entity"),
    ],
)
def test_refuses_tables_that_are_not_clear(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert str(caught.value).startswith(f"{path}{reason}")


@pytest.mark.parametrize(("name", "format"), [("a.csv", None), ("a.tsv", "tsv"), ("a.csv.gz", None)])
def test_a_table_comes_back_as_strings(tmp_path: Path, name: str, format: str | None) -> None:
    wanted = [ROME, Example('x "y",\t\nz', (), {"id": "b"}), Example("", (), {"id": ""})]
    write_examples(wanted, tmp_path / name, format)
    assert read_examples(tmp_path / name) == wanted


MIXED = [
    Example("in Rome", (Entity(3, 7, "city", 0.5, ("sampling",)),), {"id": "a", "n": 3, "meta": {"page": [1]}}),
    Example("none", (), {"id": 7, "url": None}),
]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".feather", ".parquet.gz"])
def test_arrow_keeps_everything(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / f"a{suffix}"
    for wanted in (MIXED, [ROME, ROME], [Example("none")]):
        write_examples(wanted, path)
        assert read_examples(path) == wanted


def parquet(path: Path, columns: dict[str, Any], metadata: dict[bytes, bytes] | None = None) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pyarrow.table(columns).replace_schema_metadata(metadata), path)
    return path


def test_parquet_of_others(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a", {"text": ["in Rome", "b"], "label": ["x", None], "label_id": [1, 2]})
    assert read_examples(path) == [
        Example("in Rome", meta={"label": "x", "label_id": 1}),
        Example("b", meta={"label_id": 2}),
    ]
    path = parquet(tmp_path / "a", {"text": ["a", "b"], "weight": [float("nan"), 0.5]})  # a gap, as floats have it
    assert read_examples(path) == [Example("a"), Example("b", meta={"weight": 0.5})]
    names = b'{"info": {"features": {"ner_tags": {"feature": {"names": ["O", "B-x"]}}}}}'
    path = parquet(tmp_path / "b", {"tokens": [["a", "b"]], "ner_tags": [[0, 1]]}, {b"huggingface": names})
    assert read_examples(path) == [Example("a b", (Entity(2, 3, "x"),))]
    with pytest.raises(DataError, match=r"b\[0\]: ner_tags\[0\] is 0; it must be a string"):
        read_examples(parquet(tmp_path / "b", {"tokens": [["a", "b"]], "ner_tags": [[0, 1]]}))
    with pytest.raises(DataError, match=r'b\[0\]: "text" is missing.*it holds body: name the key'):
        read_examples(parquet(tmp_path / "b", {"body": ["a"]}))
    assert read_texts(tmp_path / "b", "parquet:body") == ["a"]
    (tmp_path / "c").write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="c: cannot be read as Parquet or Arrow"):
        read_examples(tmp_path / "c")


def test_a_stream_of_arrow(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    with pyarrow.ipc.new_stream(str(tmp_path / "a.arrow"), pyarrow.schema({"text": pyarrow.string()})) as writer:
        writer.write_table(pyarrow.table({"text": ["a", "b"]}))
    assert read_texts(tmp_path / "a.arrow") == ["a", "b"]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_columns_are_read_and_written_a_batch_at_a_time(tmp_path: Path, suffix: str, monkeypatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    monkeypatch.setattr("samner.data.formats.columnar._GROUP_BYTES", 1 << 20)
    path, most = tmp_path / f"a{suffix}", 0
    before = pyarrow.total_allocated_bytes()

    def watched(examples):
        nonlocal most
        for example in examples:
            most = max(most, pyarrow.total_allocated_bytes() - before)
            yield example

    texts = (Example(f"{i} " + "x" * 4000, meta={"id": i}) for i in range(8000))  # 32 MB
    write_examples(texts, path)
    assert [example.id for example in watched(iter_examples(path))] == list(range(8000))
    assert most < 16 << 20
