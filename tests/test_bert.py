from __future__ import annotations

import pytest
import torch
from transformers import BertConfig as TheirConfig
from transformers import BertModel

from samner.bert import Bert, BertConfig

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
CONFIG = {"model_type": "bert", "hidden_act": "gelu", **SIZES}


@pytest.fixture
def theirs() -> BertModel:
    torch.manual_seed(0)
    return BertModel(TheirConfig(**SIZES, initializer_range=0.5)).eval()


@pytest.fixture
def mine(theirs: BertModel) -> Bert:
    bert = Bert(BertConfig(**SIZES)).eval()
    bert.load(theirs.state_dict())
    return bert


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_answers_are_those_of_transformers(theirs: BertModel, mine: Bert, attention: str) -> None:
    ids, mask = torch.randint(50, (3, 9)), torch.ones(3, 9, dtype=torch.int64)
    mask[1, 5:] = mask[2, 1:] = 0
    mine.set_attn_implementation(attention)
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        answered = mine(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(answered[mask == 1], expected[mask == 1], rtol=1e-5, atol=1e-5)


def test_layers_have_the_same_names(theirs: BertModel, mine: Bert) -> None:
    names = [name for name in theirs.state_dict() if not name.startswith("pooler.")]
    assert list(mine.state_dict()) == names


def test_weights_of_a_model_with_a_head_are_read(theirs: BertModel, mine: Bert) -> None:
    other = Bert(BertConfig(**SIZES))
    other.load({f"bert.{n}": w for n, w in theirs.state_dict().items()} | {"cls.predictions.bias": torch.zeros(50)})
    assert all(torch.equal(w, mine.state_dict()[n]) for n, w in other.state_dict().items())


def test_weights_named_as_of_old_are_read(theirs: BertModel, mine: Bert) -> None:
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    weights = theirs.state_dict()
    for new, name in old.items():
        weights = {key.replace(new, name): weight for key, weight in weights.items()}
    other = Bert(BertConfig(**SIZES))
    other.load(weights)
    assert all(torch.equal(w, mine.state_dict()[n]) for n, w in other.state_dict().items())


def test_weights_of_another_model_are_refused(theirs: BertModel) -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        Bert(BertConfig(**SIZES | {"hidden_size": 20})).load(theirs.state_dict())


def test_in_training_values_are_dropped(mine: Bert) -> None:
    ids = torch.randint(50, (1, 9))
    with torch.no_grad():
        one, other = (mine.train()(ids, torch.ones_like(ids)).last_hidden_state for _ in range(2))
    assert not torch.equal(one, other)


def test_a_configuration_is_read_by_its_own_names() -> None:
    assert BertConfig.of(CONFIG | {"pad_token_id": 0}) == BertConfig(**SIZES)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "roberta"},
        {"hidden_act": "relu"},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
    ],
)
def test_another_model_is_none_of_this(change: dict[str, object]) -> None:
    assert BertConfig.of(CONFIG | change) is None


def test_a_size_that_is_missing_is_noticed() -> None:
    assert BertConfig.of({name: value for name, value in CONFIG.items() if name != "hidden_size"}) is None
