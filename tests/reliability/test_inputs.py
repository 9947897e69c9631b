"""Answers of language models and files of texts with something wrong in them."""

from __future__ import annotations

import json
import random
import traceback
from pathlib import Path
from typing import Any

import pytest

from samner.backbones.language_model.generation.answer import parse
from samner.data import read_examples, write_examples
from samner.data.formats.registry import FORMATS
from samner.data.validation import check_example
from samner.entities import Entity, Example
from samner.errors import DataError
from tests.backbones.language_model.generation.test_fuzz import TEXTS, TYPES, check, mutated, right_answers
from tests.reliability.counts import COUNTS

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(3600)]


def _kind(error: BaseException) -> str:
    """What went wrong, and in which function of samner."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "samner" in f.filename]
    return f"{type(error).__name__} in {frames[-1].name if frames else 'elsewhere'}"


def test_damaged_answers(tally: Any) -> None:
    row = tally("damaged answers of a language model, parsed and found in the text")
    draw = random.Random(1)
    while row.count < COUNTS.answers:
        text = draw.choice(TEXTS)
        for right, prompt_format, number in right_answers(text, draw):
            raw = mutated(right, draw)
            row.done()
            try:
                check(raw, parse(raw, prompt_format, TYPES, None if number is None else TYPES[number]), text)
            except Exception as error:
                row.failed(_kind(error), repr(raw))


EXAMPLES = [
    Example("Ada lives in Bern .", (Entity(0, 3, "person"), Entity(13, 17, "city")), {"id": "a-1"}),
    Example("日本 ☕ in Łódź .", (Entity(8, 12, "city"),), {"id": "a-2", "source": 'x, "y"'}),
    Example("Nothing here .", (), {"id": "a-3"}),
]
OTHERS: dict[str, Any] = {
    "lighttag.json": {
        "examples": [{"content": "Ada in Bern", "annotations": [{"start": 0, "end": 3, "tag": "person"}]}]
    },
    "paragraphs.json": [
        {
            "id": 1,
            "paragraphs": [
                {
                    "raw": "Ada in",
                    "sentences": [{"tokens": [{"orth": "Ada", "ner": "U-person"}, {"orth": "in", "ner": "O"}]}],
                }
            ],
        }
    ],
    "germeval.tsv": "# id 1\n1\tAda\tB-PER\tO\n2\tlives\tO\tO\n\n1\tin\tO\tO\n2\tBern\tB-LOC\tO\n",
    "tag-first.bio": "B-PER\tAda\nO\tlives\n\nO\tin\nB-LOC\tBern\n",
    "kaggle.csv": "Sentence #,Word,POS,Tag\nSentence: 1,Ada,NNP,B-per\n,lives,VB,O\nSentence: 2,Bern,NNP,B-geo\n",
    "relations.jsonl": {
        "text": "Ada in Bern",
        "entities": [{"id": 1, "label": "person", "start_offset": 0, "end_offset": 3}],
        "relations": [],
    },
    "pairs.jsonl": ["Ada in Bern", {"entities": [[0, 3, "person"]]}],
    "conllu.conllu": "# text = Ada lives\n1-2\tx\t_\t_\n1\tAda\t_\tB-PER\n2\tlives\t_\tO\n",
    "plain.txt": "Ada lives in Bern.\n\nNothing here.\n",
    "strings.json": ["Ada lives in Bern.", "Nothing."],
}
"""By the name of a file, what it holds: text, or what is written as JSON."""
PARTS = [
    *(
        b'"',
        b"'",
        b"\\",
        b"\\ud800",
        b",",
        b":",
        b"[",
        b"]",
        b"{",
        b"}",
        b"\t",
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b"\0",
        b"#",
    ),
    *(
        b"null",
        b"true",
        b"NaN",
        b"-1",
        b"0",
        b"1e999",
        b"99999999999999999999",
        b"1.5",
        b"B-",
        b"I-x",
        b"_",
        b"\xff\xfe",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x98",
        "👩\u200d👩".encode(),
        "\u2028".encode(),
        b"\x1f\x8b",
        b"PK\x03\x04",
    ),
    *(b'"entities"', b'"text"', b'"tokens"', b'"label"', b'{"start": 0}', b"[" * 3000, b'{"a":' * 3000, b"x" * 5000),
    *(b"\n\n\n", b"-DOCSTART-", b"# text = x", b"T1\tcity 0 4\tRome\n", b"1-2\t", b";", b"; ", b"&", b"*", b"<?xml"),
]


def _mutated(content: bytes, draw: random.Random) -> bytes:
    for _ in range(draw.choice([1, 1, 2, 3, 8])):
        start = draw.randint(0, len(content))
        end = min(len(content), start + draw.choice([0, 1, 1, 2, 5, 20, 100]))
        match draw.randrange(7):
            case 0:
                content = content[:start]
            case 1:
                content = content[:start] + content[end:]
            case 2 | 3:
                content = content[:start] + draw.choice(PARTS) + content[end:]
            case 4:
                content = content[:end] + content[start:]
            case 5:
                content = content[:start] + bytes([draw.randrange(256)]) + content[start + 1 :]
            case _:
                content = content.replace(*draw.sample(PARTS[:24], 2), draw.randint(1, 4))
    return content


def _samples(root: Path) -> list[tuple[Path, Path]]:
    """A file or folder of each format, and for each of its files both: what is read, and what is damaged."""
    found = []
    for name, format in FORMATS.items():
        if format.write is None or name == "text":
            continue
        suffix = format.suffixes[0] if format.suffixes else ".json" if "label-studio" in name else ".jsonl"
        path = root / (name if name in ("brat", "datasets") else name + suffix)
        path.parent.mkdir(exist_ok=True)
        write_examples(EXAMPLES, path, name)
        found += (
            [(path, file) for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else [(path, path)]
        )
    for suffix in (".gz", ".bz2", ".xz", ".zst"):
        path = root / f"compressed.jsonl{suffix}"
        write_examples(EXAMPLES, path, "jsonl")
        found.append((path, path))
    for file, held in OTHERS.items():
        text = held if isinstance(held, str) else json.dumps(held) + "\n"
        (root / file).write_text(text, encoding="utf-8", newline="")
        found.append((root / file, root / file))
    return found


def test_damaged_files(tally: Any, tmp_path: Path) -> None:
    row = tally("damaged input files of every format, read with labels and without")
    draw = random.Random(2)
    samples = [(read, file, file.read_bytes()) for read, file in _samples(tmp_path)]
    # a folder of Hugging Face takes as long as thirty files
    weights = [0.05 if read.name == "datasets" else 0.3 if read.suffix == ".spacy" else 1.0 for read, _, _ in samples]
    while row.count < COUNTS.files:
        read, file, whole = draw.choices(samples, weights)[0]
        file.write_bytes(_mutated(whole, draw))
        row.done()
        try:
            for example in read_examples(read, labelled=draw.random() < 0.8):
                check_example(example)
        except DataError as error:
            if read.name not in str(error):
                row.failed(f"{read.name} is not named", error)
        except Exception as error:
            row.failed(f"{_kind(error)} ({read.name})", f"{error!r}: {file.read_bytes()[:300]!r}")
        file.write_bytes(whole)
