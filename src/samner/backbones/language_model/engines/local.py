"""Answers by a model in this process: greedy decoding in mixed batches."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

from samner.backbones.language_model.generation.answer_format import Constraint, Grammars, Matchers
from samner.backbones.language_model.generation.ask import Generated, Question
from samner.backbones.language_model.generation.prompt import Prompt, prompt_ids, render
from samner.backbones.mixed_batch import MixedModels
from samner.errors import ModelError
from samner.windows import batches

_SHARED = 16
"""Tokens that all questions must begin with for it to pay to read them apart."""


class LocalEngine:
    """Greedy decoding in this process, all models' questions in mixed batches.

    What all questions begin with (instructions and entity types) is read once per model, and its keys and values are
    used for every question: the same numbers, for models whose every layer attends to everything before.

    Args:
        model: A causal language model of transformers.
        tokenizer: Its tokenizer.
        mixed: The experts and task models on its layers.
        prompt: How a question is put.
        max_new_tokens: Of an answer, at most.
        batch_tokens: Read and written at a time, at most, with padding.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        mixed: MixedModels,
        prompt: Prompt,
        max_new_tokens: int,
        batch_tokens: int = 16384,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._mixed = mixed
        self._prompt = prompt
        self._max_new_tokens = max_new_tokens
        self._batch_tokens = batch_tokens
        ends = model.generation_config.eos_token_id
        self._ends: list[int] = ends if isinstance(ends, list) else [ends]
        self._grammars = Grammars(tokenizer, model.config.get_text_config().vocab_size, self._ends)

    def over(self, mixed: MixedModels) -> LocalEngine:
        """The same with other experts and task models."""
        other = copy.copy(self)
        other._mixed = mixed
        return other

    def answer(self, questions: Sequence[Question]) -> list[Generated]:
        """See ``Engine``."""
        import torch

        if not questions:
            return []
        texts = {text: self.encode(text) for text in dict.fromkeys(q.text for q in questions)}
        ids = [texts[question.text] for question in questions]
        models = sorted(dict.fromkeys(q.model for q in questions), key=self._mixed.is_task_model)
        places = {model: place for place, model in enumerate(models)}
        answers: list[Generated | None] = [None] * len(questions)
        with torch.inference_mode():
            prefix = self._prefix(list(texts.values()), models)
            for batch in batches([len(i) + self._max_new_tokens for i in ids], self._batch_tokens):
                batch.sort(key=lambda i: places[questions[i].model])  # a model's rows lie together
                rows = [places[questions[i].model] for i in batch]
                with self._mixed.rows([models[row] for row in rows]):
                    written = self._generate(
                        [ids[i] for i in batch], [questions[i].constraint for i in batch], prefix, rows
                    )
                for i, generated in zip(batch, written, strict=True):
                    answers[i] = generated
        return [generated for generated in answers if generated is not None]

    def encode(self, question: str) -> list[int]:
        """Tokens of a question, as the model reads it.

        Raises:
            ModelError: If it leaves no room for an answer in what the model can read.
        """
        (ids,) = prompt_ids([render(self._prompt, question, self._tokenizer)], self._tokenizer)
        context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        if context and len(ids) + self._max_new_tokens > context:
            raise ModelError(
                f"a question of {len(ids)} tokens and an answer of {self._max_new_tokens} are more than the {context} "
                "that the model can read: look for fewer types, or lower max_tokens in base.json"
            )
        return ids

    def _prefix(self, ids: Sequence[list[int]], models: Sequence[str]) -> _Prefix | None:
        """What all questions begin with, read by each model; none if that is little, or would not be exact."""
        import torch
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        first, last = min(ids), max(ids)  # what these begin with, all do
        same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        shared = first[: min(same, *(len(i) - 1 for i in ids))]  # of every question, one token is left
        cache = DynamicCache(config=self._model.config)
        if len(ids) < 2 or len(shared) < _SHARED or not all(type(layer) is DynamicLayer for layer in cache.layers):
            return None
        read = torch.tensor([shared] * len(models), device=self._model.device)
        with self._mixed.rows(models):
            self._model(input_ids=read, past_key_values=cache, use_cache=True)
        return _Prefix(len(shared), cache)

    def _generate(
        self,
        ids: Sequence[list[int]],
        constraints: Sequence[Constraint | None],
        prefix: _Prefix | None,
        rows: Sequence[int],
    ) -> list[Generated]:
        import torch
        from transformers import LogitsProcessorList

        length, start = max(map(len, ids)), prefix.tokens if prefix else 0
        pad = self._model.generation_config.pad_token_id
        padded = [i[:start] + [pad] * (length - len(i)) + i[start:] for i in ids]
        mask = [[1] * start + [0] * (length - len(i)) + [1] * (len(i) - start) for i in ids]
        device = self._model.device
        recorder = _Recorder(self._matchers(constraints))
        inputs: dict[str, Any] = {}
        if prefix:
            inputs["past_key_values"] = copy.deepcopy(prefix.cache)
            inputs["past_key_values"].batch_select_indices(torch.tensor(rows, device=device))
        output = self._model.generate(
            input_ids=torch.tensor(padded, device=device),
            attention_mask=torch.tensor(mask, device=device),
            max_new_tokens=self._max_new_tokens,
            logits_processor=LogitsProcessorList([recorder]),
            **inputs,
        )
        logprobs = torch.stack(recorder.logprobs, dim=1).tolist()
        return [self.decode(tokens, its) for tokens, its in zip(output[:, length:].tolist(), logprobs, strict=True)]

    def _matchers(self, constraints: Sequence[Constraint | None]) -> Matchers | None:
        if not any(constraints):
            return None
        return self._grammars.matchers(constraints)

    def decode(self, tokens: Sequence[int], logprobs: Sequence[float]) -> Generated:
        """The answer that the model wrote as these tokens, up to the one that ends it."""
        from tokenizers.decoders import DecodeStream

        stream = DecodeStream(skip_special_tokens=True)
        pieces: list[str] = []
        for token in tokens:
            if token in self._ends:
                break
            pieces.append(stream.step(self._tokenizer.backend_tokenizer, token) or "")
        return Generated("".join(pieces), tuple(pieces), tuple(logprobs[: len(pieces)]))


class _Prefix(NamedTuple):
    """The first tokens of all questions: how many, and their keys and values with a row for each model."""

    tokens: int
    cache: Any


class _Recorder:
    """A logits processor that keeps answers to their grammars and notes how likely each token was without them."""

    def __init__(self, matchers: Matchers | None) -> None:
        self._matchers = matchers
        self.logprobs: list[Any] = []

    def __call__(self, ids: Any, scores: Any) -> Any:
        logits = scores
        if self._matchers:
            if self.logprobs:
                self._matchers.consume(ids[:, -1].tolist())
            allowed = self._matchers.allowed(scores.shape[-1])
            if allowed is not None:
                scores = scores.masked_fill(~allowed.to(scores.device), float("-inf"))
        chosen = scores.argmax(-1, keepdim=True)  # as greedy decoding will
        self.logprobs.append(logits.gather(-1, chosen)[:, 0] - logits.logsumexp(-1))
        return scores
