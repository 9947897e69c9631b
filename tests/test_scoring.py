"""Both scores against independent implementations, the interval, and what is refused."""

from __future__ import annotations

import doctest
import json
import re
import string
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nervaluate import Evaluator
from seqeval.metrics.v1 import precision_recall_fscore_support
from seqeval.scheme import IOB2

from samner import scoring
from samner.entities import Entity, Example
from samner.errors import SamnerError
from samner.scoring import (
    Counts,
    bootstrap_interval,
    micro_f1,
    normalise,
    paired_test,
    score,
    scored_labels,
    span_counts,
    string_counts,
    total,
)

LABELS = ("person", "place", "gene")


def test_doctests() -> None:
    outcome = doctest.testmod(scoring)
    assert outcome.attempted > 0
    assert outcome.failed == 0


# --- strict score against seqeval and nervaluate -----------------------------------------------------------------

Tags = list[str]


@st.composite
def bio(draw: st.DrawFn, length: int) -> Tags:
    """Tags of flat spans over so many tokens."""
    tags: Tags = []
    while len(tags) < length:
        label = draw(st.sampled_from((None, *LABELS)))
        size = 1 if label is None else draw(st.integers(1, min(3, length - len(tags))))
        tags += ["O"] if label is None else [f"B-{label}"] + [f"I-{label}"] * (size - 1)
    return tags


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[Tags], list[Tags]]:
    """Gold and predicted tags of some texts; predictions often agree, or nothing would ever match."""
    lengths = draw(st.lists(st.integers(1, 8), min_size=1, max_size=5))
    gold = [draw(bio(length)) for length in lengths]
    predicted = [tags if draw(st.booleans()) else draw(bio(len(tags))) for tags in gold]
    return gold, predicted


def text_of(tags: Tags) -> str:
    return " ".join("w" * (1 + i % 3) for i in range(len(tags)))


def entities_of(tags: Tags) -> list[Entity]:
    """Character spans in `text_of`, written without looking at how the libraries read tags."""
    spans: list[Entity] = []
    for i, match in enumerate(re.finditer(r"\S+", text_of(tags))):
        prefix, _, label = tags[i].partition("-")
        if prefix == "B":
            spans.append(Entity(match.start(), match.end(), label))
        elif prefix == "I":
            spans[-1] = Entity(spans[-1].start, match.end(), label)
    return spans


FIXED = (
    ([["B-person", "I-person", "O", "B-place"]], [["B-person", "I-person", "O", "B-place"]]),  # all right
    ([["B-person", "I-person", "O", "B-place"]], [["B-person", "B-person", "O", "B-gene"]]),  # bounds and type wrong
    ([["O", "O"], ["B-gene", "B-gene"]], [["B-gene", "O"], ["B-gene", "I-gene"]]),  # adjacent spans joined
    ([["O", "B-person"]], [["O", "O"]]),  # nothing predicted
    ([["O"]], [["O"]]),  # nothing at all
)


def check_against_libraries(gold: list[Tags], predicted: list[Tags]) -> None:
    examples = [Example(text_of(tags), tuple(entities_of(tags))) for tags in gold]
    report = score(examples, [entities_of(tags) for tags in predicted], LABELS)
    used = {tag[2:] for tags in gold + predicted for tag in tags} - {""}
    if not used:  # seqeval fails on texts without any entity
        assert report.strict.counts == Counts()
        return

    p, r, f, _ = precision_recall_fscore_support(gold, predicted, average="micro", scheme=IOB2, zero_division=0)
    ours = report.strict.counts
    assert (ours.precision, ours.recall, ours.f1) == pytest.approx((p, r, f))
    by_type = precision_recall_fscore_support(gold, predicted, average=None, scheme=IOB2, zero_division=0)
    for label, p, r, f, support in zip(sorted(used), *by_type, strict=True):
        ours = report.per_type[label]
        assert (ours.precision, ours.recall, ours.f1) == pytest.approx((p, r, f))
        assert ours.tp + ours.fn == support

    theirs = Evaluator(gold, predicted, tags=list(LABELS), loader="list").evaluate()
    made, strict = report.mistakes, theirs["overall"]["strict"]
    # nervaluate pairs entities off: of two halves found of one it calls the second spurious
    assert made.label.total() + made.boundary.total() >= strict.incorrect
    assert made.spurious.total() <= strict.spurious and made.missed.total() <= strict.missed
    pairs = [(report.strict.counts, strict)]
    pairs += [(report.per_type[label], theirs["entities"][label]["strict"]) for label in used]
    for ours, result in pairs:
        assert ours.tp == result.correct
        assert ours.tp + ours.fp == result.actual
        assert ours.tp + ours.fn == result.possible
        assert (ours.precision, ours.recall, ours.f1) == pytest.approx((result.precision, result.recall, result.f1))


