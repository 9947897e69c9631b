"""Train an expert on labelled texts, whatever the family of its base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samner.backbones import TrainingData, TrainingSet
from samner.embedding import MINILM, embed_domain, spread
from samner.entities import EntityType, Example
from samner.errors import SamnerError
from samner.files import atomic_folder
from samner.pool import DataSource, ExpertCard, ExpertPool
from samner.pool.card import check_name
from samner.scoring import scored_labels


def training_set(name: str, examples: Sequence[Example], types: Sequence[EntityType] | None = None) -> TrainingSet:
    """A data set whose types are those that occur in it, unless they are given.

    Catch-all types ("miscellaneous") are left out: what they mean differs from data set to data set.

    Raises:
        SamnerError: If nothing is labelled.
    """
    if types is None:
        names = sorted({label for example in examples for label in example.labels()})
        if not names:
            raise SamnerError(f"{name}: no text has an entity, so there is nothing to learn")
        types = scored_labels(names)
    return TrainingSet(name, examples, tuple(types))


def train_expert(
    pool: ExpertPool,
    name: str,
    data: TrainingData,
    out: Path,
    *,
    options: Mapping[str, Any] | None = None,
    description: str = "",
    licences: Mapping[str, str] | None = None,
    run: Path | None = None,
    resume: bool = False,
) -> ExpertCard:
    """Train an expert on a pool's base and write it as a folder that ``ExpertPool.add`` takes.

    Args:
        pool: Whose base model it is trained on; the pool itself is not changed.
        name: Of the expert.
        data: What it learns from.
        out: Folder to write; must not exist.
        options: Settings of the training; ``Backbone.recipe_options`` lists them.
        description: One line for the card.
        licences: Licence by data set, for the card.
        run: Folder for checkpoints.
        resume: Go on from the checkpoint in ``run``, if there is one.

    Raises:
        SamnerError: If an argument is not valid or ``out`` exists.
    """
    check_name(name)
    with atomic_folder(out) as temporary:
        record = pool.backbone.train_expert(data, temporary, options or {}, run=run, resume=resume)
        texts = [text for data_set in data.train for text in spread([e.text for e in data_set.examples])]
        card = ExpertCard(
            name=name,
            base=pool.backbone.fingerprint,
            types=tuple(dict.fromkeys(t.name for data_set in data.train for t in data_set.types)),
            embedding=tuple(map(float, embed_domain(texts))),
            embedding_model=MINILM,
            description=description,
            data=tuple(
                DataSource(name=s.name, licence=(licences or {}).get(s.name, "not stated"), texts=len(s.examples))
                for s in data.train
            ),
            training=record,
        )
        card.write(temporary)
    return ExpertCard.read(out)
