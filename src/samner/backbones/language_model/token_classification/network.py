"""From questions to start, end and inside logits: passes through the language model, and the heads on its states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from samner.backbones.language_model.token_classification.inputs import Question, Reader, TypesPart, padded
from samner.entities import Entity, EntityType
from samner.precision import fastest_dtype
from samner.spans import ROLES, decode
from samner.windows import batches
from samner.words import Tokens

_BATCH_TOKENS = 512  # of one model: more would bring texts of other lengths together, and pad more than it gains
_PASS_TOKENS = 2048  # of all models together


class Heads(nn.Module):
    """For each role, the scaled and shifted cosine of a word with a type after a projection of both.

    Words and types begin with the same projection, so that a word starts near the types whose names are like it.

    Args:
        hidden: Width of the model's states.
        width: Of each role's projection.
    """

    def __init__(self, hidden: int, width: int = 128) -> None:
        super().__init__()
        self.width = width
        self.words = nn.Linear(hidden, len(ROLES) * width, bias=False)
        self.types = nn.Linear(hidden, len(ROLES) * width, bias=False)
        self.scale = nn.Parameter(torch.full((len(ROLES),), 10.0))
        self.bias = nn.Parameter(torch.full((len(ROLES),), -4.0))
        with torch.no_grad():
            self.types.weight.copy_(self.words.weight)

    def forward(self, words: Tensor, types: Tensor) -> Tensor:
        """Logits, B x W x T x 3, of words (B x W x hidden) for types (B x T x hidden)."""
        word = normalize(self.words(words).unflatten(-1, (len(ROLES), self.width)).float(), dim=-1)
        kind = normalize(self.types(types).unflatten(-1, (len(ROLES), self.width)).float(), dim=-1)
        return torch.einsum("bwrd,btrd->bwtr", word, kind) * self.scale + self.bias


def logits(model: Any, heads: Heads, questions: Sequence[Question], padding: int) -> Tensor:
    """Logits, B x W x T x 3, of questions that ask for types of their own; those of padding mean nothing.

    Args:
        model: The causal language model without its own head, of transformers.
        heads: Of the base.
        questions: At least one. Padding follows each: in a causal model nothing that counts attends to it.
        padding: Id of the sub-token that fills rows up.
    """
    device = model.device
    states = model(input_ids=padded([q.ids for q in questions], padding, device), use_cache=False).last_hidden_state
    words = padded([[len(q.types.ids) + place for place in q.places] for q in questions], 0, device)
    types = padded([q.types.places for q in questions], 0, device)
    scores: Tensor = heads(_at(states, words), _at(states, types))
    return scores


class SharedTypes:
    """One list of types, read once by each of M models, to be asked of any number of texts.

    Args:
        model: The causal language model without its own head, of transformers; M rows are read by the M models.
        types: The list.
        models: M.
    """

    def __init__(self, model: Any, types: TypesPart, models: int) -> None:
        ids = padded([types.ids] * models, 0, model.device)
        answer = model(input_ids=ids, use_cache=True)
        self.states: Tensor = answer.last_hidden_state[:, list(types.places)]
        self._keys = [(layer.keys, layer.values) for layer in answer.past_key_values.layers]

    def logits(self, model: Any, heads: Heads, questions: Sequence[Question], padding: int) -> Tensor:
        """Logits, M x B x W x T x 3; M times B rows are read, those of one model together."""
        models, texts = len(self.states), len(questions)
        ids = padded([q.copies for q in questions], padding, model.device)
        states = model(input_ids=ids.repeat(models, 1), past_key_values=self._cache(model, texts)).last_hidden_state
        places = padded([q.places for q in questions], 0, model.device).repeat(models, 1)
        scores: Tensor = heads(_at(states, places), self.states.repeat_interleave(texts, 0))
        return scores.reshape(models, texts, *scores.shape[1:])

    def _cache(self, model: Any, texts: int) -> Any:
        """What each row has read before; the model adds to it, so every pass has its own."""
        from transformers import DynamicCache

        pairs = [(k.repeat_interleave(texts, 0), v.repeat_interleave(texts, 0)) for k, v in self._keys]
        return DynamicCache(pairs, config=model.config)


@torch.inference_mode()
def predict(
    model: Any,
    heads: Heads,
    reader: Reader,
    texts: Sequence[Tokens],
    types: Sequence[EntityType],
    models: int,
    threshold: float,
    rows: Callable[[int], AbstractContextManager[None]] = lambda texts: nullcontext(),
) -> list[list[list[Entity]]]:
    """Candidate entities, which may overlap, for each of M models and each text.

    Args:
        model: The causal language model without its own head.
        heads: Of the base.
        reader: Of the base.
        texts: Each with a word, and no longer than the model reads at once.
        types: Asked for all together.
        models: M.
        threshold: Entities of lower score are left out.
        rows: Given a number of texts, a context in which each of the M models reads that many rows.
    """
    device, dtype = model.device, fastest_dtype(str(model.device))
    part = reader.types([t.prompt for t in types])
    questions = [reader.question(tokens, part) for tokens in texts]
    result: list[list[list[Entity]]] = [[[] for _ in texts] for _ in range(models)]
    with torch.autocast(device.type, dtype, enabled=dtype is not torch.float32):
        with rows(1):
            shared = SharedTypes(model, part, models)
        for group in batches([len(q.copies) for q in questions], min(_BATCH_TOKENS, _PASS_TOKENS // models)):
            with rows(len(group)):
                scores = shared.logits(model, heads, [questions[i] for i in group], reader.padding)
            values = scores.float().sigmoid().cpu().numpy()
            for its, probabilities in zip(result, values, strict=True):
                for i, p in zip(group, probabilities, strict=True):
                    words = texts[i].words
                    its[i] = decode(p[: len(words)], words, types, threshold)
    return result


def _at(states: Tensor, places: Tensor) -> Tensor:
    """B x P x hidden: the states at the places (B x P) of each row."""
    return states.gather(1, places.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
