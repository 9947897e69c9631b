from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from samner.data import from_dataset, read_examples, read_texts, to_dataset, write_examples
from samner.entities import Entity, Example
from samner.errors import DataError, SamnerError

datasets = pytest.importorskip("datasets")

EXAMPLES = [
    Example(
        "Rome and 😀 Bonn", (Entity(0, 4, "city"), Entity(11, 15, "city", 0.25, ("similarity", "sampling"), "exact"))
    ),
    Example("nothing"),
]
TAGGED = [Example("Bad Bunny sings", (Entity(0, 9, "PER"),)), Example("in Rome", (Entity(3, 7, "LOC"),))]
TOKENS = [["Bad", "Bunny", "sings"], ["in", "Rome"]]
TAGS = [["B-PER", "I-PER", "O"], ["O", "B-LOC"]]


def tagged(tags: Any, feature: Any = None, **others: Any) -> Any:
    dataset = datasets.Dataset.from_dict({"tokens": TOKENS, "ner_tags": tags, **others})
    return dataset.cast_column("ner_tags", datasets.List(feature)) if feature else dataset


def one(text: Any = "Rome", **changes: Any) -> Any:
    return datasets.Dataset.from_dict(
        {"text": [text], "entities": [[{"start": 0, "end": 4, "label": "city"} | changes]]}
    )


def test_there_and_back() -> None:
    dataset = to_dataset(EXAMPLES)
    assert dataset[0]["entities"][1]["text"] == "Bonn"
    assert from_dataset(dataset) == EXAMPLES


def test_gold_predicted_and_empty_have_the_same_features() -> None:
    gold = to_dataset([Example("a", (Entity(0, 1, "x"),))])
    assert gold.features == to_dataset(EXAMPLES).features == to_dataset([]).features
    assert from_dataset(datasets.concatenate_datasets([gold, to_dataset(EXAMPLES)]))[1:] == EXAMPLES


def test_a_folder_is_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    write_examples(EXAMPLES, path, "datasets")
    assert from_dataset(datasets.load_from_disk(str(path))) == EXAMPLES
    assert read_examples(path) == read_examples(path, "datasets") == EXAMPLES
    assert read_texts(path) == [example.text for example in EXAMPLES]
    with pytest.raises(SamnerError, match="exists already"):
        write_examples(EXAMPLES, path, "datasets")


def test_entities_of_others_need_start_end_and_label_only() -> None:
    assert from_dataset(one()) == [Example("Rome", (Entity(0, 4, "city"),))]


def test_text_alone_is_unlabelled() -> None:
    assert from_dataset(datasets.Dataset.from_dict({"text": ["a", "b"], "id": [1, 2]})) == [
        Example("a", meta={"id": 1}),
        Example("b", meta={"id": 2}),
    ]
    assert from_dataset(datasets.Dataset.from_dict({"text": ["a"], "entities": [None]})) == [Example("a")]


def test_tags_as_strings() -> None:
    assert from_dataset(tagged(TAGS)) == TAGGED


def test_tags_as_class_labels() -> None:
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    numbers = [[names.index(tag) for tag in tags] for tags in TAGS]
    assert from_dataset(tagged(numbers, datasets.ClassLabel(names=names))) == TAGGED


def test_tags_that_mark_ends() -> None:
    assert from_dataset(tagged([["B-PER", "E-PER", "O"], ["O", "S-LOC"]])) == TAGGED


def test_columns_and_formats_that_do_not_matter() -> None:
    dataset = tagged(TAGS, id=[1, 2]).with_format("numpy")
    assert from_dataset(dataset) == [replace(example, meta={"id": i}) for i, example in enumerate(TAGGED, start=1)]
    assert dataset.format["type"] == "numpy"


