"""Random GLiNER2 models of both architectures, as small as they come, and random adapters as gliner2 writes them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

ARCHITECTURES = ("span", "boundary")
_DRUGS = ("Aspirin", "Ibuprofen", "Codeine", "Beta-blockers", "p53")
_PLACES = ("Basel", "New York", "São Paulo", "Zürich-West", "the U.S.A.")
_PEOPLE = ("Ada Moreno", "Omar Haddad", "O'Neill", "Ines Roth-Meyer", "@ada_m")
_WORDS = ("within", "hours", "says", "that", "and", "may", "not", "help", "severe", "headache", "or", "a", "cough,")
_SIGNS = ("https://a.example/x?y=1", "(e.g.", "5%", "e-mail", "\N{GRINNING FACE}")


def write_texts(count: int, longest: int = 20) -> list[str]:
    """So many different texts with names, odd marks and blanks; no two runs differ."""
    draw = random.Random(0)
    texts = []
    for _ in range(count):
        words = [draw.choice((*_WORDS, *_SIGNS, *_DRUGS, *_PLACES, *_PEOPLE)) for _ in range(draw.randint(1, longest))]
        texts.append(" ".join(words) + draw.choice(("", ".", "!", " (2021)", "\n")))
    return texts


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``checkpoint("span")``: the folder of a model, as ``from_pretrained`` reads it."""
    pytest.importorskip("gliner2", reason="GLiNER2 models need the extra samner[gliner2]")
    import torch

    from tests.backbones.gliner2.random_model import make_model

    made: dict[str, Path] = {}

    def make(architecture: str) -> Path:
        if architecture not in made:
            torch.manual_seed(1)
            size = {"vocabulary": 300, "layers": 2, "hidden": 32, "heads": 2}
            model = make_model(write_texts(200), architecture=architecture, **size)
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1:  # larger than at random, so that spans and types have scores of their own
                    parameter.data.mul_(2 if architecture == "span" and not name.startswith("encoder.") else 1.5)
            made[architecture] = tmp_path_factory.mktemp("gliner2") / architecture
            model.save_pretrained(str(made[architecture]))
        return made[architecture]

    return make


@pytest.fixture(scope="session")
def base(checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``base("span")``: the folder of a base over such a model."""
    from samner.backbones.gliner2.base_card import create_base

    made: dict[str, Path] = {}

    def make(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = tmp_path_factory.mktemp("base")
            create_base(made[architecture], str(checkpoint(architecture)))
        return made[architecture]

    return make


@pytest.fixture(scope="session")
def adapter(checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int], Path]:
    """``adapter("span", 1)``: the folder of a random adapter on all that gliner2's own trainer adapts."""
    made: dict[tuple[str, int], Path] = {}

    def make(architecture: str, seed: int) -> Path:
        import torch
        from gliner2 import AutoExtractor

        if (architecture, seed) not in made:
            torch.manual_seed(seed)
            model = AutoExtractor.from_pretrained(str(checkpoint(architecture)))
            peft = model.apply_lora(r=3, alpha=4, targets=["encoder", *model.task_module_names()])
            for name, parameter in peft.named_parameters():
                if "lora_B" in name and "null_projection" not in name:  # else it may find nothing at all
                    torch.nn.init.normal_(parameter, std=0.1)
            made[architecture, seed] = tmp_path_factory.mktemp("adapter") / str(seed)
            peft.save_pretrained(str(made[architecture, seed]))
        return made[architecture, seed]

    return make
