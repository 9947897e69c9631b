"""Ask a teacher for types of other data sets on texts of the wide ones, which leave them unmarked.

    python -m studies.filled_types --data ../shared/data --texts 160 --out runs/filled.jsonl

The base of a pool by itself answers, for a line of texts of one set at a time, for types drawn from the other sets
that teach a base: half of them general ones, the others of a set each. What it says is kept beside the set's own
entities, as sure as it is. Lines that are there are not asked again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from samner.backbones import BASE, TrainingSet
from samner.cli.output import guarded
from samner.embedding import encode
from samner.entities import Entity, EntityType, Example
from samner.pool import ExpertPool
from samner.spans import flat
from studies.training_data import HERE, Datasets, read_settings

GENERAL = ("wide/general/grobid_ner", "foundation/multiconer2")
SOURCES = (
    *GENERAL,
    "wide/cybersecurity/mitre_attack",
    "wide/dialogue/sgd",
    "wide/events/geneva",
    "wide/finance/fire",
    "wide/finance/kpi_edgar",
    "wide/materials/materials_syntheses",
    "wide/medicine_trials/neurotrialner",
    "wide/medicine_trials/phee",
    "wide/software/somesci",
    "wide/voice_assistant/hwu64",
)
"""Sets whose texts are sentences."""
WORDS = (5, 60)
"""Least and most words of a text that is asked about."""
LINE = 40
"""Texts that are asked for the same types."""
TYPES = 16
ALIKE = 0.8
"""Cosine from which a type is one of the set's own by another name."""


def questions(data: Datasets, texts: int) -> list[tuple[str, list[Example], list[str]]]:
    """Set, texts and foreign types of each line, the sets in turn."""
    settings = read_settings(HERE / "wide_pool.yaml")
    sets = {n: data.set(n) for n in settings["foundation"] if n != "foundation/wordnet"}
    rng = np.random.default_rng(0)
    lines: list[list[tuple[str, list[Example], list[str]]]] = []
    for name in SOURCES:
        fit = [e for e in sets[name].examples if WORDS[0] <= len(e.text.split()) <= WORDS[1]]
        drawn = [fit[i] for i in rng.permutation(len(fit))[:texts]]
        own = [t.prompt for t in sets[name].types]
        foreign = {n: _foreign(s, own) for n, s in sets.items() if n != name}
        general = sorted({t for n in GENERAL if n != name for t in foreign[n]})
        lines.append([])
        for first in range(0, len(drawn), LINE):
            asked = list(rng.choice(general, TYPES // 2, replace=False))
            for other in rng.permutation([n for n in foreign if n not in GENERAL])[: TYPES - len(asked)]:
                if rest := [t for t in foreign[other] if t not in asked]:
                    asked.append(rng.choice(rest))
            lines[-1].append((name, drawn[first : first + LINE], [str(t) for t in asked]))
    return [its[i] for i in range(max(map(len, lines))) for its in lines if i < len(its)]


def _foreign(data: TrainingSet, own: Sequence[str]) -> list[str]:
    """A set's types that are unlike one's own."""
    types = sorted({t.prompt for t in data.types} - set(own))
    alike = (encode(types) @ encode(list(own)).T).max(axis=1)
    return [t for t, cosine in zip(types, alike, strict=True) if cosine < ALIKE]


def filled_sets(path: Path, others: Sequence[TrainingSet], *, threshold: float, share: float) -> list[TrainingSet]:
    """The lines of a file as data sets, which together are drawn with a share of the steps beside the others.

    Args:
        path: The file.
        others: What else teaches; the sets of the lines are among them.
        threshold: The least score of an answer that counts.
        share: Of all steps.
    """
    sets = []
    for line in path.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        own = next(s for s in others if s.name == told["set"])
        types = (*own.types, *(EntityType(t) for t in told["types"]))
        examples = [
            Example(t["text"], tuple(Entity(*e) for e in t["entities"] if e[3] >= threshold)) for t in told["texts"]
        ]
        sets.append(TrainingSet(f"{told['set']} {len(sets)}", examples, types))
    mine, theirs = (sum(s.weight * len(s.examples) ** 0.5 for s in its) for its in (sets, others))
    return [replace(s, weight=share / (1 - share) * theirs / mine) for s in sets]


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds wide/ and foundation/")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--teacher", default="smollm2", help="a pool, whose base answers")
    parser.add_argument("--threshold", type=float, default=0.1, help="from which an answer is kept")
    parser.add_argument("--texts", type=int, default=160, help="of each set, at most")
    parser.add_argument("--minutes", type=float, default=10, help="no line is begun after them")
    arguments = parser.parse_args()
    start = time.monotonic()
    lines = questions(Datasets(arguments.data), arguments.texts)
    there = len(arguments.out.read_text(encoding="utf-8").splitlines()) if arguments.out.is_file() else 0
    teacher = ExpertPool.load(arguments.teacher, "cpu").backbone
    begun = time.monotonic()
    texts = found = 0
    for name, examples, asked in lines[there:]:
        if time.monotonic() - start > 60 * arguments.minutes:
            break
        types = [EntityType(t) for t in asked]
        answers = teacher.predict([e.text for e in examples], types, [BASE], arguments.threshold)[BASE]
        told = [[(e.start, e.end, e.label, round(e.score, 3)) for e in flat(its)] for its in answers]
        gold = [[(e.start, e.end, e.label, 1.0) for e in example.entities] for example in examples]
        rows = [{"text": e.text, "entities": [*own, *more]} for e, own, more in zip(examples, gold, told, strict=True)]
        with arguments.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"set": name, "types": asked, "texts": rows}) + "\n")
        texts, found = texts + len(examples), found + sum(map(len, told))
        print(f"{name}: {texts} texts, {found} entities, {texts / (time.monotonic() - begun):.1f} texts/s", flush=True)


if __name__ == "__main__":
    main()
