"""A token-classifying base over a random Llama, with random heads, an adapter of its own, and experts over it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from samner.backbones.language_model.token_classification.backbone import (
    WEIGHTS,
    TokenClassifier,
    save_base_weights,
    write_card,
)


@pytest.fixture(scope="session")
def make_classifier(lm: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make(**card)``: the folder of a base, with some entries of its card changed."""

    def make(**card: object) -> Path:
        import shutil

        import torch
        from transformers import AutoModel

        from samner.backbones.language_model.token_classification.network import Heads

        torch.manual_seed(0)
        model = AutoModel.from_pretrained(lm)
        own = {}
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                own[f"base_model.model.{name}.lora_A.weight"] = torch.randn(2, module.in_features)
                own[f"base_model.model.{name}.lora_B.weight"] = 0.1 * torch.randn(module.out_features, 2)
        folder = tmp_path_factory.mktemp("classifier") / "base"
        entries = {"model": "lm", "scale": 0.5, "threshold": 0.01, "max_tokens": 64, "types": {"set": ["drug"]}}
        folder.mkdir()
        save_base_weights(folder / WEIGHTS, Heads(model.config.hidden_size, width=8), own)
        write_card(folder, **{**entries, **card})
        shutil.copytree(lm, folder / "lm")
        return folder

    return make


@pytest.fixture(scope="session")
def classifier_folder(make_classifier: Callable[..., Path]) -> Path:
    return make_classifier()


@pytest.fixture
def classifier(classifier_folder: Path) -> TokenClassifier:
    return TokenClassifier.load(classifier_folder)
