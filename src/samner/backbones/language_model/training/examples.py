"""What a causal language model learns from: questions about texts, and their answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from samner.backbones.base import Paraphrases, TrainingData, TrainingSet
from samner.backbones.language_model.generation.prompt import Prompt, prompt_ids, render
from samner.backbones.language_model.training.recipe import Recipe
from samner.backbones.language_model.words import for_texts, sound, token_words
from samner.embedding import encode as embed
from samner.entities import EntityType, Example
from samner.windows import Tokens, cut_example

GENERAL_TYPES = (
    *("aircraft model", "astronomical object", "board game", "chess opening", "cloud type", "dance style"),
    *("fabric", "font", "gemstone", "knot", "mountain pass", "musical scale", "orchid species", "particle"),
    *("perfume", "poker hand", "pottery style", "programming language", "saint", "sailing ship", "tax form"),
    *("traffic sign", "typhoon", "volcano", "yoga pose"),
)
"""Asked for as negatives where no other data set's types are known: types that few texts mention."""


@dataclass(frozen=True, slots=True)
class SftExample:
    """A question as the model reads it and the answer it is to write, both as text."""

    prompt: str
    completion: str


def encode(example: SftExample, tokenizer: Any) -> dict[str, list[int]]:
    """Tokens and labels of an example; only the answer and the token that ends it count for the loss.

    Question and answer are tokenised apart, as they are when the model writes the answer.
    """
    question = prompt_ids(example.prompt, tokenizer)
    said = sound(example.completion)
    answer = for_texts(tokenizer, [said])(said, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]
    return {"input_ids": question + answer, "labels": [-100] * len(question) + answer}


def sft_examples(
    data: TrainingData, prompt: Prompt, tokenizer: Any, recipe: Recipe, *, passes: float | None = None
) -> list[SftExample]:
    """Questions and answers for some passes over the training texts.

    Each pass draws anew which types are asked for and in which order: types of the text's data set, less some dropped
    at random, and foreign types, whose answer is none. Where a question asks for one type, as many types that do not
    occur are asked for as types that do (at least one). What is drawn depends on the seed, the pass and the text.

    Args:
        data: Its texts must be short enough for the model; see ``in_windows``.
        prompt: Whose questions and answers these are.
        tokenizer: Of the model; its chat template is used if it has one.
        recipe: Settings.
        passes: ``recipe.epochs`` if not given; of a fraction, the first texts in random order.

    Returns:
        The examples pass by pass, each in random order.
    """
    foreign = {s.name: safe_negatives(s, foreign_types(data, s), recipe.foreign_similarity) for s in data.train}
    texts = [(s, index) for s in data.train for index in range(len(s.examples))]
    passes = recipe.epochs if passes is None else passes
    result = []
    for number in range(math.ceil(passes)):
        order = np.random.default_rng([recipe.seed, 0, number]).permutation(len(texts))
        for place in order[: math.ceil(len(texts) * min(1, passes - number))]:
            data_set, index = texts[place]
            rng = np.random.default_rng([recipe.seed, 1, number, int(place)])
            pairs = _ask(data_set.examples[index], data_set, foreign[data_set.name], prompt, recipe, data, rng)
            result += [SftExample(render(prompt, q, tokenizer), a) for q, a in pairs]
    return result


def dev_examples(data: TrainingData, prompt: Prompt, tokenizer: Any, recipe: Recipe) -> list[SftExample]:
    """Questions for all own types and no others about the first texts of each dev split, and their answers."""
    return [
        SftExample(render(prompt, question, tokenizer), answer)
        for s in data.dev
        for example in s.examples[: recipe.dev_texts]
        for question, answer in zip(
            prompt.questions(example.text, s.types), prompt.answer(_mentions(example, {}), s.types), strict=True
        )
    ]


def _ask(
    example: Example,
    data_set: TrainingSet,
    foreign: Sequence[str],
    prompt: Prompt,
    recipe: Recipe,
    data: TrainingData,
    rng: np.random.Generator,
) -> list[tuple[str, str]]:
    present = example.labels()
    own = [t for t in data_set.types if rng.random() >= recipe.type_dropout]
    own = own or [data_set.types[int(rng.integers(len(data_set.types)))]]
    own = sorted(_shuffled(own, rng), key=lambda t: t.name not in present)[: recipe.max_types]
    taken = {t.name for t in data_set.types}
    negatives = [t for t in map(_type, _shuffled(foreign, rng)) if t.name not in taken]
    asked = own + negatives[: int(rng.integers(recipe.foreign_types + 1))]
    if prompt.per_type:
        positive = [t for t in asked if t.name in present]
        negative = _shuffled([t for t in asked if t.name not in present], rng)
        asked = positive + negative[: max(1, len(positive))]
    said = {t.name: _say(t, data.paraphrases, recipe.paraphrase_rate, rng) for t in asked}
    if len({t.name for t in said.values()}) < len(said):  # two paraphrases that meet
        said = {t.name: t for t in asked}
    types = _shuffled(list(said.values()), rng)
    mentions = _mentions(example, {name: t.name for name, t in said.items()}, only=True)
    return list(zip(prompt.questions(example.text, types), prompt.answer(mentions, types), strict=True))


def _mentions(example: Example, names: Mapping[str, str], *, only: bool = False) -> list[tuple[str, str]]:
    """The entities in the order of the text as strings with labels, the labels by other names where there are any."""
    return [
        (example.text[e.start : e.end], names.get(e.label, e.label))
        for e in sorted(example.entities, key=lambda e: e.key)
        if not only or e.label in names
    ]


def _shuffled(items: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    return [items[i] for i in rng.permutation(len(items))]


def _say(entity_type: EntityType, paraphrases: Paraphrases, rate: float, rng: np.random.Generator) -> EntityType:
    others = paraphrases.get(entity_type.prompt, ())
    return _type(others[int(rng.integers(len(others)))]) if others and rng.random() < rate else entity_type


def _type(prompt: str) -> EntityType:
    """The type that a prompt, ``name`` or ``name: description``, stands for."""
    name, _, description = prompt.partition(": ")
    return EntityType(name, description)


def foreign_types(data: TrainingData, data_set: TrainingSet) -> list[str]:
    """Prompts of types of all other data sets that are known of, or general ones."""
    others = {t.prompt for s in data.train if s is not data_set for t in s.types} | set(data.foreign)
    return sorted(others - {t.prompt for t in data_set.types}) or list(GENERAL_TYPES)


def safe_negatives(data_set: TrainingSet, foreign: Sequence[str], similarity: float) -> list[str]:
    """Foreign types unlike every own type: an unannotated mention of one is unlikely in this data set's texts.

    Args:
        data_set: Whose types are its own.
        foreign: Prompts of types.
        similarity: Cosine of all-MiniLM-L6-v2 embeddings from which two types are too close.
    """
    own = [t.prompt for t in data_set.types]
    cosine = embed(foreign) @ embed(own).T
    return [name for name, closest in zip(foreign, cosine.max(axis=1), strict=True) if closest < similarity]


def in_windows(data: TrainingData, tokenizer: Any, max_tokens: int) -> TrainingData:
    """The same texts, long ones cut into windows of at most so many tokens."""

    def cut(data_set: TrainingSet) -> TrainingSet:
        words = token_words([e.text for e in data_set.examples], tokenizer)
        pieces = [
            piece
            for example, its in zip(data_set.examples, words, strict=True)
            for piece, _ in cut_example(example, Tokens(example.text, its), max_tokens)
        ]
        return replace(data_set, examples=pieces)

    return replace(data, train=[cut(s) for s in data.train], dev=[cut(s) for s in data.dev])
