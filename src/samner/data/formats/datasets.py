"""Hugging Face datasets, in memory or saved to a folder, in two layouts.

- ``text`` and a list ``entities`` of objects with ``start``, ``end`` and ``label``, as in JSON Lines;
- ``tokens`` and ``ner_tags`` in BIO, BIOES or BILOU, either strings or ClassLabel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from reprlib import repr as short
from typing import TYPE_CHECKING, Any

from samner.data import tags
from samner.data.validation import check_example, example_from_fields, located, to_fields
from samner.entities import Example
from samner.errors import DataError
from samner.files import atomic_folder

if TYPE_CHECKING:
    from datasets import Dataset


def from_dataset(dataset: Dataset) -> list[Example]:
    """The examples of a ``datasets.Dataset`` with text and entities, or tokens and ner_tags.

    A dataset with ``text`` alone gives examples without entities.

    Raises:
        DataError: If it has other columns or several splits, or a row is not valid; the message names the row.
    """
    return list(_examples(dataset, "dataset", labelled=True))


def to_dataset(examples: Iterable[Example]) -> Dataset:
    """A ``datasets.Dataset`` with the columns text and entities.

    An entity has start, end, label, text, score (rounded to four digits), found_by and aligned (which may be null),
    gold or not, so that all such datasets have the same features.

    Raises:
        DataError: If an example is not valid.
    """
    datasets = _library()
    columns: dict[str, list[Any]] = {"text": [], "entities": []}
    for index, example in enumerate(examples):
        with located(f"examples[{index}]"):
            check_example(example)
        columns["text"].append(example.text)
        columns["entities"].append([{"aligned": None, **to_fields(e, example.text)} for e in example.entities])
    string, integer = datasets.Value("string"), datasets.Value("int64")
    entity = {
        "start": integer,
        "end": integer,
        "label": string,
        "text": string,
        "score": datasets.Value("float64"),
        "found_by": datasets.List(string),
        "aligned": string,
    }
    features = datasets.Features({"text": string, "entities": datasets.List(entity)})
    return datasets.Dataset.from_dict(columns, features=features)


def read(path: Path, labelled: bool) -> Iterator[Example]:
    """Read a folder that ``Dataset.save_to_disk`` wrote."""
    datasets = _library()
    if not is_dataset(path):
        raise DataError(f"{path}: is not a saved dataset; {what_folder(path)}")
    try:
        dataset = datasets.load_from_disk(str(path))
    except Exception as error:  # what a damaged folder raises is anything, from KeyError to ArrowInvalid
        raise DataError(f"{path}: cannot be read as a saved dataset ({' '.join(str(error).split())})") from error
    return _examples(dataset, str(path), labelled=labelled)


def write(examples: Iterable[Example], path: Path) -> None:
    """Write a folder that ``datasets.load_from_disk`` reads."""
    with located(str(path)):
        dataset = to_dataset(examples)
    try:
        with atomic_folder(path) as folder:
            # left to itself it saves a dataset without rows in no shard, which load_from_disk cannot read
            dataset.save_to_disk(str(folder), num_shards=1)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


def is_dataset(path: Path) -> bool:
    """Whether the path is a folder with one saved dataset."""
    return (path / "dataset_info.json").is_file()


def what_folder(path: Path) -> str:
    """What to name instead of a folder that is not one saved dataset."""
    if (path / "dataset_dict.json").is_file():
        return "it has several splits: name the folder of one of them"
    return "name a file, or a folder that Dataset.save_to_disk wrote"


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError("Hugging Face datasets need the package datasets: pip install 'samner[datasets]'") from error
    return datasets


def _examples(dataset: Dataset, name: str, *, labelled: bool) -> Iterator[Example]:
    datasets = _library()
    if not isinstance(dataset, datasets.Dataset):
        raise DataError(f"{name}: is a {type(dataset).__name__}; one datasets.Dataset is needed, such as a split")
    found = set(dataset.column_names)
    if {"text", "entities"} <= found:
        return _from_entities(_only(dataset, "text", "entities"), name, labelled)
    if {"tokens", "ner_tags"} <= found:
        return _from_tags(_only(dataset, "tokens", "ner_tags"), name, labelled)
    if "text" in found:
        return _from_entities(_only(dataset, "text"), name, labelled=False)
    raise DataError(
        f"{name}: has the columns {', '.join(dataset.column_names)}; text and entities, tokens and ner_tags, "
        "or text alone are needed"
    )


def _only(dataset: Dataset, *columns: str) -> Dataset:
    # other columns may be images that would be decoded, and the user's format may be tensors
    return dataset.select_columns(list(columns)).with_format(None)


def _from_entities(dataset: Dataset, name: str, labelled: bool) -> Iterator[Example]:
    for index, row in enumerate(dataset):
        with located(f"{name}[{index}]"):
            example = example_from_fields(row["text"], row["entities"] if labelled else None)
        yield example


def _from_tags(dataset: Dataset, name: str, labelled: bool) -> Iterator[Example]:
    class_names = getattr(getattr(dataset.features["ner_tags"], "feature", None), "names", None)
    rows = []  # all of them, since one tag anywhere tells the scheme
    for index, row in enumerate(dataset):
        with located(f"{name}[{index}]"):
            tokens = _tokens(row["tokens"])
            rows.append((tokens, _tags(row["ner_tags"], len(tokens), class_names) if labelled else []))
    ends = tags.marks_ends(tag for _, row_tags in rows for tag in row_tags)
    for index, (tokens, row_tags) in enumerate(rows):
        yield tags.decode(tokens, row_tags, partial("{}[{}]: ner_tags[{}]".format, name, index), ends=ends)


def _tokens(tokens: object) -> list[str]:
    if not isinstance(tokens, list) or not all(isinstance(token, str) and token for token in tokens):
        raise DataError(f"tokens must be a list of strings that are not empty, not {short(tokens)}")
    return tokens


def _tags(row_tags: object, count: int, class_names: list[str] | None) -> list[str]:
    if not isinstance(row_tags, list) or len(row_tags) != count:
        raise DataError(f"ner_tags must be a list of {count} tags, one a token, not {short(row_tags)}")
    if class_names is not None:
        # -1 is what a ClassLabel holds where nothing is known
        row_tags = [class_names[tag] if tag is not None and 0 <= tag < len(class_names) else tag for tag in row_tags]
    for index, tag in enumerate(row_tags):
        if not isinstance(tag, str):
            raise DataError(f"ner_tags[{index}] is {tag!r}; it must be a string, or a number that a ClassLabel names")
    return row_tags
