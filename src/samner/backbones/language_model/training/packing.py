"""Whether several sequences in one row are as good as each by itself."""

from __future__ import annotations

from typing import Any

import torch

_LENGTH = 8


@torch.no_grad()
def packs_exactly(model: Any) -> bool:
    """Whether a sequence in a packed row is read as if the one before it were not there.

    trl marks the sequences of a row by positions that start again at 0 and gives no attention mask. From that,
    transformers makes a block-diagonal mask for the attention of most models, whether flash, SDPA or eager; recurrent
    models, and those with code of their own, may ignore it. So a model is tried: what it says of the second sequence
    must not depend on the first, and must be what it says of it alone.
    """
    training = model.training
    model.eval()
    try:
        device = next(model.parameters()).device
        vocabulary = model.config.get_text_config().vocab_size
        first, other, second = (torch.arange(_LENGTH, device=device) * k % vocabulary for k in (1, 3, 2))
        positions = torch.arange(_LENGTH, device=device)

        def read(*sequences: torch.Tensor) -> torch.Tensor:
            ids, places = torch.cat(sequences)[None], positions.repeat(len(sequences))[None]
            logits: torch.Tensor = model(input_ids=ids, position_ids=places, use_cache=False).logits
            return logits[0, -_LENGTH:].float()

        one, two, alone = read(first, second), read(other, second), read(second)
    finally:
        model.train(training)
    scale = float(alone.std())
    # kernels for other lengths add in another order: bfloat16 shows that in the second digit
    apart = float((one - two).abs().max()) <= 1e-5 * scale
    return apart and float((one - alone).abs().max()) <= 0.05 * scale
