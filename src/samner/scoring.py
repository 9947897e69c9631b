"""How right are predicted entities? Two micro-F1 scores side by side, each with a confidence interval.

- **strict**: an entity counts when start, end and type are exactly those of a gold entity.
- **string**: UniversalNER's protocol, by which most zero-shot results are published: a string counts when it is,
  after normalisation, among the gold strings of that text and type, however often and wherever it occurs.

The type "miscellaneous" says nothing that a model could be asked for; it is left out of both, as in UniversalNER.
"""

from __future__ import annotations

import re
import string
from collections.abc import Collection, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samner.entities import Entity, EntityType, Example, LabelsLike, entity_types
from samner.errors import SamnerError
from samner.mistakes import Mistakes, mistakes

IGNORED_LABELS = frozenset({"miscellaneous", "misc", "else"})
"""Names of types that are never scored, in lower case; compared without case and surrounding blanks."""

RESAMPLES = 1000
"""How many bootstrap samples an interval is read from."""

INTERVAL = (0.025, 0.975)
"""The quantiles between which a 95 % interval lies."""


@dataclass(frozen=True, slots=True)
class Counts:
    """True positives, false positives and false negatives. Add them up for a micro-average.

    A ratio without a denominator is 0: precision when nothing was predicted, recall when there is no gold, F1 when
    there is neither. seqeval and nervaluate do the same.
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0

    @classmethod
    def of(cls, gold: AbstractSet[object], found: AbstractSet[object]) -> Counts:
        """Of what is true and what was found."""
        return cls(tp=len(gold & found), fp=len(found - gold), fn=len(gold - found))

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        """Share of the predicted that is right, tp / (tp + fp)."""
        return self.tp / max(self.tp + self.fp, 1)

    @property
    def recall(self) -> float:
        """Share of the gold that was found, tp / (tp + fn)."""
        return self.tp / max(self.tp + self.fn, 1)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 2 tp / (2 tp + fp + fn)."""
        return 2 * self.tp / max(2 * self.tp + self.fp + self.fn, 1)

    def to_dict(self) -> dict[str, Any]:
        """Ratios and counts, ready for JSON."""
        return {
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "tp": self.tp,
            "fp": self.fp,
            "fn": self.fn,
        }


