"""Train an expert on labelled texts, whatever the family of its base."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from samner.backbones import TrainingData, TrainingSet
from samner.backbones.base import Backbone, DryRun, PlannedBase
from samner.backbones.families import family, family_of, family_over_models, usable_device
from samner.data import read_gold
from samner.data.formats.registry import FORMATS, is_data_folder
from samner.data.lines import COMPRESSED, content_suffix
from samner.data.validation import declines
from samner.embedding import MINILM, embed_domain, spread
from samner.entities import Entity, EntityType, Example
from samner.errors import DataError, SamnerError
from samner.files import atomic_folder, user_path
from samner.pool import DataSource, ExpertCard, ExpertPool
from samner.pool.card import check_name
from samner.scoring import scored_labels
from samner.settings import Settings, read_yaml_settings

_SUFFIXES = {suffix for format in FORMATS.values() for suffix in format.suffixes} - {".txt", ".md"}
_DEV_SHARE = 0.1
_DEV_TEXTS = 20
"""Fewer held-out texts tell too little, and so many must be left to learn from."""

_SAMPLE = Example(
    "Ada Moreno moved from Lisbon to Basel in March 2021.",
    (Entity(0, 10, "person"), Entity(22, 28, "city"), Entity(32, 37, "city"), Entity(41, 51, "date")),
)
"""For a dry run without data."""


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


# not strict: behind a validator a list of a file is a list of Python's, and a path a string
_Paths = Annotated[tuple[Annotated[Path, Field(strict=False)], ...], Field(strict=False), BeforeValidator(_listed)]
_Texts = Annotated[tuple[str, ...], Field(strict=False), BeforeValidator(_listed)]
_Text = Annotated[str, Field(pattern=r"\S")]


class ExpertRecipe(Settings):
    """What ``samner train`` is given, as a YAML file: what it leaves out, the command line or a default says.

    Attributes:
        model: Hub id or folder of the language model that the recipe is for.
        prompt: How that is asked: a shipped prompt's name or a YAML file.
        architecture: Configuration of that model, for a dry run.
        pool: ``"builtin"``, a folder or a hub id.
        data: Labelled texts: files, or folders with train.jsonl and maybe dev.jsonl.
        dev: A file for each of them, to stop early by.
        name: Of the expert.
        out: Folder to write.
        description: One line for the card.
        licence: Of the data: of all data sets, or ``NAME=LICENCE`` of one.
        options: Of the training; ``Backbone.recipe`` says which the pool's family has.
    """

    model: _Text | None = None
    prompt: _Text = "json-by-type"
    architecture: dict[str, Any] | None = None
    pool: _Text = "builtin"
    data: _Paths = ()
    dev: _Paths = ()
    name: _Text | None = None
    out: Path | None = None
    description: str = ""
    licence: _Texts = ()
    options: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> ExpertRecipe:
        """The recipe in a YAML file; paths in it are relative to its folder.

        Raises:
            SamnerError: If it cannot be read, holds an unknown key or a value that will not do.
        """
        recipe = read_yaml_settings(path, cls)

        def place(name: str | Path) -> Path:
            return path.parent / user_path(name)

        changed: dict[str, Any] = {"data": tuple(map(place, recipe.data)), "dev": tuple(map(place, recipe.dev))}
        changed["out"] = recipe.out and place(recipe.out)
        for key in ("pool", "prompt"):  # what is not there may be a name
            if place(getattr(recipe, key)).exists():
                changed[key] = str(place(getattr(recipe, key)))
        return recipe.model_copy(update=changed)


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """A data set that was read; none for ``dev`` if it has no dev split."""

    name: str
    train: Sequence[Example]
    dev: Sequence[Example] | None = None


def read_labelled(paths: Sequence[Path], dev: Sequence[Path] = (), format: str | None = None) -> list[LabelledSet]:
    """The data sets in files, or in folders with a file ``train`` and maybe one ``dev``.

    Args:
        paths: Files and folders with training data.
        dev: One dev file for each of them, in their order; or none.
        format: Of all files; by default their content tells.

    Raises:
        SamnerError: If one is missing or cannot be read, or the dev files do not fit them.
    """
    if dev and len(dev) != len(paths):
        raise SamnerError(
            f"there are {len(dev)} --dev files for {len(paths)} data sets; give one for each, in their order, or none"
        )
    found = [_find(path) for path in paths]
    names = Counter(name for name, _, _ in found)
    told = [name if names[name] == 1 else str(path) for (name, _, _), path in zip(found, paths, strict=True)]
    if twice := next((name for name, count in Counter(told).items() if count > 1), None):
        raise SamnerError(f"{twice} is given twice")
    sets = []
    for number, (name, (_, train, held_out)) in enumerate(zip(told, found, strict=True)):
        held_out = dev[number] if dev else held_out
        sets.append(
            LabelledSet(name, _counting(train, format), None if held_out is None else _counting(held_out, format))
        )
    return sets


def _counting(path: Path, format: str | None) -> list[Example]:
    """The labelled texts of a file, without those of which it says that their labels do not count.

    What a file labels is gold, also if a model's scores still stand beside it.
    """
    return [
        replace(example, entities=tuple(replace(e, score=1.0) for e in example.entities))
        for example in read_gold(path, format)
        if not declines(example.meta)
    ]


def _find(path: Path) -> tuple[str, Path, Path | None]:
    """Name, training file and dev file of a data set."""
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.is_dir() and not is_data_folder(path):
        train = _split(path, "train")
        if train is None:
            raise DataError(f"{path}: holds no train.jsonl (or {', '.join(sorted(_SUFFIXES - {'.jsonl'}))})")
        return path.resolve().name, train, _split(path, "dev", "valid", "validation")
    stem = path.name if path.is_dir() else _stem(path)
    return path.resolve().parent.name if stem == "train" else stem, path, None


def _stem(path: Path) -> str:
    return (path.with_suffix("") if path.suffix.lower() in COMPRESSED else path).stem


def _split(folder: Path, *names: str) -> Path | None:
    found = [
        path
        for path in sorted(folder.iterdir())
        if _stem(path) in names and (content_suffix(path) in _SUFFIXES if path.is_file() else is_data_folder(path))
    ]
    if len(found) > 1:
        raise DataError(f"{folder}: holds both {found[0].name} and {found[1].name}; name one of them instead")
    return found[0] if found else None


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


def training_data(
    sets: Sequence[LabelledSet],
    seed: int = 0,
    foreign: Sequence[str] = (),
    tell: Callable[[str], None] = lambda line: None,
) -> TrainingData:
    """What to train on; part of the training texts is held out where there is no dev split.

    Args:
        sets: The data sets.
        seed: Of the draw of what is held out.
        foreign: Prompts of types of other data sets.
        tell: Called with a line on what is held out.

    Raises:
        SamnerError: If nothing is labelled in one.
    """
    train, dev = [], []
    for each in sets:
        types = training_set(each.name, each.train).types
        rest, held_out = _hold_out(each, seed, tell) if each.dev is None else (each.train, each.dev)
        train.append(training_set(each.name, rest, types))
        if held_out:
            dev.append(training_set(each.name, held_out, types))
    return TrainingData(train, dev, foreign)


def _hold_out(
    data: LabelledSet, seed: int, tell: Callable[[str], None]
) -> tuple[Sequence[Example], Sequence[Example]]:
    texts = list(dict.fromkeys(example.text for example in data.train))
    picked = held_out(texts, seed)
    if not picked:
        tell(f"{data.name}: too few texts ({len(texts)}) to hold some out: there is no dev score, no early stopping")
        return data.train, []
    tell(f"{data.name}: {len(picked)} of its {len(texts)} texts, drawn at random, are held out as dev split")
    return [e for e in data.train if e.text not in picked], [e for e in data.train if e.text in picked]


def held_out(texts: Sequence[str], seed: int) -> frozenset[str]:
    """A tenth of different texts, drawn at random, to stop a training by; none if that were too few to tell."""
    count = max(_DEV_TEXTS, round(_DEV_SHARE * len(texts)))
    return frozenset(random.Random(seed).sample(texts, count) if len(texts) - count >= _DEV_TEXTS else ())


def licences_by_set(given: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Licence by data set, from ``LICENCE`` (of all data sets) and ``NAME=LICENCE``; the latter goes first.

    Raises:
        SamnerError: If a licence is of a data set that there is not.
    """
    licences: dict[str, str] = {}
    for value in given:
        name, equals, licence = (part.strip() for part in value.partition("="))
        if not equals:
            licences = dict.fromkeys(names, name) | licences
        elif name in names:
            licences[name] = licence
        else:
            raise SamnerError(f"--licence {value}: there is no data set {name!r}; there are {', '.join(names)}")
    return licences


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
        options: Settings of the training; ``Backbone.recipe`` says which there are.
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
            embedding=tuple(map(float, embed_domain(texts, device=usable_device(pool.device)))),
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


def family_for(recipe: ExpertRecipe) -> tuple[type[Backbone], Path | PlannedBase]:
    """The family that a recipe is for, and the base: of the model that it names, else of its pool.

    Raises:
        SamnerError: If there is no such pool.
    """
    if recipe.model:
        return family_over_models(), PlannedBase(recipe.model, recipe.prompt, recipe.architecture)
    base = ExpertPool.load(recipe.pool).base_folder
    return family(family_of(base)), base


def dry_run(recipe: ExpertRecipe, sets: Sequence[LabelledSet], tell: Callable[[str], None]) -> DryRun:
    """Rehearse a training; nothing is trained.

    Args:
        recipe: What to train on.
        sets: The data, as it was read; two sentences of our own if there is none.
        tell: Called with a line on what is held out.

    Raises:
        SamnerError: If anything will not do, or the base is no language model.
    """
    if not sets:
        tell("no data was named: two sentences that come with samner take its place")
        sets = [LabelledSet("sample", [_SAMPLE, Example("Nothing was decided.")], [])]
    kind, base = family_for(recipe)
    seed = kind.recipe().of(recipe.options).seed
    return kind.dry_run(training_data(sets, seed, tell=tell), recipe.options, base)
