"""A fast task model from a slow one's answers to unlabelled texts.

The teacher, a task model of any family, reads texts that nobody labelled. A pupil, an expert over the base of a fast
pool, learns what it answered and how sure it was of that (Hinton et al. 2015, arXiv 1503.02531), and becomes a task
model of its own. No true label is looked at: training stops, and the pupil's threshold is set, by its agreement with
the teacher on texts that are held out.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from samner import arguments
from samner.backbones import TrainingData, TrainingSet
from samner.cache import Cache, digest
from samner.display import brief, markdown
from samner.entities import Entity, EntityType, Example, LabelsLike, entity_types
from samner.errors import SamnerError
from samner.lora import LoraAdapter
from samner.merging import merge
from samner.pool import ExpertCard, ExpertPool
from samner.pool.card import model_card, table
from samner.recogniser import Merge, Recogniser, combine
from samner.scoring import best_threshold, micro_f1
from samner.task_model import TaskModel, hold, versions
from samner.thresholds import by_label
from samner.training import held_out, train_expert

FAST_POOL = "builtin"
"""Whose base a pupil is trained on unless told otherwise."""
PUPIL = "distilled"
"""Name of the pupil as an expert, and of the only part and so the mode of the task model that it becomes."""
LEAST_TEXTS = 50
"""Different texts that are needed: what is held out of fewer says nothing."""
SURE = 1.5
"""Times its threshold, a teacher is sure of an entity; of a high threshold, halfway to one."""
LEAST_ENTITIES = 3
"""Entities of a type that the teacher has to be sure of, or the type is left out."""
EPOCHS = 10.0
"""Passes over the texts, where 500 or fewer are learnt from; of more, fewer by the square root of their number."""
ANSWERS = "answers.sqlite"
"""In the run folder: what the teacher answered so far."""

_FLOOR = 0.25
"""Share of the teacher's threshold from which its candidates are kept: those below it are taught as less than sure."""
_BATCH = 64
_DIGITS = 4
_LOWEST = 0.02
"""Least threshold that a pupil may get."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a teacher answered to unlabelled texts.

    Args:
        types: What it was asked for.
        texts: Different texts, each with the entities that may be one, down to a share of the teacher's threshold.
        limits: The teacher's threshold for each label: the entities that reach it are its answer.
        seconds: How long it took to read them.
        teacher: What a card says of it, as JSON values.
    """

    types: tuple[EntityType, ...]
    texts: Sequence[Example]
    limits: Mapping[str, float]
    seconds: float
    teacher: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 of all that they hold but the seconds."""
        found = [[e.text, [(x.key, x.score) for x in e.entities]] for e in self.texts]
        return digest([[t.prompt for t in self.types], sorted(self.limits.items()), found])

    def counting(self, example: Example, labels: Iterable[str] | None = None) -> Example:
        """One of the texts with the entities alone that the teacher's answer holds, maybe of some labels only."""
        wanted = set(self.limits if labels is None else labels)
        its = (e for e in example.entities if e.label in wanted and e.score >= self.limits[e.label])
        return Example(example.text, tuple(its))