@pytest.mark.parametrize(("gold", "predicted"), FIXED)
def test_strict_is_seqeval_and_nervaluate_on_fixed_cases(gold: list[Tags], predicted: list[Tags]) -> None:
    check_against_libraries(gold, predicted)


@settings(max_examples=150, deadline=None)
@given(corpora())
def test_strict_is_seqeval_and_nervaluate(corpus: tuple[list[Tags], list[Tags]]) -> None:
    check_against_libraries(*corpus)


def test_strict_counts_by_hand() -> None:
    gold = [[Entity(0, 4, "person"), Entity(5, 9, "place")], []]
    predicted = [[Entity(0, 4, "person"), Entity(5, 9, "gene"), Entity(5, 8, "place")], [Entity(0, 1, "gene")]]
    assert span_counts(gold, predicted) == [Counts(tp=1, fp=2, fn=1), Counts(fp=1)]


def test_repeated_and_overlapping_entities() -> None:
    text = "New York University"
    gold = Example(text, (Entity(0, 8, "place"), Entity(0, 19, "organization"), Entity(0, 8, "place")))
    found = [Entity(0, 19, "organization", score=0.4), Entity(0, 19, "organization", found_by=("similarity",))]
    report = score([gold], [found], ["place", "organization"])
    assert report.strict.counts == report.string.counts == Counts(tp=1, fn=1)
    assert report.per_type == {"place": Counts(fn=1), "organization": Counts(tp=1)}


# --- string score against UniversalNER ---------------------------------------------------------------------------
# The protocol written down again from its description: one list of strings for each text and type, lists of unique
# normalised strings, membership counted over all. Nothing is shared with the module under test.


def uniner_normalise(answer: str) -> str:
    answer = "".join(character for character in answer.lower() if character not in set(string.punctuation))
    return " ".join(word for word in re.split(r"\s+", re.sub(r"\b(a|an|the)\b", " ", answer)) if word)


def uniner_unique(answers: list[str]) -> list[str]:
    unique: list[str] = []
    for answer in answers:
        if uniner_normalise(answer) not in unique:
            unique.append(uniner_normalise(answer))
    return unique


def uniner_evaluate(predicted: list[list[str]], gold: list[list[str]]) -> tuple[float, float, float]:
    n_correct = n_gold = n_predicted = 0
    for answers, truths in zip(map(uniner_unique, predicted), map(uniner_unique, gold), strict=True):
        n_correct += sum(answer in truths for answer in answers)
        n_predicted += len(answers)
        n_gold += len(truths)
    precision, recall = n_correct / (n_predicted + 1e-10), n_correct / (n_gold + 1e-10)
    return precision, recall, 2 * precision * recall / (precision + recall + 1e-10)


WORDS = ("the", "A", "an", "C++", "C", "U.S.", "us", "Éa", "-", "[x]", "\t", "thé", "O'Neil", "the-a", "İ", "“a”")


@st.composite
def annotated(draw: st.DrawFn) -> tuple[str, list[Entity], list[Entity]]:
    text = draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=8).map(" ".join) | st.text(min_size=1))

    def span() -> st.SearchStrategy[Entity]:
        starts = st.integers(0, len(text) - 1)
        return starts.flatmap(
            lambda start: st.builds(
                Entity, st.just(start), st.integers(start + 1, len(text)), st.sampled_from(LABELS[:2])
            )
        )

    entities = st.lists(span(), max_size=5)
    return text, draw(entities), draw(entities)


@settings(max_examples=300, deadline=None)
@given(st.lists(annotated(), min_size=1, max_size=4))
def test_string_score_is_universalner(texts: list[tuple[str, list[Entity], list[Entity]]]) -> None:
    def asked(text: str, entities: list[Entity]) -> list[list[str]]:
        return [[text[e.start : e.end] for e in entities if e.label == label] for label in LABELS]

    gold = [answers for text, true, _ in texts for answers in asked(text, true)]
    predicted = [answers for text, _, found in texts for answers in asked(text, found)]
    ours = total(string_counts(*zip(*texts, strict=True)))
    assert (ours.precision, ours.recall, ours.f1) == pytest.approx(uniner_evaluate(predicted, gold), abs=1e-6)


@given(st.lists(st.sampled_from(WORDS)).map(" ".join) | st.text())
def test_normalise_is_universalner(text: str) -> None:
    assert normalise(text) == uniner_normalise(text)


