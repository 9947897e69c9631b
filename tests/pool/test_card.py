from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st

from samner.errors import PoolError
from samner.files import sha256
from samner.pool import DataSource, ExpertCard, PoolCard
from samner.pool.card import ADAPTER_FILES, CARD, check_name


def folder_with_files(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in ADAPTER_FILES:
        (folder / name).write_bytes(name.encode())
    return folder


def card(**values: Any) -> ExpertCard:
    return ExpertCard(**{"name": "x", "base": "b", "types": ("drug",), "embedding": (0.25, -0.5), **values})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    folder = folder_with_files(tmp_path / "expert")
    written = card(
        name="my-expert_v1.2",
        types=("drug", "Krankheit – ünï"),
        embedding=(0.25, -0.5, 1e-3),
        embedding_model="some/encoder",
        description="Knows “medicine”",
        data=(DataSource(name="ncbi", licence="CC0", texts=593), DataSource(name="own")),
        training={"recipe": {"steps": 3, "max_minutes": None}, "outcome": {"history": [{"step": 1, "score": 0.5}]}},
    ).write(folder)
    assert written == ExpertCard.read(folder)
    assert written.files == {name: sha256(folder / name) for name in ADAPTER_FILES}
    assert (written.name, written.types, written.data[1].licence) == (
        "my-expert_v1.2",
        ("drug", "Krankheit – ünï"),
        "not stated",
    )
    np.testing.assert_array_equal(written.vector, np.array([0.25, -0.5, 1e-3], dtype=np.float32))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=5))
def test_an_embedding_keeps_six_digits(tmp_path_factory: pytest.TempPathFactory, numbers: list[float]) -> None:
    folder = folder_with_files(tmp_path_factory.mktemp("expert"))
    np.testing.assert_allclose(card(embedding=tuple(numbers)).write(folder).embedding, numbers, atol=1e-6)


@pytest.mark.parametrize("name", ["a", "A-1_b.c", "0", "x" * 100])
def test_names_that_will_do(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-x", "a b", "é", "a\n", "a\x00", "x" * 101, "base", "a:b"],
)
def test_names_that_are_no_plain_folder_names_are_refused(name: str) -> None:
    with pytest.raises(PoolError, match="cannot name an expert"):
        check_name(name)
    with pytest.raises(PoolError, match="cannot name an expert"):
        card(name=name)


@pytest.mark.parametrize("embedding", ["[]", "[NaN]", "[0.5, Infinity]", '["a"]', "null", "[true]"])
def test_an_embedding_has_to_be_finite_numbers(tmp_path: Path, embedding: str) -> None:
    folder = folder_with_files(tmp_path)
    card(embedding=(0.75,)).write(folder)
    text = (folder / CARD).read_text()
    (folder / CARD).write_text(re.sub(r'("embedding": )\[[^]]*]', rf"\g<1>{embedding}", text))
    with pytest.raises(PoolError, match=r"expert\.json: embedding"):
        ExpertCard.read(folder)


def test_a_folder_without_a_card_is_no_expert(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"expert\.json: no such file, so .* is not an expert"):
        ExpertCard.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values.pop("base"), "base: is missing"),
        (lambda values: values.update(format=2), "format: this samner reads format 1, not 2; a newer one may have"),
        (lambda values: values.update(format="1"), "format: this samner reads format 1, not '1'"),
        (lambda values: values.update(format=True), "format: this samner reads format 1, not True"),
        (lambda values: values.update(typs=[]), "typs: unknown setting; known are format, name, base"),
        (lambda values: values.update(name="../x"), "'../x' cannot name an expert"),
        (lambda values: values.update(types=3), "types: "),
        (lambda values: values.update(types=[3]), r"types\.0: "),
        (lambda values: values.update(data=["ncbi"]), r"data\.0: "),
        (lambda values: values.update(data=[{"nom": "ncbi"}]), r"data\.0\.name: is missing"),
        (lambda values: values.update(files=["adapter_config.json"]), "files: "),
        (lambda values: values.update(training=[1]), "training: "),
        (lambda values: values.update(description=["x" * 10_000] * 1000), "description: "),
    ],
)
def test_a_card_with_a_wrong_entry_is_refused_by_its_name(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    folder = folder_with_files(tmp_path)
    card().write(folder)
    values = json.loads((folder / CARD).read_text())
    change(values)
    (folder / CARD).write_text(json.dumps(values))
    with pytest.raises(PoolError, match=rf"expert\.json: {message}") as caught:
        ExpertCard.read(folder)
    assert len(str(caught.value)) < 500


def test_a_model_card_lies_beside_it_and_means_only_what_it_says(tmp_path: Path) -> None:
    folder = folder_with_files(tmp_path)
    source = DataSource(name="a|b", licence="[free](http://x) <script>")
    card(description="Fine\x1b[2J *bold*", types=("drug", "x_y"), data=(source,)).write(folder)
    read = ModelCard.load(folder / "README.md")
    assert read.data.to_dict() == {
        "library_name": "peft",
        "pipeline_tag": "token-classification",
        "tags": ["samner", "lora"],
    }
    assert "\x1b" not in read.text and r"Fine\\x1b\[2J \*bold\*" in read.text
    assert r"| a\|b | 0 | \[free\](http://x) \<script\> |" in read.text


def test_cards_have_json_schemas() -> None:
    for model in (ExpertCard, PoolCard):
        schema = model.model_json_schema()
        assert schema["properties"]["format"]["const"] == 1
        assert not schema["additionalProperties"]
