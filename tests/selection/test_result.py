from __future__ import annotations

import json

from samner.selection import PseudoLabel, Selection


def test_a_selection_survives_json() -> None:
    selection = Selection(
        "sampling",
        chosen=("b", "a"),
        ranking=("b", "a", "c"),
        cosine={"a": 0.25, "b": -0.5, "c": 0.0},
        f1={"a": 0.5, "b": 1.0, "c": 0.0},
        votes_needed=2,
        sample=(4, 7),
        pseudo_labels=(PseudoLabel(1, 0, 3, "number", ("a", "b")),),
        note="two votes were taken as enough",
        warnings=("no expert is close",),
    )
    assert Selection.from_dict(json.loads(json.dumps(selection.to_dict()))) == selection


def test_so_does_one_by_similarity() -> None:
    selection = Selection("similarity", ("a",), ("a", "b"), {"a": 0.5, "b": 0.25})
    assert Selection.from_dict(json.loads(json.dumps(selection.to_dict()))) == selection