def distil(
    teacher: Recogniser,
    texts: Iterable[str],
    labels: LabelsLike | None = None,
    *,
    name: str = "teacher",
    run: Path | None = None,
    on_done: Callable[[int], None] | None = None,
    pool: ExpertPool | None = None,
    least: int = LEAST_ENTITIES,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> TaskModel:
    """Make a fast task model of a slow one's answers to unlabelled texts: ``ask``, then ``teach``.

    Args:
        teacher: The slow one, as ``samner.adapt`` or ``TaskModel.load`` gives it; of any family.
        texts: Unlabelled texts of its domain; some hundreds at least, thousands are better.
        labels: What to ask for; what it was adapted for by default.
        name: What the card calls the teacher.
        run: Folder of the answers as they come and the training's checkpoint, from which the same call goes on.
        on_done: Called with the number of texts that the teacher just finished.
        pool: As of ``teach``, like all that follow.
        least: Entities of a type that the teacher has to be sure of.
        seed: Of all that is random.
        options: Of the training.
        tell: Called with a line on each type left out, and on what is held out.

    Raises:
        SamnerError: If there are too few texts, the teacher finds too little, or an argument is not valid.

    Example:
        >>> slow = TaskModel.load("my-domain")
        >>> texts = [f"Aspirin relieves headache within {hours} hours." for hours in range(60)]
        >>> fast = distil(slow, texts, options={"steps": 20})
        >>> fast.predict_entities("Aspirin relieves headache.")[0]["found_by"]
        ['distilled']
        >>> fast.save("my-fast-domain")
    """
    answers = ask(teacher, texts, labels, name=name, run=run, on_done=on_done)
    return teach(answers, pool, least=least, seed=seed, options=options, run=run, tell=tell)


def ask(
    teacher: Recogniser,
    texts: Iterable[str],
    labels: LabelsLike | None = None,
    *,
    name: str = "teacher",
    run: Path | None = None,
    on_done: Callable[[int], None] | None = None,
) -> Answers:
    """Let a teacher read texts; see ``distil`` for the arguments. What the run folder holds is not asked anew.

    Raises:
        SamnerError: If there are fewer than ``LEAST_TEXTS`` different texts, or an argument is not valid.
    """
    types = teacher.types if labels is None else entity_types(labels)
    read = list(dict.fromkeys(text for text in arguments.strings(texts, "texts", "text") if text.strip()))
    if len(read) < LEAST_TEXTS:
        raise SamnerError(f"{len(read)} different texts are too few to learn from: at least {LEAST_TEXTS} are needed")
    limits = by_label(None, types, teacher.threshold, teacher.thresholds)
    floors = {label: _FLOOR * limit for label, limit in limits.items()}
    kept = None if run is None else Cache(run / ANSWERS)
    decides = [teacher.digest(types), _FLOOR]
    examples: list[Example] = []
    seconds = 0.0
    for first in range(0, len(read), _BATCH):
        batch = read[first : first + _BATCH]
        answered = kept.get("answers", [decides, batch]) if kept else None
        if answered is None:
            began = perf_counter()
            found, votes = teacher.candidates(batch, types, floors)
            entities = [
                [(e.start, e.end, e.label, round(e.score, _DIGITS)) for e in combine(its, votes)] for its in found
            ]
            answered = {"entities": entities, "seconds": perf_counter() - began}
            if kept:
                kept.put("answers", [decides, batch], answered)
        seconds += answered["seconds"]
        for text, its in zip(batch, answered["entities"], strict=True):
            examples.append(Example(text, tuple(Entity(*fields) for fields in its)))
        if on_done:
            on_done(len(batch))
    return Answers(types, examples, limits, seconds, {"name": name, "sha256": digest(decides), **_said_of(teacher)})


def _said_of(teacher: Recogniser) -> dict[str, Any]:
    """What is known of where a teacher comes from."""
    settings = getattr(teacher, "settings", {})
    return {
        "pool": settings.get("pool", "not stated"),
        "base": teacher.backbone.fingerprint,
        "mode": teacher.mode,
        "experts": {part: dict(merged.experts) for part, merged in teacher.merges.items()},
        "warnings": list(teacher.warnings),
    }


def teach(
    answers: Answers,
    pool: ExpertPool | None = None,
    *,
    least: int = LEAST_ENTITIES,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    run: Path | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> TaskModel:
    """Train a pupil on a teacher's answers.

    Args:
        answers: The answers.
        pool: Whose base it is trained on; the built-in one by default. Its experts play no part.
        least: Entities of a type that the teacher has to be ``SURE`` of, or the type is left out.
        seed: Of the draw of what is held out, and of the training.
        options: Of the training; ``pool.backbone.recipe()`` says which there are.
        run: Folder for checkpoints, from which an interrupted training on the same answers goes on; none for none.
        tell: Called with a line on each type left out, and on what is held out.

    Raises:
        SamnerError: If no type is left, an argument is not valid, or a checkpoint is of another run.
    """
    pool = ExpertPool.load(FAST_POOL) if pool is None else pool
    least, seed = arguments.whole(least, "least", 1), arguments.whole(seed, "seed", 0)
    aside = held_out([example.text for example in answers.texts], seed)
    learnt = [example for example in answers.texts if example.text not in aside]
    types, left_out = _teachable(answers, learnt, least)
    for label, count in left_out.items():
        tell(f"left out: {label}, of which the teacher is sure {count} times in {len(learnt)} texts ({least} needed)")
    names = [t.name for t in types]
    gold = [answers.counting(example, names) for example in answers.texts if example.text in aside]
    tell(f"{len(aside)} of the {len(answers.texts)} texts, drawn at random, are held out")
    data = TrainingData([TrainingSet(PUPIL, learnt, types)], [TrainingSet(PUPIL, gold, types)])
    backbone = pool.backbone
    with TemporaryDirectory(prefix="samner-") as folder:
        card = train_expert(
            pool,
            PUPIL,
            data,
            Path(folder) / PUPIL,
            options={"epochs": EPOCHS * min(1.0, math.sqrt(500 / len(learnt))), **(options or {}), "seed": seed},
            run=None if run is None else run / f"training-{answers.digest[:16]}",
            resume=True,
        )
        adapter = LoraAdapter.load(Path(folder) / PUPIL, PUPIL, fingerprint=card.base, checksums=card.files)
    deltas = merge([adapter.on_base(backbone.module_shapes())], "linear")
    model = f"task-{hashlib.sha256(f'{PUPIL} {adapter.digest}'.encode()).hexdigest()[:16]}"
    part = hold(backbone, Merge({PUPIL: 1.0}, model, tuple(t.prompt for t in types)), deltas)
    pupil = TaskModel(
        backbone, pool.base_folder, types, PUPIL, {PUPIL: part}, {}, {"method": "linear", "parameters": {}}
    )
    began = perf_counter()
    found = pupil.predict([example.text for example in gold], threshold=_LOWEST)
    seconds = perf_counter() - began
    threshold, agreement = _agreeing(gold, found, names)
    record = {
        "teacher": {**answers.teacher, "seconds": round(answers.seconds, 2), "texts": len(answers.texts)},
        "pool": pool.folder.name,
        "base": backbone.fingerprint,
        "learnt": len(learnt),
        "held_out": len(gold),
        "left_out": left_out,
        "agreement": round(agreement, 4),
        "texts_per_second": round(len(gold) / seconds, 1),
        "training": card.training,
    }
    settings = {**pupil.settings, "pool": pool.folder.name, "seed": seed, "distilled": record}
    pupil = replace(pupil, threshold=threshold, settings=settings)
    return replace(pupil, card=str(_card(pupil, card)))


def _teachable(
    answers: Answers, learnt: Sequence[Example], least: int
) -> tuple[tuple[EntityType, ...], dict[str, int]]:
    """The types of which the teacher is sure often enough, and of the others how often it is."""
    sure = {label: min(SURE * limit, (1 + limit) / 2) for label, limit in answers.limits.items()}
    count = Counter(e.label for example in learnt for e in example.entities if e.score >= sure[e.label])
    types = tuple(t for t in answers.types if count[t.name] >= least)
    if not types:
        asked = brief([t.name for t in answers.types])
        most = max(count.values(), default=0)
        found = f"is sure of {most} entities of a type at most" if most else "is sure of no entity"
        raise SamnerError(
            f"{answers.teacher['name']} {found} in {len(learnt)} texts ({least} are needed), so there is nothing to "
            f"learn; it was asked for {asked}: give more texts, or texts that hold them"
        )
    return types, {t.name: count[t.name] for t in answers.types if t not in types}


def _agreeing(gold: Sequence[Example], found: Sequence[Sequence[Entity]], names: Sequence[str]) -> tuple[float, float]:
    """The threshold at which a pupil agrees best with its teacher, and the micro-F1 of that."""
    keys = [{e.key for e in example.entities} for example in gold]
    pairs = [(e.score, e.key in its) for its, entities in zip(keys, found, strict=True) for e in entities]
    if not any(right for _, right in pairs):
        raise SamnerError("the pupil agrees with its teacher on no entity of the held-out texts: give more texts")
    threshold = max(best_threshold(pairs, sum(map(len, keys))), _LOWEST)
    counting = [[e for e in entities if e.score >= threshold] for entities in found]
    return threshold, micro_f1([example.entities for example in gold], counting, names)


def _card(pupil: TaskModel, expert: ExpertCard) -> Any:
    """The model card of a pupil, which names its teacher."""
    record = pupil.settings["distilled"]
    teacher, outcome = record["teacher"], expert.training.get("outcome", {})
    experts = "; ".join(f"{part}: {', '.join(its)}" for part, its in teacher["experts"].items())
    rows = [
        ("teacher", teacher["name"]),
        ("its SHA-256: of base, task vectors, types and thresholds", teacher["sha256"]),
        ("its pool", teacher["pool"]),
        ("its mode, and experts", f"{teacher['mode']} of {experts}"),
        ("texts it labelled", teacher["texts"]),
        ("seconds that took", teacher["seconds"]),
        ("pupil's pool, of which the base alone is used", record["pool"]),
        ("texts it learnt from, texts held out", f"{record['learnt']}, {record['held_out']}"),
        ("seconds, steps of training", f"{outcome.get('seconds', 0):.0f}, {outcome.get('steps', 0)}"),
        ("F1 of its agreement with the teacher on held-out texts", f"{record['agreement']:.3f}"),
        ("texts a second, there", record["texts_per_second"]),
        ("threshold, chosen there", f"{pupil.threshold:.3f}"),
        ("samner", versions()["samner"]),
    ]
    left_out = [f"{label} ({count})" for label, count in record["left_out"].items()]
    sections = [
        f"Finds entities of the types {markdown(', '.join(t.name for t in pupil.types))}. Distilled by samner: an "
        "expert over a small base was trained on what a larger model, its teacher, answered to unlabelled texts. No "
        "true label was looked at: it is right as often as its teacher, at best. `samner extract --model` takes it.",
        f"Left out, as its teacher was sure of too few of them: {markdown(', '.join(left_out))}." if left_out else "",
        *(f"When the teacher was adapted, samner warned: {markdown(warning)}." for warning in teacher["warnings"]),
        "## How it was made\n\n" + table(("", ""), rows),
        "What taught the teacher, and under which licences, is in the card of its pool. The licence of the texts is "
        "not known to samner.",
    ]
    return model_card(f"Distilled from {teacher['name']}", sections, tags=["distillation"])