def string_total(text: str, gold: list[str], predicted: list[str], labels: tuple[str, str] = ("x", "x")) -> Counts:
    def entities(strings: list[str], label: str) -> list[Entity]:
        return [Entity(text.index(part), text.index(part) + len(part), label) for part in strings]

    return total(string_counts([text], [entities(gold, labels[0])], [entities(predicted, labels[1])]))


def test_string_score_by_hand() -> None:
    # another place, another case, an article and punctuation are forgiven; another type is not
    assert string_total("The Beatles ... beatles!", ["The Beatles"], ["beatles!"]) == Counts(tp=1)
    assert string_total("Rome", ["Rome"], ["Rome"], ("x", "y")) == Counts(fp=1, fn=1)
    # one item for equal strings of one text and type, in gold and in predictions
    assert string_total("C and C++", ["C", "C++"], ["C++"]) == Counts(tp=1)
    # no parsing of answers: a bracket costs nothing
    assert string_total("vitamin [B12] now", ["[B12]"], ["[B12]"]) == Counts(tp=1)
    # the empty string is an item
    assert string_total("A + B", ["A"], ["+"]) == Counts(tp=1)
    assert string_total("A + B", ["B"], ["+"]) == Counts(fp=1, fn=1)


def test_a_type_absent_from_the_text_is_a_false_positive() -> None:
    report = score([Example("Rome", ())], [[Entity(0, 4, "place")]], LABELS)
    assert report.strict.counts == report.string.counts == Counts(fp=1)


# --- the interval ------------------------------------------------------------------------------------------------


def random_counts(texts: int, seed: int = 0) -> list[Counts]:
    rng = np.random.default_rng(seed)
    return [Counts(*map(int, rng.integers(0, 4, size=3))) for _ in range(texts)]


def width(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]


@pytest.mark.parametrize("texts", [1, 2, 5, 30, 300])
@pytest.mark.parametrize("seed", range(5))
def test_interval_contains_the_estimate(texts: int, seed: int) -> None:
    counts = random_counts(texts, seed)
    low, high = bootstrap_interval(counts)
    assert 0 <= low <= total(counts).f1 <= high <= 1


def test_interval_depends_on_the_seed_alone() -> None:
    counts = random_counts(50)
    assert bootstrap_interval(counts, seed=1) == bootstrap_interval(counts, seed=1)
    assert bootstrap_interval(counts, seed=1) != bootstrap_interval(counts, seed=2)


def test_interval_shrinks_with_the_square_root_of_the_texts() -> None:
    narrow, wide = bootstrap_interval(random_counts(3200)), bootstrap_interval(random_counts(200))
    assert width(wide) / width(narrow) == pytest.approx(4, rel=0.25)


def test_interval_is_that_of_a_proportion() -> None:
    # one entity a text, right or predicted wrongly: with p = tp / n, F1 = p and its standard error is known
    n, p = 1000, 0.7
    counts = [Counts(tp=1)] * 700 + [Counts(fp=1, fn=1)] * 300
    half = 1.96 * (p * (1 - p) / n) ** 0.5
    assert bootstrap_interval(counts) == pytest.approx((p - half, p + half), abs=0.004)


def test_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    # F1 of the population that random_counts draws from is 2 * 1.5 / (2 * 1.5 + 1.5 + 1.5)
    hits = sum(low <= 0.5 <= high for low, high in (bootstrap_interval(random_counts(80, seed)) for seed in range(60)))
    assert hits >= 50


@pytest.mark.parametrize(
    ("count", "f1"), [(Counts(), 0.0), (Counts(fp=2), 0.0), (Counts(fn=1), 0.0), (Counts(tp=3), 1.0)]
)
def test_interval_without_variation_is_a_point(count: Counts, f1: float) -> None:
    assert bootstrap_interval([count] * 7) == (f1, f1)


def test_two_thousand_texts_take_less_than_a_second() -> None:
    examples = [Example("w" * 40, tuple(Entity(i, i + 1, LABELS[i % 3]) for i in range(0, 20, 4)))] * 2000
    predicted = [[Entity(i, i + 1, LABELS[i % 2]) for i in range(0, 20, 4)]] * 2000
    start = time.process_time()
    score(examples, predicted, LABELS)
    assert time.process_time() - start < 1


# --- labels, report, errors --------------------------------------------------------------------------------------


def test_undefined_ratios_are_zero() -> None:
    assert (Counts().precision, Counts().recall, Counts().f1) == (0, 0, 0)
    assert Counts(fp=1).recall == Counts(fn=1).precision == 0