@dataclass(frozen=True, slots=True)
class Score:
    """A micro-average over texts.

    Args:
        counts: Sums over all texts.
        f1_ci95: Lower and upper end of the 95 % confidence interval of F1, see `bootstrap_interval`.
    """

    counts: Counts
    f1_ci95: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Ratios, counts and the interval, ready for JSON."""
        return {**self.counts.to_dict(), "f1_ci95": list(self.f1_ci95)}


@dataclass(frozen=True, slots=True)
class Report:
    """What `score` found.

    Args:
        texts: How many texts were scored.
        strict: Exact spans and types.
        string: UniversalNER's string match.
        per_type: Strict counts of every scored type, in the order in which the labels were given.
        mistakes: What is wrong with what was found.
    """

    texts: int
    strict: Score
    string: Score
    per_type: dict[str, Counts]
    mistakes: Mistakes

    def to_dict(self) -> dict[str, Any]:
        """The whole report, ready for JSON."""
        return {
            "texts": self.texts,
            "strict": self.strict.to_dict(),
            "string": self.string.to_dict(),
            "per_type": {label: counts.to_dict() for label, counts in self.per_type.items()},
            "mistakes": self.mistakes.to_dict(),
        }


def scored_labels(labels: LabelsLike) -> tuple[EntityType, ...]:
    """The labels without `IGNORED_LABELS`: those to ask a model for when it is to be scored.

    Raises:
        SamnerError: If none is left, or the labels are refused by `samner.entities.entity_types`.
    """
    kept = tuple(entity_type for entity_type in entity_types(labels) if not _ignored(entity_type.name))
    if not kept:
        raise SamnerError(f"no label is left to score: {', '.join(sorted(IGNORED_LABELS))} are never scored")
    return kept


def score(
    gold: Sequence[Example], predicted: Sequence[Collection[Entity]], labels: LabelsLike, *, seed: int = 0
) -> Report:
    """Score predictions against gold, strictly and by UniversalNER's strings.

    Entities of an ignored type are left out of both sides. Those of any other type must be among ``labels``: scoring
    only some types, or types spelt differently, has to be the caller's deliberate choice. Order, repetitions and the
    entities' scores make no difference, and entities may overlap.

    >>> from samner.entities import Entity, Example
    >>> gold = [Example("Aspirin relieves headache.", (Entity(0, 7, "drug"), Entity(17, 25, "symptom")))]
    >>> report = score(gold, [[Entity(0, 7, "drug"), Entity(17, 26, "symptom")]], ["drug", "symptom"])
    >>> report.strict.counts.f1, report.string.counts.f1
    (0.5, 1.0)

    Args:
        gold: Texts with their true entities.
        predicted: For each of these texts, in the same order, the entities found.
        labels: The types that were asked for.
        seed: Of the bootstrap.

    Raises:
        SamnerError: If there is no text, the lengths differ, an entity is not a span of its text or has a label that
            is not among ``labels``, or no label is left. Texts are counted from 1 in the message.
    """
    names = [entity_type.name for entity_type in scored_labels(labels)]
    texts = [example.text for example in gold]
    true = _checked("gold", texts, [example.entities for example in gold], names)
    found = _checked("predicted", texts, predicted, names)
    return Report(
        texts=len(texts),
        strict=_score(span_counts(true, found), seed),
        string=_score(string_counts(texts, true, found), seed),
        per_type=_per_type(names, true, found),
        mistakes=mistakes(true, found),
    )


def micro_f1(
    gold: Sequence[Collection[Entity]], predicted: Sequence[Collection[Entity]], labels: Collection[str]
) -> float:
    """Strict span micro-F1 over texts. Gold entities of other labels are left out: nobody was asked for them.

    Raises:
        SamnerError: If the lengths differ.
    """
    asked = [[entity for entity in entities if entity.label in labels] for entities in gold]
    return total(span_counts(asked, predicted)).f1


def best_threshold(pairs: Sequence[tuple[float, bool]], gold: int) -> float:
    """The threshold of the highest F1, in the middle between the last score that counts and the next.

    Args:
        pairs: Of each predicted entity its score and whether it is right; at least one.
        gold: How many true entities there are.
    """
    ranked = sorted(pairs)[::-1]
    scores = np.array([score for score, _ in ranked])
    hits = np.cumsum([right for _, right in ranked])
    f1 = 2 * hits / (np.arange(1, len(ranked) + 1) + gold)
    f1[:-1][scores[:-1] == scores[1:]] = 0  # no threshold parts entities of one score
    last = int(f1.argmax())
    below = scores[last + 1] if last + 1 < len(scores) else 0.0
    return float(np.clip((scores[last] + below) / 2, 1e-4, 1 - 1e-4))


def total(counts: Iterable[Counts]) -> Counts:
    """Their sum, whose ratios are the micro-average."""
    return sum(counts, Counts())


def span_counts(gold: Sequence[Collection[Entity]], predicted: Sequence[Collection[Entity]]) -> list[Counts]:
    """Counts of every text by exact start, end and label; an entity given twice counts once.

    On spans that do not overlap the sums are those of seqeval (IOB2, strict) and of nervaluate's strict strategy.

    Raises:
        SamnerError: If the lengths differ.
    """
    _same_length(len(gold), len(predicted))
    return [
        Counts.of({entity.key for entity in true}, {entity.key for entity in found})
        for true, found in zip(gold, predicted, strict=True)
    ]


def string_counts(
    texts: Sequence[str], gold: Sequence[Collection[Entity]], predicted: Sequence[Collection[Entity]]
) -> list[Counts]:
    """Counts of every text by label and normalised string; equal strings of one text and label count once.

    The protocol of ``NEREvaluator`` in UniversalNER's ``src/eval/evaluate.py`` (Zhou et al., ICLR 2024), where every
    type is asked of every text, so that a type found in a text without it is a false positive. That file parses
    answers, and loses those with a ``]`` in an entity; here the strings come from offsets and none is lost.

    Raises:
        SamnerError: If the lengths differ.
    """
    _same_length(len(texts), len(gold))
    _same_length(len(gold), len(predicted))
    return [
        Counts.of(_strings(text, true), _strings(text, found))
        for text, true, found in zip(texts, gold, predicted, strict=True)
    ]


def normalise(text: str) -> str:
    """UniversalNER's ``normalize_answer``: lower case, no ASCII punctuation, no articles, single blanks.

    What has nothing else becomes the empty string, an item like any other, as in UniversalNER: dropping it would
    change the number of gold strings and with it the comparison to published results.

    >>> normalise("The  U.S. Senate"), normalise("C++"), normalise("A")
    ('us senate', 'c', '')
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def bootstrap_interval(counts: Sequence[Counts], *, seed: int = 0) -> tuple[float, float]:
    """95 % confidence interval of micro-F1 by the percentile bootstrap over texts (Efron and Tibshirani, 1993).

    Texts are drawn with replacement, as many as there are, `RESAMPLES` times; the interval reaches from the 2.5th to
    the 97.5th percentile of the F1 of these samples. It tells how far F1 would move with other texts of the same
    kind, not with another training run. From few texts it is too narrow; from one it is a point.

    Raises:
        SamnerError: If there is no text.
    """
    if not counts:
        raise SamnerError("there is no text to score")
    tp, fp, fn = resample(count_table(counts), seed=seed).T
    low, high = np.quantile(f1_of(tp, fp, fn), INTERVAL)
    return float(low), float(high)


