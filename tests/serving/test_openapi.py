from __future__ import annotations

import json
from pathlib import Path

from tests.serving import conftest  # noqa: F401 - skips where the extra is missing

FILE = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_description_is_the_one_that_is_served() -> None:
    from samner.serving.openapi import description

    assert FILE.read_text("utf-8") == description(), "the API changed: make openapi"


def test_every_operation_is_described_and_has_examples() -> None:
    said = json.loads(FILE.read_text("utf-8"))
    operations = [(path, verb, one) for path, verbs in said["paths"].items() for verb, one in verbs.items()]
    assert len(operations) == 10
    for path, verb, one in operations:
        assert one["summary"] and one["tags"], (path, verb)
    for name in ("ExtractRequest", "AdaptRequest"):
        assert said["components"]["schemas"][name]["properties"]["texts"]["examples"]
