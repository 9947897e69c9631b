"""Task models of the encoder family as ONNX graphs: what ``samner.runtime`` reads without torch."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from samner.backbones.encoder.network import Heads
from samner.embedding import sentence_encoder
from samner.entities import EntityType
from samner.files import naming, write_json
from samner.quiet import quiet
from samner.runtime import READER, SETTINGS, TOKENIZER, TYPE_READER, VECTORS

if TYPE_CHECKING:
    from samner.backbones.encoder.backbone import EncoderBackbone

_OPSET = 18


class Reader(nn.Module):
    """The encoders of several task models, which share their embeddings, and the heads.

    Args:
        encoders: By name.
        heads: The base's.
    """

    def __init__(self, encoders: Mapping[str, Any], heads: Heads) -> None:
        super().__init__()
        self.encoders: Any = nn.ModuleList(encoders.values())
        self.heads = heads

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, pooling: Tensor, types: Tensor, bonus: Tensor
    ) -> tuple[Tensor, ...]:
        """Probabilities, B x W x L x 3, by each.

        Args:
            input_ids: B x T.
            attention_mask: B x T.
            pooling: B x W x T; the share of each sub-token in a word's vector.
            types: L x H unit type vectors.
            bonus: What the logits of the types gain: models x L.
        """
        answers = []
        for i, encoder in enumerate(self.encoders):
            states = encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            logits = self.heads(pooling @ states, types)
            answers.append((logits + bonus[i][:, None]).sigmoid())
        return tuple(answers)


class TypeReader(nn.Module):
    """The sentence encoder, as it reads the prompts of types."""

    def __init__(self, sentences: Any) -> None:
        super().__init__()
        self.sentences = sentences

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """L x H unit vectors of L x T sub-tokens."""
        return nn.functional.normalize(self.sentences(input_ids, attention_mask))


def save_onnx(
    backbone: EncoderBackbone, models: Mapping[str, str], types: Sequence[EntityType], folder: Path, *, int8: bool
) -> None:
    """See ``Backbone.save_onnx``."""
    sentences = sentence_encoder(backbone.reference, "cpu")
    reader = Reader(
        {name: _encoder(backbone, model) for name, model in models.items()}, copy.deepcopy(backbone.heads).cpu()
    )
    shared: Any = reader.encoders[0].get_input_embeddings()
    for encoder in reader.encoders[1:]:
        encoder.set_input_embeddings(shared)
    hidden = shared.embedding_dim
    ids, mask = torch.ones(2, 7, dtype=torch.int64), torch.ones(2, 7, dtype=torch.int64)
    inputs = {
        "input_ids": (ids, ("texts", "tokens")),
        "attention_mask": (mask, ("texts", "tokens")),
        "pooling": (torch.full((2, 5, 7), 1 / 7), ("texts", "words", "tokens")),
        "types": (torch.ones(3, hidden), ("types", None)),
        "bonus": (torch.zeros(len(models), 3), (None, "types")),
    }
    _write(reader, inputs, list(models), folder / READER, int8)
    prompts = dict(list(inputs.items())[:2])
    _write(TypeReader(copy.deepcopy(sentences).cpu()), prompts, ["vectors"], folder / TYPE_READER, int8=False)
    (folder / TOKENIZER).write_text(backbone.tokenizer.to_str(), encoding="utf-8")
    taught = {name: [*backbone.known_types(), *backbone.mixed.types(model)] for name, model in models.items()}
    asked = list(dict.fromkeys([*(t.prompt for t in types), *(p for its in taught.values() for p in its)]))
    vectors = backbone.type_vectors(asked).cpu().numpy()
    with naming(folder / VECTORS), (folder / VECTORS).open("wb") as file:
        np.save(file, vectors, allow_pickle=False)
    settings = {
        "tokens": backbone.max_tokens,
        "prompt_tokens": sentences.max_tokens,
        "prefix": backbone.tokenizer.prefix,
        "suffix": backbone.tokenizer.suffix,
        "padding": backbone.tokenizer.pad_id,
        "novelty": backbone.novelty,
        "prompts": asked,
        "taught": {name: sorted({asked.index(p) for p in its}) for name, its in taught.items()},
    }
    write_json(folder / SETTINGS, settings)


def _encoder(backbone: EncoderBackbone, model: str) -> Any:
    """The transformer of a task model by itself."""
    encoder = copy.deepcopy(sentence_encoder(backbone.reference, "cpu").transformer)
    encoder.set_attn_implementation("eager")  # a plainer graph than the fused one of torch makes, and a faster one
    encoder.load_state_dict(backbone.encoder.state_dict())
    with torch.no_grad():
        for module, delta in backbone.task_vectors(model).items():
            encoder.get_submodule(module).weight += delta.cpu()
    return encoder.eval()


def _write(
    module: nn.Module,
    inputs: Mapping[str, tuple[Tensor, Sequence[str | None]]],
    outputs: Sequence[str],
    path: Path,
    int8: bool,
) -> None:
    names = {name for _, axes in inputs.values() for name in axes if name}
    dims = {name: torch.export.Dim(name) for name in names}
    shapes = {
        name: {i: dims[axis] for i, axis in enumerate(axes) if axis is not None} for name, (_, axes) in inputs.items()
    }
    with quiet():
        program = torch.onnx.export(
            module.eval(),
            kwargs={name: example for name, (example, _) in inputs.items()},
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=shapes,
            opset_version=_OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    if not int8:
        with naming(path):
            program.save(str(path))
        return
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with quiet(), TemporaryDirectory() as folder:
        whole = Path(folder) / path.name
        program.save(str(whole))
        quantize_dynamic(whole, path, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