def test_ignored_labels_are_left_out_of_labels_gold_and_predictions() -> None:
    ignored = ["miscellaneous", "misc", "else", "MISC", " Else "]
    text = "Ann in Rome"
    gold = Example(text, (Entity(0, 3, "person"), *(Entity(7, 11, label) for label in ignored)))
    predicted = [Entity(0, 3, "person"), *(Entity(4, 6, label) for label in ignored)]
    labels = ["person", "other", *ignored]
    assert [entity_type.name for entity_type in scored_labels(labels)] == ["person", "other"]
    report = score([gold], [predicted], labels)
    assert report.strict.counts == report.string.counts == Counts(tp=1)
    assert report.per_type == {"person": Counts(tp=1), "other": Counts()}


def test_scored_labels_keep_descriptions() -> None:
    (kept,) = scored_labels({"gene": "a stretch of DNA", "misc": "all else"})
    assert kept.prompt == "gene: a stretch of DNA"


def test_report_is_json_and_complete() -> None:
    report = score([Example("Ann saw Bob", (Entity(0, 3, "person"),))], [[Entity(0, 3, "person")]], LABELS)
    value = json.loads(json.dumps(report.to_dict()))
    one = {"precision": 1.0, "recall": 1.0, "f1": 1.0, "tp": 1, "fp": 0, "fn": 0}
    none = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "tp": 0, "fp": 0, "fn": 0}
    assert value == {
        "texts": 1,
        "strict": {**one, "f1_ci95": [1.0, 1.0]},
        "string": {**one, "f1_ci95": [1.0, 1.0]},
        "per_type": {"person": one, "place": none, "gene": none},
        "mistakes": {"label": [], "boundary": {}, "spurious": {}, "missed": {}},
    }


def test_per_type_counts_add_up_to_the_strict_score() -> None:
    gold = [Example("abcdef", (Entity(0, 1, "person"), Entity(0, 3, "gene"), Entity(4, 6, "place")))]
    report = score(gold, [[Entity(0, 1, "gene"), Entity(0, 3, "gene")]], LABELS)
    assert total(list(report.per_type.values())) == report.strict.counts == Counts(tp=1, fp=1, fn=2)


@pytest.mark.parametrize(
    "entity", [Entity(-1, 2, "gene"), Entity(0, 5, "gene"), Entity(3, 3, "gene"), Entity(3, 1, "gene")]
)
@pytest.mark.parametrize("side", ["gold", "predicted"])
def test_entities_must_be_spans_of_their_text(entity: Entity, side: str) -> None:
    texts = [Example("four", ()), Example("four", (entity,) if side == "gold" else ())]
    with pytest.raises(SamnerError, match=rf"text 2: the {side} 'gene' at .* which has 4 characters") as error:
        score(texts, [[], [entity] if side == "predicted" else []], LABELS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("side", ["gold", "predicted"])
def test_labels_must_be_known(side: str) -> None:
    entity = Entity(0, 4, "Gene")
    texts = [Example("four", (entity,) if side == "gold" else ())]
    with pytest.raises(SamnerError, match=rf"text 1: the {side} 'Gene' at 0-4 .*: person, place, gene"):
        score(texts, [[entity] if side == "predicted" else []], LABELS)


def test_lengths_must_agree() -> None:
    message = "there are 1 texts but entities for 2"
    with pytest.raises(SamnerError, match=message):
        score([Example("x")], [[], []], LABELS)
    with pytest.raises(SamnerError, match=message):
        span_counts([[]], [[], []])
    with pytest.raises(SamnerError, match=message):
        string_counts(["x"], [[]], [[], []])
    with pytest.raises(SamnerError, match=message):
        string_counts(["x"], [[], []], [[], []])


def test_something_must_be_left_to_score() -> None:
    with pytest.raises(SamnerError, match="there is no text to score"):
        score([], [], LABELS)
    with pytest.raises(SamnerError, match="no label is left to score: else, misc, miscellaneous"):
        score([Example("x")], [[]], ["misc"])


def test_micro_f1_leaves_out_what_nobody_was_asked_for():
    gold = [[Entity(0, 3, "person"), Entity(4, 5, "date")], [Entity(0, 2, "person")]]
    assert micro_f1(gold, [[Entity(0, 3, "person")], []], {"person"}) == pytest.approx(2 / 3)
    assert micro_f1([[]], [[]], {"person"}) == 0.0


def test_a_paired_test_is_two_sided():
    samples = np.array([1.0] * 97 + [-1.0] * 2)
    assert paired_test(0.9, samples)["p"] == pytest.approx(2 * 3 / 100)
    assert paired_test(-0.9, -samples)["p"] == pytest.approx(2 * 3 / 100)
    assert paired_test(0.0, np.zeros(9))["p"] == 1.0
    assert paired_test(0.9, np.arange(99.0))["ci95"] == [pytest.approx(2.45), pytest.approx(95.55)]
