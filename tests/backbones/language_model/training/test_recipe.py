from __future__ import annotations

from typing import Any

import pytest

from samner.backbones.language_model.training.recipe import Recipe
from samner.errors import SamnerError


def test_defaults_with_some_settings_changed():
    recipe = Recipe.of({"steps": 5, "metric": "f1", "gradient_checkpointing": True})
    assert (recipe.steps, recipe.metric, recipe.gradient_checkpointing) == (5, "f1", True)
    assert recipe.rank == Recipe().rank


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 1}, "training option: lr: unknown setting; known are steps, epochs,"),
        ({"rank": 2.5}, "rank: input should be a valid integer, not 2.5"),
        ({"rank": True}, "rank: input should be a valid integer, not True"),
        ({"steps": 0}, "steps: input should be greater than 0, not 0"),
        ({"max_minutes": -1}, "max_minutes: input should be greater than 0, not -1"),
        ({"learning_rate": float("inf")}, "learning_rate: input should be a finite number"),
        ({"batch": 0}, "batch: input should be greater than 0"),
        ({"foreign_types": -1}, "foreign_types: input should be greater than or equal to 0"),
        ({"type_dropout": 1}, "type_dropout: input should be less than 1, not 1"),
        ({"gradient_checkpointing": "yes"}, "gradient_checkpointing: input should be a valid boolean, not 'yes'"),
        ({"metric": "accuracy"}, "metric: input should be 'loss' or 'f1', not 'accuracy'"),
        ({"packing": "maybe"}, "packing: input should be 'auto', 'on' or 'off', not 'maybe'"),
    ],
)
def test_what_will_not_do(options: dict[str, Any], message: str):
    with pytest.raises(SamnerError, match=message):
        Recipe.of(options)
