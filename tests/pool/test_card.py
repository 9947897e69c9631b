from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samner.errors import PoolError
from samner.files import sha256
from samner.pool import DataSource, ExpertCard
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
        data=(DataSource("ncbi", "CC0", 593), DataSource("own")),
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


@pytest.mark.parametrize("embedding", [(), (float("nan"),), (0.5, float("inf"))])
def test_an_embedding_has_to_be_finite_numbers(embedding: tuple[float, ...]) -> None:
    with pytest.raises(PoolError, match="domain embedding of 'x' must be finite"):
        card(embedding=embedding)


def test_a_folder_without_a_card_is_no_expert(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"expert\.json: no such file, so .* is not an expert"):
        ExpertCard.read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        lambda values: values.pop("base"),
        lambda values: values.update(types=3),
        lambda values: values.update(embedding=["a"]),
        lambda values: values.update(embedding=None),
        lambda values: values.update(data=["ncbi"]),
        lambda values: values.update(data=[{"nom": "ncbi"}]),
        lambda values: values.update(files=["adapter_config.json"]),
        lambda values: values.update(training=[1]),
    ],
)
def test_a_card_with_a_wrong_entry_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    folder = folder_with_files(tmp_path)
    card().write(folder)
    values = json.loads((folder / CARD).read_text())
    change(values)
    (folder / CARD).write_text(json.dumps(values))
    with pytest.raises(PoolError, match=r"expert\.json: not an expert's card"):
        ExpertCard.read(folder)


def test_numbers_that_json_has_no_word_for_are_refused(tmp_path: Path) -> None:
    folder = folder_with_files(tmp_path)
    card().write(folder)
    (folder / CARD).write_text((folder / CARD).read_text().replace("-0.5", "NaN"))
    with pytest.raises(PoolError, match="must be finite"):
        ExpertCard.read(folder)
