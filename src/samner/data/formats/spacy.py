"""spaCy's shapes: ``Doc.to_json``, its training JSON of version 2, and DocBin (``.spacy``), which needs spaCy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from samner.data import tags
from samner.data.formats.base import Dialect, Record, plain, rest
from samner.data.lines import Source, writing
from samner.data.validation import check_example, example_from_fields, id_of, located
from samner.entities import Example
from samner.errors import DataError


def _matches(record: Record) -> bool:
    has_spans = isinstance(record.get("ents"), list) or isinstance(record.get("spans"), Mapping)
    return "text" in record and "entities" not in record and has_spans


def _read(record: Record, labelled: bool) -> Example:
    if not labelled:
        return example_from_fields(record["text"], None, rest(record))
    if "ents" not in record and (groups := [name for name, spans in record["spans"].items() if spans]):
        raise DataError(f'has its labels in span groups ("spans": {", ".join(groups)}), not in "ents"; set doc.ents')
    return example_from_fields(record["text"], record.get("ents"), rest(record, "ents"), "ents")


def _write(example: Example) -> dict[str, Any]:
    ents = [{"start": e.start, "end": e.end, "label": e.label, **id_of(e)} for e in example.entities]
    return {"text": example.text, "ents": ents, **example.meta}


DIALECT = Dialect(_matches, _read, _write)


def paragraphs(record: Record) -> Iterator[dict[str, Any]]:
    """The texts of a document of the training JSON of version 2, as tokens and tags."""
    for paragraph in record["paragraphs"]:
        if not isinstance(paragraph, Mapping) or not isinstance(paragraph.get("sentences"), list):
            raise DataError('a paragraph of spaCy\'s training JSON needs "sentences" of "tokens"')
        tokens = [token for sentence in paragraph["sentences"] for token in sentence.get("tokens", [])]
        raw = paragraph.get("raw")
        meta = {key: record[key] for key in ("id",) if key in record}
        said = [token.get("ner", "O") for token in tokens]
        yield {
            "tokens": [token.get("orth") for token in tokens],
            "ner_tags": said,
            **({"text": raw} if isinstance(raw, str) else {}),
            **meta,
        }


def looks(source: Source) -> bool:
    """Whether it is a DocBin: msgpack, compressed by zlib."""
    return source.suffix == ".spacy" or source.head[:2] in (b"x\x9c", b"x\x01", b"x\xda")


def read(source: Source, labelled: bool, column: str | None) -> Iterator[Example]:
    """Read a DocBin. It is msgpack: nothing in it is unpickled."""
    spacy = _library(source.name)
    vocab, content = spacy.blank("xx").vocab, source.content()
    try:
        docs = list(spacy.tokens.DocBin().from_bytes(content).get_docs(vocab))
    except Exception as error:  # what a damaged file raises is anything, from zlib.error to KeyError
        raise DataError(
            f"{source.name}: cannot be read as a DocBin of spaCy ({' '.join(str(error).split())})"
        ) from error
    annotated = [doc.has_annotation("ENT_IOB") for doc in docs]
    for index, doc in enumerate(docs):
        with located(f"{source.name}[{index}]"):
            if labelled and not annotated[index] and len(doc):
                # "not known" is not "none"
                if any(annotated):
                    raise DataError("has no entity annotation, but others have; set doc.ents, if only to []")
                if groups := [name for name, spans in doc.spans.items() if len(spans)]:
                    raise DataError(
                        f"has its labels in span groups ({', '.join(groups)}), not in doc.ents; set doc.ents"
                    )
            ents = [{"start": e.start_char, "end": e.end_char, "label": e.label_, "id": e.id_} for e in doc.ents]
            meta = {key: plain(value) for key, value in doc.user_data.items() if isinstance(key, str)}
            example = example_from_fields(doc.text, ents if labelled else None, rest(meta), "ents")
        yield example


def write(examples: Iterable[Example], path: Path) -> None:
    """Write a DocBin; its tokens are spaCy's, cut further where an entity begins or ends within one."""
    spacy = _library(str(path))
    nlp = spacy.blank("xx")
    docs = spacy.tokens.DocBin(store_user_data=True)
    for number, example in enumerate(examples, start=1):
        with located(f"{path}: example {number}"):
            check_example(example)
            docs.add(_doc(nlp, example, spacy))
    with writing(path) as handle:
        handle.write(docs.to_bytes())


def _doc(nlp: Any, example: Example, spacy: Any) -> Any:
    doc = nlp.make_doc(example.text)
    cuts = {place for e in example.entities for place in (e.start, e.end)}
    pieces: list[tuple[str, bool]] = []
    for token in doc:
        end = token.idx + len(token.text)
        places = [token.idx, *sorted(place for place in cuts if token.idx < place < end), end]
        parts = [example.text[one:other] for one, other in pairwise(places)]
        pieces += [(part, False) for part in parts[:-1]] + [(parts[-1], bool(token.whitespace_))]
    doc = spacy.tokens.Doc(nlp.vocab, [text for text, _ in pieces], [blank for _, blank in pieces])
    ents = [
        doc.char_span(e.start, e.end, e.label, span_id="" if e.id is None else str(e.id)) for e in example.entities
    ]
    for entity, span in zip(example.entities, ents, strict=True):
        if span is None:
            raise DataError(f"{tags.named(entity)} begins or ends with a blank, which DocBin cannot say; write jsonl")
    try:
        doc.set_ents(ents, default="outside")
    except ValueError as error:
        raise DataError("entities overlap, which DocBin cannot say; write jsonl") from error
    doc.user_data.update(example.meta)
    return doc


def _library(name: str) -> Any:
    try:
        import spacy
        import spacy.tokens
    except ImportError as error:
        raise DataError(f"{name}: a DocBin needs the package spacy: pip install spacy") from error
    return spacy