def count_table(counts: Sequence[Counts]) -> npt.NDArray[np.int64]:
    """Texts x 3: true positives, false positives, false negatives."""
    return np.array([(count.tp, count.fp, count.fn) for count in counts], dtype=np.int64)


def resample(table: npt.NDArray[np.int64], *, seed: int = 0) -> npt.NDArray[np.int64]:
    """`RESAMPLES` x columns: the sums of a table over texts drawn with replacement, as many as it has rows.

    Columns of one table are summed over the same draws, so that what is computed from them is paired; so are two
    tables of as many rows with one seed.
    """
    rng = np.random.default_rng(seed)
    # sample by sample: all at once would take gigabytes for some ten thousand texts and is no faster
    return np.array([table[rng.integers(len(table), size=len(table))].sum(axis=0) for _ in range(RESAMPLES)])


def paired_test(difference: float, samples: npt.NDArray[np.float64]) -> dict[str, Any]:
    """A difference between two systems on the same texts, by the paired bootstrap.

    Args:
        difference: As observed.
        samples: The same in bootstrap samples that both systems share; see `resample`.

    Returns:
        ``difference``, its 95 % interval ``ci95`` and ``p``, two-sided: twice the share of samples in which the
        difference has not the sign that the one observed has, and at least that of one sample (Efron and Tibshirani,
        1993, chapter 16).
    """
    low, high = np.quantile(samples, INTERVAL)
    beyond = min(int((samples <= 0).sum()), int((samples >= 0).sum()))
    p = min(1.0, 2 * (beyond + 1) / (len(samples) + 1))
    return {"difference": difference, "ci95": [float(low), float(high)], "p": p}


def f1_of(tp: npt.NDArray[np.int64], fp: npt.NDArray[np.int64], fn: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """F1 of many counts at once."""
    return np.asarray(2 * tp / np.maximum(2 * tp + fp + fn, 1), dtype=np.float64)


_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def _ignored(label: str) -> bool:
    return label.strip().lower() in IGNORED_LABELS


def _checked(
    side: str, texts: Sequence[str], entities: Sequence[Collection[Entity]], names: Sequence[str]
) -> list[list[Entity]]:
    """The entities that are scored, after a look at each."""
    _same_length(len(texts), len(entities))
    known = frozenset(names)
    kept: list[list[Entity]] = []
    for number, (text, spans) in enumerate(zip(texts, entities, strict=True), start=1):
        kept.append([entity for entity in spans if not _ignored(entity.label)])
        for entity in kept[-1]:
            where = f"text {number}: the {side} {entity.label!r} at {entity.start}-{entity.end}"
            if not 0 <= entity.start < entity.end <= len(text):
                raise SamnerError(f"{where} is not a span of the text, which has {len(text)} characters")
            if entity.label not in known:
                raise SamnerError(f"{where} has a label that is not among those scored: {', '.join(names)}")
    return kept


def _same_length(texts: int, predicted: int) -> None:
    if texts != predicted:
        raise SamnerError(f"there are {texts} texts but entities for {predicted}; give one list for each text")


def _per_type(
    names: Sequence[str], gold: Sequence[Collection[Entity]], predicted: Sequence[Collection[Entity]]
) -> dict[str, Counts]:
    counts = dict.fromkeys(names, Counts())
    for true, found in zip(gold, predicted, strict=True):
        true_keys, found_keys = {entity.key for entity in true}, {entity.key for entity in found}
        for keys, one in (
            (true_keys & found_keys, Counts(tp=1)),
            (found_keys - true_keys, Counts(fp=1)),
            (true_keys - found_keys, Counts(fn=1)),
        ):
            for _, _, label in keys:
                counts[label] += one
    return counts


def _strings(text: str, entities: Collection[Entity]) -> set[tuple[str, str]]:
    return {(entity.label, normalise(text[entity.start : entity.end])) for entity in entities}


def _score(counts: Sequence[Counts], seed: int) -> Score:
    return Score(total(counts), bootstrap_interval(counts, seed=seed))
