"""Answers by a model in this process: greedy decoding in mixed batches."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

from samner.backbones.language_model.engines.repetition import Ending, Lists
from samner.backbones.language_model.generation.answer_format import Constraint, Grammars, Matchers
from samner.backbones.language_model.generation.ask import Generated, Question
from samner.backbones.language_model.generation.prompt import Prompt, prompt_ids, render
from samner.backbones.mixed_batch import MixedModels
from samner.errors import ModelError
from samner.windows import batches

_SHARED = 16
"""Tokens that all questions must begin with for it to pay to read them apart."""

_LEAVE = 0.75
"""When no more than this share of a batch's answers is unfinished, the rest leave it: what was read is copied then."""


class LocalEngine:
    """Greedy decoding in this process, all models' questions in mixed batches.

    Tokens that a grammar forces (the names of types, what is left of a word) are read together, not one at a time.

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
        taken = inspect.signature(getattr(model, "get_base_model", lambda: model)().forward).parameters
        self._keeps_what_it_reads = {"past_key_values", "position_ids", "logits_to_keep"} <= set(taken)
        # else padding amid a row would move the window that a layer attends to
        self._attends_to_all = all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)
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
                constraints = [questions[i].constraint for i in batch]
                names = [questions[i].model for i in batch]
                asked = [ids[i] for i in batch]
                if self._keeps_what_it_reads:
                    written = self._write(asked, constraints, prefix, names, rows)
                else:
                    written = self._generate(asked, constraints, names)
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

        first, last = min(ids), max(ids)  # what these begin with, all do
        same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        shared = first[: min(same, *(len(i) - 1 for i in ids))]  # of every question, one token is left
        exact = self._keeps_what_it_reads and self._attends_to_all
        if not exact or len(ids) < 2 or len(shared) < _SHARED:
            return None
        read = torch.tensor([shared] * len(models), device=self._model.device)
        cache = DynamicCache(config=self._model.config)
        with self._mixed.rows(models):
            self._model(input_ids=read, past_key_values=cache, use_cache=True)
        return _Prefix(len(shared), cache)

    def _write(
        self,
        ids: Sequence[list[int]],
        constraints: Sequence[Constraint | None],
        prefix: _Prefix | None,
        models: Sequence[str],
        rows: Sequence[int],
    ) -> list[Generated]:
        """The answers to a batch of questions, the most likely token by token; those that are finished leave it."""
        import torch

        device, start = self._model.device, prefix.tokens if prefix else 0
        length = max(map(len, ids))
        pad = self._model.generation_config.pad_token_id
        mask = torch.tensor(
            [[1] * start + [0] * (length - len(i)) + [1] * (len(i) - start) for i in ids], device=device
        )
        read = torch.tensor([[pad] * (length - len(i)) + i[start:] for i in ids], device=device)
        cache = self._cache(prefix, rows)
        places = (mask.cumsum(-1) - 1).clamp(min=0)[:, start:]
        matchers = self._matchers(constraints)
        batch, open = list(range(len(ids))), set(range(len(ids)))
        answers: list[tuple[list[int], list[float]]] = [([], []) for _ in ids]
        lists = [Lists() if self._attends_to_all and _of_lists(c) else None for c in constraints]
        forced: list[list[int]] = [[] for _ in ids]  # by row, what is read behind the token that was chosen
        while True:
            with self._mixed.rows([models[i] for i in batch]):
                passed = self._model(
                    input_ids=read,
                    attention_mask=mask,
                    position_ids=places,
                    past_key_values=cache,
                    use_cache=True,
                    logits_to_keep=1 + max(map(len, forced)),
                )
            scores, tokens, logprobs = _likeliest(passed.logits[:, -1].float(), matchers)
            chosen = tokens.tolist()
            for row, (i, logprob) in enumerate(zip(batch, logprobs.tolist(), strict=True)):
                if i not in open:
                    continue
                its, known = answers[i]
                its += forced[row]
                known += _logprobs(passed.logits[row, -1 - len(forced[row]) : -1].float(), forced[row])
                said = lists[i]
                if said and matchers:
                    here = Ending(len(its), mask.shape[1], int(places[row, -1]))
                    pieces = [self._piece(token) for token in (*forced[row], chosen[row])]
                    if ending := said.read(pieces, here, partial(self._closing, scores[row], passed.logits[row, -1])):
                        matchers.take_back(row, len(its) - ending.tokens)
                        del its[ending.tokens :], known[ending.tokens :]
                        mask[row, ending.columns :] = 0
                        places[row, -1] = ending.place
                        chosen[row], logprob = ending.token, ending.logprob
                its.append(chosen[row])
                known.append(logprob)
                if chosen[row] in self._ends or len(its) >= self._max_new_tokens:
                    open.remove(i)
            if not open:
                most = self._max_new_tokens
                return [self.decode(its[:most], known[:most]) for its, known in answers]
            if matchers:
                matchers.consume(chosen)
                forced = matchers.forced() if self._attends_to_all else forced
            longest = max(map(len, forced))
            behind = torch.tensor([[0] * (longest - len(its)) + [1] * (1 + len(its)) for its in forced], device=device)
            following = [[token, *its] for token, its in zip(chosen, forced, strict=True)]
            read = torch.tensor([[pad] * (1 + longest - len(its)) + its for its in following], device=device)
            places = places[:, -1:] + behind.cumsum(-1)
            mask = torch.cat([mask, behind], dim=1)
            if len(open) <= _LEAVE * len(batch):
                left = [row for row, i in enumerate(batch) if i in open]
                batch = [batch[row] for row in left]
                forced = [forced[row] for row in left]
                rest = torch.tensor(left, device=device)
                read, places, mask = read[rest], places[rest], mask[rest]
                cache.batch_select_indices(rest)
                if matchers:
                    matchers.keep(left)

    def _piece(self, token: int) -> str:
        """A token as the vocabulary has it."""
        return self._tokenizer.convert_ids_to_tokens(token) or ""

    def _closing(self, scores: Any, logits: Any) -> tuple[int, float] | None:
        """The likeliest token that ends a string and its list, if one may, and how likely it is (log)."""
        if not self._closers:
            return None
        best = max(self._closers, key=lambda token: float(scores[token]))
        return (best, _logprobs(logits[None].float(), [best])[0]) if scores[best] > float("-inf") else None

    @cached_property
    def _closers(self) -> list[int]:
        vocabulary: dict[str, int] = self._tokenizer.get_vocab()
        return [number for token, number in vocabulary.items() if token.startswith('"]')]

    def _cache(self, prefix: _Prefix | None, rows: Sequence[int]) -> Any:
        """Of a batch whose rows are read by the models of these numbers: what they have read already."""
        import torch
        from transformers import DynamicCache

        if prefix is None:
            return DynamicCache(config=self._model.config)
        cache = copy.deepcopy(prefix.cache)
        cache.batch_select_indices(torch.tensor(rows, device=self._model.device))
        return cache

    def _generate(
        self, ids: Sequence[list[int]], constraints: Sequence[Constraint | None], models: Sequence[str]
    ) -> list[Generated]:
        """The same by transformers, for models that do not keep keys and values of what they have read."""
        import torch
        from transformers import LogitsProcessorList

        length, device = max(map(len, ids)), self._model.device
        pad = self._model.generation_config.pad_token_id
        recorder = _Recorder(self._matchers(constraints))
        with self._mixed.rows(models):
            output = self._model.generate(
                input_ids=torch.tensor([[pad] * (length - len(i)) + i for i in ids], device=device),
                attention_mask=torch.tensor([[0] * (length - len(i)) + [1] * len(i) for i in ids], device=device),
                max_new_tokens=self._max_new_tokens,
                logits_processor=LogitsProcessorList([recorder]),
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


def _of_lists(constraint: Constraint | None) -> bool:
    """Whether the answer is one of lists of strings, of which none is to come twice."""
    return isinstance(constraint, Constraint) and constraint.format != "pairs"


class _Prefix(NamedTuple):
    """The first tokens of all questions: how many, and their keys and values with a row for each model."""

    tokens: int
    cache: Any


def _likeliest(logits: Any, matchers: Matchers | None) -> tuple[Any, Any, Any]:
    """Scores of the tokens that grammars allow, each row's likeliest of them, and how likely it was without (log)."""
    scores = logits
    if matchers:
        allowed = matchers.allowed(scores.shape[-1])
        if allowed is not None:
            scores = scores.masked_fill(~allowed.to(scores.device), float("-inf"))
    chosen = scores.argmax(-1)
    return scores, chosen, logits.gather(-1, chosen[:, None])[:, 0] - logits.logsumexp(-1)


def _logprobs(logits: Any, tokens: Sequence[int]) -> list[float]:
    """How likely each of the tokens was (log), by the logits of its place."""
    its: list[float] = [(row[token] - row.logsumexp(-1)).item() for row, token in zip(logits, tokens, strict=True)]
    return its


class _Recorder:
    """A logits processor that keeps answers to their grammars and notes how likely each token was without them."""

    def __init__(self, matchers: Matchers | None) -> None:
        self._matchers = matchers
        self.logprobs: list[Any] = []

    def __call__(self, ids: Any, scores: Any) -> Any:
        if self._matchers and self.logprobs:
            self._matchers.consume(ids[:, -1].tolist())
        scores, _, logprobs = _likeliest(scores, self._matchers)
        self.logprobs.append(logprobs)
        return scores
