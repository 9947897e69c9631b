from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from samner.embedding import MINILM, encode, sentence_encoder_path
from samner.errors import ModelError
from samner.sentence_encoder import SentenceEncoder

TEXTS = ["Aspirin relieves headache.", "", "東京 é", "word " * 400, "The Rovers won the cup."]
SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
POOLING = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny random BERT, alone."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    BertModel(BertConfig(initializer_range=0.5, **SIZES)).save_pretrained(tmp_path / "model")
    shutil.copy(Path(sentence_encoder_path(MINILM)) / "tokenizer.json", tmp_path / "model")
    return tmp_path / "model"


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content))


def modules(folder: Path, *kinds: str) -> None:
    listed = [
        {"idx": i, "name": str(i), "path": f"{i}_{kind}" if i else "", "type": f"a.{kind}"}
        for i, kind in enumerate(kinds)
    ]
    write(folder / "modules.json", listed)


def test_vectors_are_those_of_sentence_transformers() -> None:
    library = pytest.importorskip("sentence_transformers")
    theirs = library.SentenceTransformer(sentence_encoder_path(MINILM), device="cpu")
    np.testing.assert_allclose(encode(TEXTS), theirs.encode(TEXTS, normalize_embeddings=True), atol=1e-6)


@pytest.mark.parametrize("mode", ["mean", "cls", "max"])
@pytest.mark.parametrize("old", [True, False])
def test_every_way_of_pooling_is_that_of_sentence_transformers(folder: Path, mode: str, old: bool) -> None:
    library = pytest.importorskip("sentence_transformers")
    modules(folder, "Transformer", "Pooling", "Normalize")
    config = (
        {POOLING[mode]: True, "word_embedding_dimension": 16}
        if old
        else {"pooling_mode": mode, "embedding_dimension": 16}
    )
    write(folder / "1_Pooling" / "config.json", config)
    listed = json.loads((folder / "modules.json").read_text())
    for module in listed:
        module["type"] = module["type"].replace("a.", "sentence_transformers.models.")
    write(folder / "modules.json", listed)
    theirs = library.SentenceTransformer(str(folder), device="cpu")
    mine = SentenceEncoder(folder)
    np.testing.assert_allclose(mine.encode(TEXTS), theirs.encode(TEXTS, normalize_embeddings=True), atol=1e-5)


def test_the_transformer_alone_is_averaged(folder: Path) -> None:
    encoder = SentenceEncoder(folder)
    ids = encoder.tokenizer.encode("Aspirin relieves headache.").ids
    with torch.no_grad():
        states = encoder.transformer(torch.tensor([ids]), torch.ones(1, len(ids))).last_hidden_state
    mean = states[0].mean(0) / states[0].mean(0).norm()
    np.testing.assert_allclose(encoder.encode(["Aspirin relieves headache."])[0], mean, atol=1e-5)


def test_another_transformer_is_read_by_its_own_library(folder: Path) -> None:
    from transformers import DistilBertConfig, DistilBertModel

    torch.manual_seed(0)
    DistilBertModel(DistilBertConfig(dim=16, hidden_dim=32, n_layers=1, n_heads=2)).save_pretrained(folder)
    encoder = SentenceEncoder(folder)
    assert encoder.max_tokens == 512
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(TEXTS), axis=1), 1, atol=1e-5)


def test_neighbours_do_not_matter_and_order_is_kept(folder: Path) -> None:
    encoder = SentenceEncoder(folder)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, atol=1e-5)
    assert encoder.encode([]).shape == (0, 16)


def test_long_texts_are_cut_and_case_is_lowered_where_the_settings_say(folder: Path) -> None:
    write(folder / "sentence_bert_config.json", {"max_seq_length": 4, "do_lower_case": True})
    encoder = SentenceEncoder(folder)
    np.testing.assert_array_equal(encoder.encode(["ONE TWO three"]), encoder.encode(["one two"]))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (
            lambda folder: modules(folder, "Transformer", "Pooling", "Dense"),
            "Transformer, Pooling and Normalize are read",
        ),
        (lambda folder: write(folder / "modules.json", 5), "not a list of"),
        (lambda folder: write(folder / "modules.json", [{"type": "Transformer"}]), "not a list of"),
        (
            lambda folder: write(folder / "config_sentence_transformers.json", {"default_prompt_name": "query"}),
            "puts a prompt before every sentence",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 20), "not the weights of a BERT"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "tokenizer.json: "),
    ],
)
def test_what_it_does_not_read_is_said(folder: Path, break_it: Any, message: str) -> None:
    break_it(folder)
    with pytest.raises(ModelError, match=message):
        SentenceEncoder(folder)


def test_another_way_of_pooling_is_refused(folder: Path) -> None:
    modules(folder, "Transformer", "Pooling")
    write(folder / "1_Pooling" / "config.json", {"pooling_mode": "lasttoken"})
    with pytest.raises(ModelError, match="pools by 'lasttoken'; mean, cls, max are supported"):
        SentenceEncoder(folder)


@pytest.mark.parametrize("modes", [["mean", "max"], {}, []])
def test_several_ways_of_pooling_are_refused(folder: Path, modes: object) -> None:
    modules(folder, "Transformer", "Pooling")
    write(folder / "1_Pooling" / "config.json", {"pooling_mode": modes})
    with pytest.raises(ModelError, match="pools by"):
        SentenceEncoder(folder)


def test_no_more_is_read_of_a_text_than_there_are_positions(folder: Path) -> None:
    positions = json.loads((folder / "config.json").read_bytes())["max_position_embeddings"]
    write(folder / "sentence_bert_config.json", {"max_seq_length": 10 * positions})
    encoder = SentenceEncoder(folder)
    assert encoder.max_tokens == positions and np.isfinite(encoder.encode(["one two " * positions])).all()
    write(folder / "sentence_bert_config.json", {"max_seq_length": 1})
    with pytest.raises(ModelError, match="reads 1 tokens of a text"):
        SentenceEncoder(folder)


def test_a_module_outside_the_folder_is_refused(folder: Path) -> None:
    write(folder / "modules.json", [{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "../other"}])
    with pytest.raises(Exception, match="other"):
        SentenceEncoder(folder)


def test_the_built_in_pool_needs_neither_transformers_nor_peft() -> None:
    code = (
        "import sys; from samner import ExpertPool, adapt; texts = ['Aspirin relieves headache.']; "
        "adapt(ExpertPool.load('builtin'), texts, ['drug']).predict(texts); "
        "print(sorted({'transformers', 'peft', 'sklearn', 'scipy', 'sympy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
