"""A GLiNER2 model of the real architecture with random weights and a tokenizer of its own, where no hub is at hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

SPECIAL = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]


def make_model(
    texts: Iterable[str],
    *,
    architecture: str = "span",
    vocabulary: int = 4000,
    layers: int = 2,
    hidden: int = 128,
    heads: int = 4,
    counting: str = "count_lstm_v2",
    **more: Any,
) -> Any:
    """A model like fastino's, but small: an encoder as DeBERTa-v3's, and the heads of an architecture of gliner2.

    Args:
        texts: From which the tokenizer learns its pieces.
        architecture: ``"span"`` (GLiNER2) or ``"boundary"`` (GLiNER2.5).
        vocabulary: Pieces, at most.
        layers: Of the encoder.
        hidden: Its width.
        heads: Of its attention.
        counting: Which counting layer a span model has.
        more: Settings of the encoder.
    """
    from gliner2 import AutoExtractor, ExtractorConfig
    from transformers import DebertaV2Config

    encoder = DebertaV2Config(
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=hidden * 4,
        relative_attention=True,
        position_buckets=64,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        position_biased_input=False,
        type_vocab_size=0,
        layer_norm_eps=1e-7,
        pad_token_id=0,
        **more,
    )
    tokenizer = make_tokenizer(texts, vocabulary)
    encoder.vocab_size = len(tokenizer)
    settings = {"counting_layer": counting, "max_width": 8} if architecture == "span" else {}
    config = ExtractorConfig(model_name="random", architecture=architecture, **settings)
    model = AutoExtractor.from_config(config, encoder_config=encoder, tokenizer=tokenizer).eval()
    if architecture == "span":  # how often a record occurs; nothing is found if never, and entities don't teach it
        model.count_pred[-1].bias.data[1] += 10
    return model


def make_tokenizer(texts: Iterable[str], vocabulary: int) -> Any:
    """A tokenizer of DeBERTa-v3's kind: a unigram model of pieces of words."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=vocabulary, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False
    )
    tokenizer.train_from_iterator((text.lower() for text in texts), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        mask_token="[MASK]",
    )
