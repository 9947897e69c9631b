from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models

from samner.backbones.encoder.tokens import Batch, WordTokenizer, collate, repeat
from samner.embedding import sentence_encoder
from samner.subwords import MAX_WORD_TOKENS
from samner.words import Tokens, borders

NASTY = [
    "\U0001f469\u200d\U0001f52c",  # woman scientist: two emoji and a joiner
    "\u2764\ufe0f",  # heart with a variation selector
    "\U0001f1eb\U0001f1f7",  # flag
    "e\u0301",  # decomposed e acute
    "שלום",
    "مَرْحَبًا",
    "東京タワー",
    "서울",
    "\u200b",
    "\u00ad",
    "\x00",
    "\r\n",
    "\ufeff",
    "\u2028",
    "\u202e",
    "\ud83d",  # half of a surrogate pair
    "\ufffd",
    "ﬁ",
    "İ",
]
texts = st.lists(st.text(st.characters(exclude_categories=())) | st.sampled_from(NASTY) | st.just(" ")).map("".join)


def split(tokenizer: WordTokenizer, text: str) -> list[str]:
    (tokens,) = tokenizer([text])
    return [text[word.start : word.end] for word in tokens.words]


class TestSplitting:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("Aspirin relieves headache.", ["Aspirin", "relieves", "headache", "."]),
            ("(C++ and C#)", ["(", "C", "+", "+", "and", "C", "#", ")"]),
            ("Zoë’s café", ["Zoë", "’", "s", "café"]),
            ("Zoe\u0308’s cafe\u0301", ["Zoe\u0308", "’", "s", "cafe\u0301"]),
            ("e-mail_me@x.org", ["e", "-", "mail", "_", "me", "@", "x", ".", "org"]),
            ("שלום עולם", ["שלום", "עולם"]),
            ("مَرْحَبًا بك", ["مَرْحَبًا", "بك"]),
            ("東京で見た", ["東", "京", "で", "見", "た"]),
            ("서울에서 왔다", ["서울에서", "왔다"]),
            ("iPhone15を買う", ["iPhone15", "を", "買", "う"]),
            ("won \U0001f3c6\U0001f3c6!", ["won", "\U0001f3c6", "\U0001f3c6", "!"]),
            ("\U0001f469\u200d\U0001f52c won", ["\U0001f469\u200d\U0001f52c", "won"]),
            ("\u2764\ufe0f you", ["\u2764\ufe0f", "you"]),
            ("x² ≤ ½", ["x²", "≤", "½"]),
            ("New\u00a0York\u2028is\x85big", ["New", "York", "is", "big"]),
            ("", []),
            (" \t\r\n\u3000", []),
        ],
    )
    def test_words_are_runs_of_letters_and_single_marks(
        self, tokenizer: WordTokenizer, text: str, words: list[str]
    ) -> None:
        assert split(tokenizer, text) == words

    @pytest.mark.parametrize("invisible", ["\u200b", "\x00", "\x1b", "\ufffd", "\ue000"])
    def test_what_the_tokenizer_does_not_see_parts_words_and_is_left_out(
        self, tokenizer: WordTokenizer, invisible: str
    ) -> None:
        text = f"{invisible}New{invisible}York {invisible} is"
        assert split(tokenizer, text) == ["New", "York", "is"]

    def test_half_a_surrogate_pair_is_a_word(self, tokenizer: WordTokenizer) -> None:
        assert split(tokenizer, "a \ud83d\ud83db") == ["a", "\ud83d", "\ud83d", "b"]

    @given(text=texts)
    def test_offsets_are_those_of_the_text_as_given(self, tokenizer: WordTokenizer, text: str) -> None:
        (tokens,) = tokenizer([text])
        assert len(tokens.words) == len(tokens.ids)
        position = 0
        for word, ids in zip(tokens.words, tokens.ids, strict=True):
            assert position <= word.start < word.end <= len(text)
            assert 0 < word.cost == len(ids) <= MAX_WORD_TOKENS
            assert word.start in borders(text) and word.end in borders(text)
            position = word.end
        assert tokens.cost == sum(word.cost for word in tokens.words)

    @given(text=st.text(st.characters(codec="latin-1", categories=["L", "N"]) | st.sampled_from(" .,-'\n")))
    def test_no_letter_is_lost(self, tokenizer: WordTokenizer, text: str) -> None:
        covered = "".join(split(tokenizer, text))
        assert covered == "".join(text.split())

    @given(several=st.lists(texts, max_size=4))
    def test_a_text_is_split_in_company_as_alone(self, tokenizer: WordTokenizer, several: list[str]) -> None:
        assert tokenizer(several) == [tokens for text in several for tokens in tokenizer([text])]

    @given(
        text=st.text(
            st.characters(codec="ascii", exclude_categories=["Cc"]) | st.sampled_from("éÜñß東京“”—"), max_size=60
        )
    )
    def test_sub_tokens_are_those_of_the_whole_text(self, tokenizer: WordTokenizer, text: str) -> None:
        (tokens,) = tokenizer([text])
        assume(all(word.cost < MAX_WORD_TOKENS for word in tokens.words))
        whole = sentence_encoder().tokenizer.encode(text, add_special_tokens=False).ids
        assert [piece for ids in tokens.ids for piece in ids] == whole

    def test_a_window_cut_at_words_has_the_same_words(self, tokenizer: WordTokenizer) -> None:
        text = "Zoe\u0308 paid €5 in 東京, e-mailed \U0001f3c6."
        (tokens,) = tokenizer([text])
        for first in range(len(tokens.words)):
            start, end = tokens.words[first].start, tokens.words[-1].end
            assert tokenizer([text[start:end]])[0].ids == tokens.ids[first:]

    def test_a_long_word_is_one_word_of_few_tokens(self, tokenizer: WordTokenizer) -> None:
        word = "xq7z" * 24
        assert len(sentence_encoder().tokenizer.encode(word, add_special_tokens=False)) > MAX_WORD_TOKENS
        (tokens,) = tokenizer([f"see {word} there"])
        assert [word.cost for word in tokens.words] == [1, MAX_WORD_TOKENS, 1]
        assert tokens.words[1][:2] == (4, 100)

    def test_the_cache_is_bounded_and_left_out_of_pickles(
        self, tokenizer: WordTokenizer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("samner.subwords._CACHED_WORDS", 10)
        fresh = WordTokenizer(sentence_encoder().tokenizer, 0)
        size = len(pickle.dumps(fresh))
        texts = [f"word{i} of many, many words{i}" for i in range(100)]
        assert [fresh([text]) for text in texts] == [tokenizer([text]) for text in texts]
        assert len(pickle.dumps(fresh)) == size
        assert pickle.loads(pickle.dumps(fresh))(texts) == tokenizer(texts)

    def test_threads_and_whoever_else_uses_the_tokenizer_do_not_disturb_each_other(
        self, tokenizer: WordTokenizer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("samner.subwords._CACHED_WORDS", 50)
        shared = Tokenizer.from_str(sentence_encoder().tokenizer.to_str())
        fresh = WordTokenizer(shared, 0)

        def disturb(k: int) -> None:
            shared.enable_padding(length=k)
            shared.enable_truncation(k)
            shared.encode_batch(texts[0][:k])

        texts = [[f"word{i} of thread{t}, electroencephalography{i}" for i in range(40)] for t in range(4)]
        with ThreadPoolExecutor(5) as pool:
            found = [pool.submit(fresh, its) for its in texts for _ in range(3)]
            pool.submit(lambda: [disturb(k) for k in range(3, 40)]).result()
        assert [one.result() for one in found] == [tokenizer(its) for its in texts for _ in range(3)]

    def test_no_texts_give_no_tokens(self, tokenizer: WordTokenizer) -> None:
        assert tokenizer([]) == []


class TestCollate:
    TEXTS = ("Aspirin relieves headache.", "", "Electroencephalography in 東京 helps", "ok")

    def batch(self, tokenizer: WordTokenizer) -> tuple[list[Tokens], Batch]:
        tokens = tokenizer(self.TEXTS)
        return tokens, collate(tokens, tokenizer)

    def test_shapes(self, tokenizer: WordTokenizer) -> None:
        tokens, batch = self.batch(tokenizer)
        width = max(len(item.words) for item in tokens)
        length = max(item.cost for item in tokens) + 2
        assert batch.shape == (4, width)
        assert batch.input_ids.shape == batch.attention_mask.shape == batch.word_ids.shape == (4, length)
        assert batch.word_mask.shape == (4, width)
        assert batch.word_mask.sum(1).tolist() == [len(item.words) for item in tokens]

    def test_texts_stand_between_the_special_tokens_and_padding_is_masked(self, tokenizer: WordTokenizer) -> None:
        tokens, batch = self.batch(tokenizer)
        for item, ids, mask in zip(tokens, batch.input_ids.tolist(), batch.attention_mask.tolist(), strict=True):
            used = item.cost + 2
            assert mask == [1] * used + [0] * (len(mask) - used)
            assert ids[:used] == [101, *(piece for word in item.ids for piece in word), 102]
            assert set(ids[used:]) <= {tokenizer.pad_id}

    def test_every_sub_token_points_at_its_word(self, tokenizer: WordTokenizer) -> None:
        tokens, batch = self.batch(tokenizer)
        rows, width = batch.shape
        for row, item in enumerate(tokens):
            for column, ids in enumerate(item.ids):
                owned = batch.input_ids[batch.word_ids == row * width + column]
                assert tuple(owned.tolist()) == ids
        special = batch.word_ids == rows * width
        assert int((~special).sum()) == sum(item.cost for item in tokens)

    def test_texts_without_words_are_a_batch_too(self, tokenizer: WordTokenizer) -> None:
        batch = collate(tokenizer(["", " "]), tokenizer)
        assert batch.shape == (2, 1)
        assert not batch.word_mask.any()

    @pytest.mark.parametrize("times", [1, 2, 5])
    def test_repeating_a_batch_equals_collating_the_repeated_texts(self, tokenizer: WordTokenizer, times: int) -> None:
        tokens, batch = self.batch(tokenizer)
        repeated, expected = repeat(batch, times), collate(tokens * times, tokenizer)
        for field in fields(Batch):
            mine, theirs = getattr(repeated, field.name), getattr(expected, field.name)
            assert torch.equal(mine, theirs) if isinstance(mine, torch.Tensor) else mine == theirs


def test_a_tokenizer_without_special_tokens_will_do() -> None:
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate("abcd", 1)}, []))
    tokenizer = WordTokenizer(backend, 0)
    batch = collate(tokenizer(["ab c", "d"]), tokenizer)
    assert batch.input_ids.tolist() == [[1, 2, 3], [4, 0, 0]]
    assert batch.word_ids.tolist() == [[0, 0, 1], [2, 4, 4]]
