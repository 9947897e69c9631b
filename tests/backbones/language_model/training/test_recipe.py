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
        ({"lr": 1}, "unknown training option 'lr'; known are steps, epochs,"),
        ({"rank": 2.5}, "rank must be a whole number, not 2.5"),
        ({"rank": True}, "rank must be a whole number, not True"),
        ({"steps": 0}, "steps must be above 0, not 0"),
        ({"max_minutes": -1}, "max_minutes must be above 0, not -1"),
        ({"batch": 0}, "batch must be above 0"),
        ({"foreign_types": -1}, "foreign_types must not be negative"),
        ({"type_dropout": 1}, r"type_dropout must lie in \[0, 1\), not 1"),
        ({"gradient_checkpointing": "yes"}, "gradient_checkpointing must be true or false, not 'yes'"),
        ({"metric": "accuracy"}, "metric must be one of loss, f1, not 'accuracy'"),
        ({"packing": "maybe"}, "packing must be one of auto, on, off, not 'maybe'"),
    ],
)
def test_what_will_not_do(options: dict[str, Any], message: str):
    with pytest.raises(SamnerError, match=message):
        Recipe.of(options)
