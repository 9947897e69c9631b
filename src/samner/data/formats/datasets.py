"""Hugging Face datasets, in memory or saved to a folder: text and entities, or tokens and ner_tags (also ClassLabel).

Columns are those of JSON Lines; other columns are the texts' meta, but for images, sounds and the like.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from samner.data.formats import columnar, jsonl
from samner.data.formats.base import Format, Rows
from samner.data.lines import Source
from samner.data.validation import check_example, located
from samner.entities import Example, to_fields
from samner.errors import DataError
from samner.files import atomic_folder

if TYPE_CHECKING:
    from datasets import Dataset

_BATCH_ROWS = 1024


def from_dataset(dataset: Dataset) -> list[Example]:
    """The examples of a ``datasets.Dataset`` with text and entities, or tokens and ner_tags.

    A dataset with ``text`` alone gives examples without entities.

    Raises:
        DataError: If it has other columns or several splits, or a row is not valid; the message names the row.
    """
    return list(_examples(dataset, "dataset", True, None))


def to_dataset(examples: Iterable[Example]) -> Dataset:
    """A ``datasets.Dataset`` with the columns text and entities, and one for each name in the texts' meta.

    An entity has start, end, label, text, score (rounded to four digits), found_by and aligned (which may be null),
    gold or not, so that all such datasets have the same features; and an id, if any has one.

    Raises:
        DataError: If an example is not valid.
    """
    datasets, pyarrow = _library(), columnar.library("")
    columns: dict[str, list[Any]] = {"text": [], "entities": []}
    metas = []
    for index, example in enumerate(examples):
        with located(f"examples[{index}]"):
            check_example(example)
        columns["text"].append(example.text)
        columns["entities"].append([{"aligned": None, **to_fields(e, example.text)} for e in example.entities])
        metas.append(example.meta)
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
    if columnar.same_ids([one for its in columns["entities"] for one in its]):
        its = [one.setdefault("id") for found in columns["entities"] for one in found]
        entity["id"] = integer if any(isinstance(one, int) for one in its) else string
    features = datasets.Features({"text": string, "entities": datasets.List(entity)})
    dataset = datasets.Dataset.from_dict(columns, features=features)
    for name in dict.fromkeys(key for meta in metas for key in meta):
        values = [meta.get(name) for meta in metas]
        try:
            pyarrow.array(values)
        except (pyarrow.ArrowException, TypeError, OverflowError):  # of several types
            values = [None if value is None else json.dumps(value, ensure_ascii=False) for value in values]
        dataset = dataset.add_column(name, values)
    return dataset


def read(source: Source, labelled: bool, column: str | None) -> Iterator[Example]:
    """Read a folder that ``Dataset.save_to_disk`` wrote."""
    return _examples(_load(source, labelled), source.name, labelled, column)


@contextmanager
def read_rows(source: Source) -> Iterator[Rows]:
    """The columns of a saved dataset, batch by batch."""
    dataset = _load(source, labelled=False)
    tables = dataset.with_format("arrow").iter(_BATCH_ROWS)
    yield Rows(dataset.features.arrow_schema, (batch for table in tables for batch in table.to_batches()))


def _load(source: Source, labelled: bool) -> Dataset:
    datasets = _library()
    splits = is_dict(source.path) and not labelled  # what is to be learnt from is of one split
    if not is_dataset(source.path) and not splits:
        raise DataError(f"{source.name}: is not a saved dataset; {what_folder(source.path)}")
    try:
        dataset = datasets.load_from_disk(str(source.path))
        if splits:
            dataset = datasets.concatenate_datasets(
                [
                    split if "split" in split.column_names else split.add_column("split", [name] * len(split))
                    for name, split in dataset.items()
                ]
            )
    except Exception as error:  # what a damaged folder raises is anything, from KeyError to ArrowInvalid
        raise DataError(
            f"{source.name}: cannot be read as a saved dataset ({' '.join(str(error).split())})"
        ) from error
    return dataset


def write(examples: Iterable[Example], path: Path) -> None:
    """Write a folder that ``datasets.load_from_disk`` reads; the examples are held in memory."""
    with located(str(path)):
        dataset = to_dataset(examples)
    _save(dataset, path)


def write_rows(rows: Rows, path: Path) -> None:
    """Write columns as they are to such a folder."""
    datasets = _library()
    with TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        stream = Path(folder) / "rows.arrow"
        with stream.open("wb") as handle:
            columnar.write_to(rows, handle, "stream")
        _save(datasets.Dataset.from_file(str(stream)), path)


def _save(dataset: Dataset, path: Path) -> None:
    try:
        with atomic_folder(path) as folder, _without_bars():
            # left to itself it saves a dataset without rows in no shard, which load_from_disk cannot read
            dataset.save_to_disk(str(folder), num_shards=1)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def _without_bars() -> Iterator[None]:
    """While it saves, the library shows no progress of its own."""
    datasets = _library()
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def is_dataset(path: Path) -> bool:
    """Whether the path is a folder with one saved dataset."""
    return (path / "dataset_info.json").is_file()


def is_dict(path: Path) -> bool:
    """Whether the path is a folder with several splits of a dataset, each in a folder of its own."""
    return (path / "dataset_dict.json").is_file()


def what_folder(path: Path) -> str:
    """What to name instead of a folder that is not one saved dataset."""
    if is_dict(path):
        return "it has several splits: name the folder of one of them"
    return "name a file, or a folder of BRAT (.txt and .ann) or that Dataset.save_to_disk wrote"


def _library(name: str = "") -> Any:
    try:
        import datasets
    except ImportError as error:
        raise DataError("Hugging Face datasets need the package datasets: pip install 'samner[datasets]'") from error
    return datasets


def _examples(dataset: Dataset, name: str, labelled: bool, column: str | None) -> Iterator[Example]:
    datasets = _library()
    if not isinstance(dataset, datasets.Dataset):
        raise DataError(f"{name}: is a {type(dataset).__name__}; one datasets.Dataset is needed, such as a split")
    kept = [key for key, feature in dataset.features.items() if _is_plain(feature, datasets)]
    names = {key: getattr(getattr(dataset.features[key], "feature", None), "names", None) for key in kept}
    # other columns may be images that would be decoded, and the user's format may be tensors
    rows = enumerate(dataset.select_columns(kept).with_format(None))
    records = ((f"{name}[{i}]", columnar.record_of(row, names)) for i, row in rows)
    return jsonl.examples(records, labelled, column)


def _is_plain(feature: Any, datasets: Any) -> bool:
    if isinstance(feature, dict):
        return all(_is_plain(inner, datasets) for inner in feature.values())
    if isinstance(feature, datasets.Value):
        return "binary" not in feature.dtype
    return isinstance(feature, datasets.ClassLabel) or _is_plain(getattr(feature, "feature", None), datasets)


def _looks(source: Source) -> bool:
    return source.is_folder and (is_dataset(source.path) or is_dict(source.path))


FORMAT = Format(read, write, (), _looks, rows=read_rows, write_rows=write_rows, library=_library)
