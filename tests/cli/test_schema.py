from __future__ import annotations

import json


def test_a_recipe_has_the_options_of_every_family(samner):
    result = samner("schema", "recipe")
    assert (result.exit_code, result.stderr) == (0, "")
    schema = json.loads(result.stdout)
    assert schema["additionalProperties"] is False and set(schema["properties"]) >= {"data", "pool", "options"}
    options = {each["title"]: each["properties"] for each in schema["properties"]["options"]["anyOf"]}
    assert "batch_tokens" in options["encoder"] and "micro_batch" in options["causal"]
    assert options["causal"]["metric"]["enum"] == ["loss", "f1"]


def test_cards(samner):
    for kind, field in (("expert", "embedding"), ("pool", "base")):
        result = samner("schema", kind)
        assert (result.exit_code, result.stderr) == (0, "")
        assert field in json.loads(result.stdout)["properties"]


def test_no_such_kind(samner):
    result = samner("schema", "nothing")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: there is no schema of 'nothing'; known are recipe")
