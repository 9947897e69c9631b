from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from samner.backbones.encoder.network import ROLES, Heads, pool_words, word_vectors
from samner.backbones.encoder.tokens import WordTokenizer, collate


def inputs(rows: int = 2, width: int = 3, types: int = 4, hidden: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(types, hidden, generator=generator), dim=1)
    return torch.randn(rows, width, hidden, generator=generator), vectors


class TestHeads:
    def test_untrained_they_score_by_similarity(self) -> None:
        """Identity maps: the logit is a scaled dot product of word and type, the same in each role."""
        words, types = inputs()
        logits = Heads(8)(words, types)
        expected = 5 * (words / 8**0.5) @ types.T - 3
        assert logits.shape == (2, 3, 4, len(ROLES))
        for role in range(len(ROLES)):
            torch.testing.assert_close(logits[..., role], expected)

    def test_any_maps_scales_and_biases_against_numpy(self) -> None:
        words, types = inputs()
        heads = Heads(8)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in heads.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        maps, scale, bias = (p.detach().numpy() for p in (heads.maps, heads.log_scale.exp(), heads.bias))
        expected = np.empty((2, 3, 4, 3))
        for b, w, t, r in np.ndindex(expected.shape):
            x = words[b, w].numpy() / np.sqrt(8)
            expected[b, w, t, r] = scale[r] * (maps[r] @ types[t].numpy()) @ x + bias[r]
        np.testing.assert_allclose(heads(words, types).detach().numpy(), expected, rtol=1e-4, atol=1e-5)

    def test_every_parameter_learns(self) -> None:
        heads = Heads(8)
        heads(*inputs()).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in heads.parameters())


class TestPoolWords:
    def test_a_word_is_the_mean_of_its_sub_tokens(self, tokenizer: WordTokenizer) -> None:
        tokens = tokenizer(["Electroencephalography in 東京", "", "ok then"])
        batch = collate(tokens, tokenizer)
        states = torch.randn(*batch.input_ids.shape, 5, generator=torch.Generator().manual_seed(0))
        pooled = pool_words(states, batch)
        expected = torch.zeros(*batch.shape, 5)
        for row, item in enumerate(tokens):
            position = len(tokenizer.prefix)
            for column, ids in enumerate(item.ids):
                expected[row, column] = states[row, position : position + len(ids)].mean(0)
                position += len(ids)
        torch.testing.assert_close(pooled, expected)
        assert not pooled[~batch.word_mask].any()

    def test_neighbours_in_a_batch_do_not_matter(self, tokenizer: WordTokenizer) -> None:
        from samner.embedding import sentence_encoder

        encoder = sentence_encoder().transformer
        texts = ["Aspirin relieves headache.", "ok", "Ada Lovelace wrote the first program in London, did she not?"]
        tokens = tokenizer(texts)
        with torch.no_grad():
            together = word_vectors(encoder, collate(tokens, tokenizer))
            for row, item in enumerate(tokens):
                alone = word_vectors(encoder, collate([item], tokenizer))[0]
                torch.testing.assert_close(together[row, : len(item.words)], alone, rtol=1e-3, atol=1e-5)