def test_texts_are_read_without_a_look_at_labels(tmp_path: Path) -> None:
    one(end=99).save_to_disk(str(tmp_path / "entities"))
    tagged([["I-PER", "?", "O"], ["O"]]).save_to_disk(str(tmp_path / "tags"))
    assert read_texts(tmp_path / "entities") == ["Rome"]
    assert read_texts(tmp_path / "tags") == ["Bad Bunny sings", "in Rome"]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (lambda: one(end=5), "dataset[0]: entities[0]: 0:5 lies outside the text of 4 characters"),
        (lambda: one(text=None), "dataset[0]: the text must be a string, not None"),
        (lambda: one(label=None), "dataset[0]: entities[0]: label must be a string that is not blank, not None"),
        (lambda: tagged([TAGS[0], ["O", "I-LOC"]]), "dataset[1]: ner_tags[1]: 'I-LOC' does not continue an entity"),
        (lambda: tagged([TAGS[0], ["O"]]), "dataset[1]: ner_tags must be a list of 2 tags, one a token, not ['O']"),
        (lambda: tagged([TAGS[0], None]), "dataset[1]: ner_tags must be a list of 2 tags"),
        (lambda: tagged([TAGS[0], ["O", None]]), "dataset[1]: ner_tags[1] is None; it must be a string"),
        (lambda: tagged([[1, 2, 0], [0, 1]]), "dataset[0]: ner_tags[0] is 1; it must be a string, or a number"),
        (
            lambda: tagged([[0, -1, 0], [0, 0]], datasets.ClassLabel(names=["O"])),
            "dataset[0]: ner_tags[1] is -1; it must be a string, or a number that a ClassLabel names",
        ),
        (
            lambda: datasets.Dataset.from_dict({"tokens": [["a", ""]], "ner_tags": [["O", "O"]]}),
            "dataset[0]: tokens must be a list of strings that are not empty, not ['a', '']",
        ),
        (
            lambda: datasets.Dataset.from_dict({"body": ["a"], "id": [1]}),
            'dataset[0]: "text" is missing; each object needs it; it holds body, id',
        ),
        (lambda: datasets.DatasetDict(train=one()), "dataset: is a DatasetDict; one datasets.Dataset is needed"),
        (lambda: [{"text": "a"}], "dataset: is a list; one datasets.Dataset is needed"),
    ],
)
def test_refuses_what_is_not_clear(dataset: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        from_dataset(dataset())
    assert str(caught.value).startswith(message)


def test_refuses_to_make_a_dataset_of_what_is_not_valid() -> None:
    with pytest.raises(DataError, match=r"^examples\[1\]: entities\[0\]: 0:2 lies outside"):
        to_dataset([Example("a"), Example("a", (Entity(0, 2, "x"),))])


def test_refuses_folders_that_are_not_one_dataset(tmp_path: Path) -> None:
    splits, empty, damaged, none = (tmp_path / name for name in ("splits", "empty", "damaged", "none"))
    datasets.DatasetDict(train=one()).save_to_disk(str(splits))
    with pytest.raises(DataError, match="it has several splits: name the folder of one of them"):
        read_examples(splits)
    assert read_texts(splits / "train") == read_texts(splits) == ["Rome"]
    write_examples([], empty, "datasets")
    with pytest.raises(DataError, match="empty: holds no text"):
        read_examples(empty)
    write_examples(EXAMPLES, damaged, "datasets")
    next(damaged.glob("*.arrow")).write_bytes(b"not arrow")
    with pytest.raises(DataError, match="damaged: cannot be read as a saved dataset") as caught:
        read_examples(damaged)
    assert "\n" not in str(caught.value)
    none.mkdir()
    with pytest.raises(DataError, match="none: is not a saved dataset; name a file, or a folder"):
        read_examples(none, "datasets")


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'samner\[datasets\]'"):
        to_dataset(EXAMPLES)


def test_a_dataset_or_a_column_of_one_is_texts() -> None:
    from samner.arguments import strings

    dataset = datasets.Dataset.from_dict({"body": ["a", "b"], "text": ["c", "d"]})
    assert strings(dataset, "texts") == strings(dataset["text"], "texts") == ["c", "d"]
    assert strings(dataset["body"], "texts") == ["a", "b"]
    with pytest.raises(SamnerError, match=r"texts must be of one split of the dataset, as dataset\['test'\]"):
        strings(datasets.DatasetDict(test=dataset), "texts")
    with pytest.raises(SamnerError, match=r"a dataset without a column 'text'; name one, as dataset\['body'\]"):
        strings(dataset.remove_columns("text"), "texts")
