"""Verbs killed at a random moment: what they write is there whole or not at all, and the same command finishes.

Another verb that writes something gets an entry in ``verbs`` and its name in the test's parameters.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from samner import ExpertPool
from samner.files import sha256
from samner.pool import ExpertCard
from tests.reliability.counts import COUNTS
from tests.reliability.processes import forked, samner, warm
from tests.reliability.tiny import LABELS, TEXTS, copied, make_expert

pytestmark = [pytest.mark.reliability, pytest.mark.timeout(3600)]


@dataclass
class Verb:
    """A verb that is killed.

    Args:
        arguments: Of a run in a folder of its own.
        state: What is there of its result: ``"old"``, ``"new"``, or what is wrong.
        again: Arguments that the second run has besides, if it is to go on.
    """

    arguments: Callable[[Path], list[object]]
    state: Callable[[Path], str]
    again: Callable[[Path], list[object]] = lambda place: []


@pytest.fixture(scope="module")
def verbs(pool_folder: Path, model_folder: Path, texts_file: Path, tmp_path_factory: Any) -> dict[str, Verb]:
    root = tmp_path_factory.mktemp("kills")
    source = make_expert(ExpertPool(pool_folder), root / "added", seed=9)
    labelled = root / "labelled.jsonl"
    rows = [(t, t.split()[1]) for t in TEXTS]
    spans = [{"text": t, "entities": [{"start": 4, "end": 4 + len(r), "label": "river"}]} for t, r in rows]
    labelled.write_text("".join(json.dumps(row) + "\n" for row in spans))
    many = root / "many.jsonl"
    many.write_text(texts_file.read_text() * 40)
    expected = root / "expected.jsonl"
    warm(
        ["extract", many, "--model", model_folder, "-o", expected],
        ["merge", "--pool", pool_folder, "east", "west", "--to", "adapter", "--rank", 2, "-o", root / "merged"],
        ["export", model_folder, "--to", "peft", "--rank", 2, "-o", root / "exported"],
        ["select", texts_file, "--labels", ",".join(LABELS), "--pool", pool_folder],
    )

    def folder(name: str) -> Callable[[Path], str]:
        return lambda place: _folder(place / name)

    def pool(place: Path) -> str:
        opened = ExpertPool(place / "pool")
        names = set(opened.experts)
        wrong = [problem for name in names if (problem := _folder(opened.expert_folder(name))) != "new"]
        wrong += [f"lost {name}" for name in {"north", "south", "west"} - names]
        return wrong[0] if wrong else "+".join(sorted(names - {"north", "south", "west"}))

    def added(place: Path) -> str:
        return {"east": "old", "added+east": "new"}.get(found := pool(place), found)

    def removed(place: Path) -> str:
        return {"east": "old", "": "new"}.get(found := pool(place), found)

    def extracted(place: Path) -> str:
        if not (place / "out.jsonl").exists():
            return "old"
        return "new" if (place / "out.jsonl").read_bytes() == expected.read_bytes() else "other lines"

    def changed(*arguments: object) -> Callable[[Path], list[object]]:
        def made(place: Path) -> list[object]:
            copied(pool_folder, place / "pool")
            return [arguments[0], arguments[1], place / "pool", *arguments[2:]]

        return made

    labels = ["--labels", ",".join(LABELS)]
    steps = ["--option", "steps=6", "--option", "evaluations=2"]
    return {
        "train": Verb(
            lambda p: ["train", labelled, "--pool", pool_folder, "--name", "new", "-o", p / "new", *steps],
            folder("new"),
            lambda p: ["--resume"] if (p / "new.run").exists() else [],
        ),
        "adapt": Verb(
            lambda p: ["adapt", texts_file, *labels, "--pool", pool_folder, "-o", p / "model"], folder("model")
        ),
        "merge": Verb(
            lambda p: ["merge", "--pool", pool_folder, "east", "west", "--to", "adapter", "--rank", 2, "-o", p / "m"],
            folder("m"),
        ),
        "export": Verb(
            lambda p: ["export", model_folder, "--to", "peft", "--rank", 2, "-o", p / "exported"], folder("exported")
        ),
        "pool add": Verb(changed("pool", "add", source), added),
        "pool remove": Verb(changed("pool", "remove", "east"), removed),
        "extract": Verb(
            lambda p: ["extract", many, "--model", model_folder, "-o", p / "out.jsonl"],
            extracted,
            lambda p: ["--resume"],
        ),
    }


def _folder(folder: Path) -> str:
    """Whether a folder that was written is whole: what it lists is there as listed, and all of it can be read."""
    if not folder.exists():
        return "old"
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            listed = json.loads(path.read_text()).get("files", {})
            wrong = [name for name, digest in listed.items() if sha256(path.parent / name) != digest]
            if wrong:
                return f"{wrong[0]} is not as {path.name} says"
        elif path.suffix == ".safetensors":
            with safe_open(path, "pt") as file:
                list(file.keys())
    kinds = {"expert.json", "manifest.json", "merge.json", "export.json"}
    if not kinds & {path.name for path in folder.iterdir()}:
        return "a folder without its manifest"
    if (folder / "expert.json").exists():
        ExpertCard.read(folder)
    return "new"


@pytest.mark.parametrize("name", ["train", "adapt", "merge", "export", "pool add", "pool remove", "extract"])
def test_a_verb_that_is_killed_leaves_all_or_nothing_and_can_be_run_again(
    name: str, verbs: dict[str, Verb], tally: Any, tmp_path: Path
) -> None:
    row = tally(f"`samner {name}` ended by kill -9 at a random moment, then run again")
    verb, draw = verbs[name], random.Random(name)
    (tmp_path / "whole").mkdir()
    whole = forked(samner(*verb.arguments(tmp_path / "whole")), tmp_path / "errors")
    assert whole.code == 0 and verb.state(tmp_path / "whole") == "new", whole.said
    attempts = 0
    while row.count < COUNTS.kills and attempts < 4 * COUNTS.kills:
        attempts += 1
        place = tmp_path / "place"
        place.mkdir()
        arguments = verb.arguments(place)
        ended = forked(samner(*arguments), tmp_path / "errors", kill_after=draw.random() * whole.seconds)
        if ended.code == -9:
            row.done()
            try:
                state = verb.state(place)
            except Exception as error:
                state = f"{type(error).__name__}: {error}"
            if state not in ("old", "new"):
                row.failed("half-written", state)
            elif state == "old":
                again = forked(samner(*arguments, *verb.again(place)), tmp_path / "errors")
                if again.code != 0 or verb.state(place) != "new":
                    row.failed("the same command does not finish", f"{again.code}: {again.said[-500:]}")
        shutil.rmtree(place)
