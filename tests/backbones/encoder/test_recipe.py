from __future__ import annotations

from typing import Any

import pytest

from samner.backbones.encoder.recipe import Recipe
from samner.errors import SamnerError


def test_options_change_the_defaults() -> None:
    recipe = Recipe.of({"steps": 30, "dropout": 0.0})
    assert (recipe.steps, recipe.dropout, recipe.rank) == (30, 0.0, Recipe().rank)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(
        SamnerError, match="training option: lr: unknown setting; known are steps, epochs, learning_rate"
    ):
        Recipe.of({"lr": 1e-3})


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"epochs": -1},
        {"learning_rate": 0.0},
        {"rank": 0},
        {"batch_texts": 0},
        {"max_minutes": 0},
        {"dropout": 1.0},
        {"paraphrase_rate": -0.1},
    ],
)
def test_values_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(SamnerError, match=f"^training option: {next(iter(options))}: input should be"):
        Recipe.of(options)
