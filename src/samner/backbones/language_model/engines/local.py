"""Answers by a model in this process: greedy decoding in mixed batches."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

from samner.backbones.language_model.engines.drafts import Drafts, turns
from samner.backbones.language_model.engines.repetition import Lists
from samner.backbones.language_model.engines.rows import Row, Seen
from samner.backbones.language_model.engines.vocabulary import Vocabulary
from samner.backbones.language_model.generation.answer_format import Constraint, Grammars
from samner.backbones.language_model.generation.ask import Generated, Question
from samner.backbones.language_model.generation.prompt import Prompt, prompt_ids, render
from samner.backbones.mixed_batch import MixedModels
from samner.errors import ModelError
from samner.windows import batches

_SHARED = 16
"""Tokens that all questions must begin with for it to pay to read them apart."""

_LEAVE = 0.75
"""When no more than this share of a batch's answers is unfinished, the rest leave it: what was read is copied then."""

_FEW = 4
"""Answers drafted at a time, at most: of more, what is read in vain takes longer than the passes it spares."""

_DRAFTED = 64
"""Tokens that a pass reads at a guess, at most, over all rows: each has as many logits as there are tokens."""


class LocalEngine:
    """Greedy decoding in this process, all models' questions in mixed batches.

    Tokens that a grammar forces (the names of types, what is left of a word) are read together, not one at a time, and
    what an answer may turn out to be is read with them at a guess: see ``drafts``.

    What all questions begin with (instructions and entity types) is read once per model, and its keys and values are
    used for every question: the same numbers, for models whose every layer attends to everything before. Answers that
    are finished leave the batch.

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
        from transformers import DynamicCache
        from transformers.cache_utils import DynamicLayer

        self._model = model
        self._tokenizer = tokenizer
        self._mixed = mixed
        self._prompt = prompt
        self._max_new_tokens = max_new_tokens
        self._batch_tokens = batch_tokens
        ends = model.generation_config.eos_token_id
        self._ends: list[int] = ends if isinstance(ends, list) else [ends]
        self._vocabulary = Vocabulary(tokenizer, self._ends)
        taken = inspect.signature(getattr(model, "get_base_model", lambda: model)().forward).parameters
        self._keeps_what_it_reads = {"past_key_values", "position_ids", "logits_to_keep"} <= set(taken)
        # else padding amid a row would move the window that a layer attends to
        attends_to_all = all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)
        self._ahead = self._keeps_what_it_reads and attends_to_all
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
        drafts = Drafts(self._tokenizer, self._ends[0])
        most = self._max_new_tokens
        with torch.inference_mode():
            prefix = self._prefix(list(texts.values()), models)
            for turn in turns(questions, self._waits):
                for part in batches([len(ids[i]) + most for i in turn], self._batch_tokens):
                    batch = sorted((turn[j] for j in part), key=lambda i: places[questions[i].model])
                    rows = self._rows([questions[i] for i in batch], [ids[i] for i in batch], prefix, drafts)
                    names = [questions[i].model for i in batch]  # a model's rows lie together
                    if self._keeps_what_it_reads:
                        self._write(rows, prefix, names, [places[name] for name in names])
                    else:
                        self._generate(rows, names)
                    for i, row in zip(batch, rows, strict=True):
                        drafts.add(questions[i], row.tokens)
                        answers[i] = self.decode(row.tokens[:most], row.logprobs[:most])
        return [generated for generated in answers if generated is not None]

    def _waits(self, model: str) -> bool:
        """Whether a model had better see what another answered before it is asked.

        On a CPU each task model takes its own time to read its weights in every pass: fewer passes of its own pay.
        """
        return self._ahead and self._model.device.type == "cpu" and self._mixed.is_task_model(model)

    def _rows(
        self, questions: Sequence[Question], ids: Sequence[list[int]], prefix: _Prefix | None, drafts: Drafts
    ) -> list[Row]:
        """The answers to questions, of which nothing is written yet."""
        start, rows = prefix.tokens if prefix else 0, []
        matchers = self._grammars.matchers([question.constraint for question in questions])
        for question, tokens, matcher in zip(questions, ids, matchers, strict=True):
            row = Row(tokens[start:], len(tokens) - 1, matcher, self._vocabulary, self._max_new_tokens, self._ahead)
            if self._ahead:
                row.draft = drafts.of(question)
                row.lists = Lists() if _of_lists(question.constraint) else None
            rows.append(row)
        return rows

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

        first, last = min(ids), max(ids)  # what these begin with, all do
        same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        shared = first[: min(same, *(len(i) - 1 for i in ids))]  # of every question, one token is left
        if not self._ahead or len(ids) < 2 or len(shared) < _SHARED:
            return None
        read = torch.tensor([shared] * len(models), device=self._model.device)
        cache = DynamicCache(config=self._model.config)
        with self._mixed.rows(models):
            self._model(input_ids=read, past_key_values=cache, use_cache=True)
        return _Prefix(len(shared), cache)

    def _write(
        self, rows: Sequence[Row], prefix: _Prefix | None, models: Sequence[str], places: Sequence[int]
    ) -> None:
        """Write a batch of answers, the most likely token by token; those that are finished leave it.

        Args:
            rows: The answers.
            prefix: What has been read of their questions.
            models: Who writes each.
            places: Of these models among those that read what all questions begin with.
        """
        import torch

        device = self._model.device
        pad = self._model.generation_config.pad_token_id
        cache = self._cache(prefix, places)
        mask = torch.ones(len(rows), prefix.tokens if prefix else 0, dtype=torch.long, device=device)
        while True:
            for row in rows:
                row.guess_ahead(_DRAFTED // len(rows) if len(rows) <= _FEW else 0)
            read = [row.next + row.behind for row in rows]
            longest = max(map(len, read))
            lacking = [longest - len(tokens) for tokens in read]
            now = [[0] * n + [1] * (longest - n) for n in lacking]
            firsts = [row.place + 1 - len(row.next) for row in rows]
            at = [[0] * n + list(range(i, i + longest - n)) for i, n in zip(firsts, lacking, strict=True)]
            mask = torch.cat([mask, torch.tensor(now, device=device)], dim=1)
            kept = [1 + len(row.behind) for row in rows]
            with self._mixed.rows(models):
                passed = self._model(
                    input_ids=torch.tensor(
                        [[pad] * n + its for n, its in zip(lacking, read, strict=True)], device=device
                    ),
                    attention_mask=mask,
                    position_ids=torch.tensor(at, device=device),
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=max(kept),
                )
            width = mask.shape[1]
            for i, (row, seen) in enumerate(zip(rows, Seen.of(passed.logits, kept), strict=True)):
                if not row.done:
                    row.read(seen, width - kept[i])
                    if row.columns[-1] < width - 1:
                        mask[i, row.columns[-1] + 1 :] = 0
            left = [i for i, row in enumerate(rows) if not row.done]
            if not left:
                return
            if len(left) <= _LEAVE * len(rows):
                rows, models = [rows[i] for i in left], [models[i] for i in left]
                rest = torch.tensor(left, device=device)
                mask = mask[rest]
                cache.batch_select_indices(rest)

    def _cache(self, prefix: _Prefix | None, rows: Sequence[int]) -> Any:
        """Of a batch whose rows are read by the models of these numbers: what they have read already."""
        import torch
        from transformers import DynamicCache

        if prefix is None:
            return DynamicCache(config=self._model.config)
        cache = copy.deepcopy(prefix.cache)
        cache.batch_select_indices(torch.tensor(rows, device=self._model.device))
        return cache

    def _generate(self, rows: Sequence[Row], models: Sequence[str]) -> None:
        """The same by transformers, for models that do not keep keys and values of what they have read."""
        import torch
        from transformers import LogitsProcessorList

        length, device = max(len(row.next) for row in rows), self._model.device
        pad = self._model.generation_config.pad_token_id
        lacking = [length - len(row.next) for row in rows]
        with self._mixed.rows(models):
            self._model.generate(
                input_ids=torch.tensor(
                    [[pad] * n + row.next for n, row in zip(lacking, rows, strict=True)], device=device
                ),
                attention_mask=torch.tensor([[0] * n + [1] * (length - n) for n in lacking], device=device),
                max_new_tokens=self._max_new_tokens,
                logits_processor=LogitsProcessorList([_Writing(rows)]),
            )

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


def _of_lists(constraint: Constraint | None) -> bool:
    """Whether the answer is one of lists of strings, of which none is to come twice."""
    return isinstance(constraint, Constraint) and constraint.format != "pairs"


class _Prefix(NamedTuple):
    """The first tokens of all questions: how many, and their keys and values with a row for each model."""

    tokens: int
    cache: Any


class _Writing:
    """A logits processor that has the answers written as their rows say."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __call__(self, ids: Any, scores: Any) -> Any:
        seen = Seen.of(scores[:, None], [1] * len(self._rows))
        chosen = scores.new_full(scores.shape, float("-inf"))
        for i, row in enumerate(self._rows):
            if not row.done:
                row.read(seen[i], ids.shape[1] - 1)
            chosen[i, row.tokens[-1]] = 0
        return chosen
