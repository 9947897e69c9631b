"""What a causal language model learns from: questions about texts and their answers, and the settings of that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from samner.backbones.language_model.generation.prompt import Prompt, prompt_ids, render
from samner.backbones.language_model.special_tokens import for_texts
from samner.backbones.training import TrainingData, TrainingRecipe, TrainingSet, reworded, safe_negatives
from samner.embedding import encode as embed
from samner.entities import EntityType, Example
from samner.words import Tokens, cut_example, sound, token_words

GENERAL_TYPES = (
    *("aircraft model", "astronomical object", "board game", "chess opening", "cloud type", "dance style"),
    *("fabric", "font", "gemstone", "knot", "mountain pass", "musical scale", "orchid species", "particle"),
    *("perfume", "poker hand", "pottery style", "programming language", "saint", "sailing ship", "tax form"),
    *("traffic sign", "typhoon", "volcano", "yoga pose"),
)
"""Asked for as negatives where no other data set's types are known: types that few texts mention."""

_AT_A_TIME = 1000
"""Examples that are tokenised together."""


class Recipe(TrainingRecipe):
    """Settings of a training run; the defaults are those for an expert.

    Attributes:
        warmup: Share of the run spent rising to the peak learning rate; then it falls linearly to zero.
        weight_decay: Decoupled, as in AdamW.
        batch: Questions in an optimiser step, over all devices; about so many where they are packed.
        micro_batch: Questions that one device holds at a time.
        max_length: Tokens of a question with its answer, at most; longer ones are left out. Packed rows are so long.
        packing: Several questions in a row without padding: ``"auto"`` for on a GPU, if the model keeps them apart;
            ``"on"`` and ``"off"``.
        questions: Drawn and tokenised before the first step, about so many at most: steps that take more go over the
            same ones again. None for as many as the steps or passes take.
        gradient_checkpointing: Compute activations anew in the backward pass: less memory, about a third slower.
        type_dropout: How often a type of the data set is not asked for.
        metric: What is judged on the dev split: ``"loss"``, or ``"f1"`` of entities in generated answers.
    """

    epochs: float = Field(default=3.0, gt=0)
    learning_rate: float = Field(default=2e-4, gt=0)
    warmup: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    batch: int = Field(default=16, gt=0)
    micro_batch: int = Field(default=8, gt=0)
    max_length: int = Field(default=1024, gt=0)
    packing: Literal["auto", "on", "off"] = "auto"
    questions: int | None = Field(default=None, gt=0)
    gradient_checkpointing: bool = False
    type_dropout: float = Field(default=0.1, ge=0, lt=1)
    foreign_types: int = Field(default=3, ge=0)
    metric: Literal["loss", "f1"] = "loss"


@dataclass(frozen=True, slots=True)
class SftExample:
    """A question as the model reads it and the answer it is to write, both as text."""

    prompt: str
    completion: str


def encode(examples: Sequence[SftExample], tokenizer: Any) -> Iterator[dict[str, list[int]]]:
    """Tokens and labels of examples; only the answer and the token that ends it count for the loss.

    Question and answer are tokenised apart, as they are when the model writes the answer.
    """
    for start in range(0, len(examples), _AT_A_TIME):
        some = examples[start : start + _AT_A_TIME]
        questions = prompt_ids([example.prompt for example in some], tokenizer)
        for question, answer in zip(questions, _answers(some, tokenizer), strict=True):
            answer.append(tokenizer.eos_token_id)
            yield {"input_ids": question + answer, "labels": [-100] * len(question) + answer}


def _answers(examples: Sequence[SftExample], tokenizer: Any) -> list[list[int]]:
    said = [example.completion for example in examples]
    ids = _ids(said, tokenizer)
    for number, text in enumerate(said):  # few name a special token
        if (read := for_texts(tokenizer, [text])) is not tokenizer:
            (ids[number],) = _ids([text], read)
    return ids


def _ids(texts: Sequence[str], tokenizer: Any) -> list[list[int]]:
    if not texts:
        return []
    ids: list[list[int]] = tokenizer([sound(t) for t in texts], add_special_tokens=False, verbose=False)["input_ids"]
    return ids


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
    others = {s.name: foreign_types(data, s) for s in data.train}
    prompts = sorted({p for its in others.values() for p in its} | {t.prompt for s in data.train for t in s.types})
    vectors = dict(zip(prompts, embed(prompts), strict=True))  # each once, however many data sets

    def known(some: Sequence[str]) -> npt.NDArray[np.float32]:
        return np.stack([vectors[prompt] for prompt in some])

    foreign = {s.name: safe_negatives(s, others[s.name], recipe.foreign_similarity, known) for s in data.train}
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
    negatives = (t for t in map(_type, _shuffled(foreign, rng)) if t.name not in taken)
    asked = own + list(islice(negatives, int(rng.integers(recipe.foreign_types + 1))))
    if prompt.per_type:
        positive = [t for t in asked if t.name in present]
        negative = _shuffled([t for t in asked if t.name not in present], rng)
        asked = positive + negative[: max(1, len(positive))]
    said = {t.name: _type(reworded(t.prompt, data.paraphrases, recipe.paraphrase_rate, rng)) for t in asked}
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


def _type(prompt: str) -> EntityType:
    """The type that a prompt, ``name`` or ``name: description``, stands for."""
    name, _, description = prompt.partition(": ")
    return EntityType(name, description)


def foreign_types(data: TrainingData, data_set: TrainingSet) -> list[str]:
    """Prompts of types of all other data sets that are known of, or general ones."""
    others = {t.prompt for s in data.train if s is not data_set for t in s.types} | set(data.foreign)
    return sorted(others - {t.prompt for t in data_set.types}) or list(GENERAL_TYPES)


def in_windows(data: TrainingData, tokenizer: Any, max_tokens: int) -> TrainingData:
    """The same texts, long ones cut into windows of at most so many tokens."""

    def cut(data_set: TrainingSet) -> TrainingSet:
        texts = [e.text for e in data_set.examples]
        read = for_texts(tokenizer, texts)
        # most texts are one window from their first character to their last: that is quicker told than made
        fits = [
            0 < len(ids) <= max_tokens and text[0].isalnum() and not text[-1].isspace()
            for text, ids in zip(texts, _ids(texts, read), strict=True)
        ]
        words = iter(token_words([text for text, fit in zip(texts, fits, strict=True) if not fit], read))
        pieces: list[Example] = []
        for example, fit in zip(data_set.examples, fits, strict=True):
            if fit:
                pieces.append(example)
            else:
                tokens = Tokens(example.text, next(words))
                pieces += [piece for piece, _ in cut_example(example, tokens, max_tokens)]
        return replace(data_set, examples=pieces)

    return replace(data, train=[cut(s) for s in data.train], dev=[cut(s) for s in data.dev])
