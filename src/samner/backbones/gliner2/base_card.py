"""The card of a base of this family, ``base.json``, and the checkpoint that it names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from samner import hub
from samner.backbones.language_model.loading import check_weights
from samner.errors import ModelError
from samner.files import copy_model, inside, read_json, user_path, write_json
from samner.references import allow, check_reference
from samner.settings import Format, Settings, validated

CARD = "base.json"
WEIGHTS = "model.safetensors"
_MODEL = "model"
_TOKENIZER = "tokenizer.json"
_CONFIGS = ("config.json", "encoder_config/config.json")
_ARCHITECTURES = ("span", "boundary")


class BaseCard(Settings):
    """Which checkpoint a base is, and how it is asked. What else a card says, licences for instance, is kept.

    Attributes:
        format: Of this file.
        family: Of the base.
        model: The checkpoint: a folder beside the card, ``.`` for the card's own, or a hub id with its commit.
        threshold: Score from which an entity counts, unless the caller says otherwise; gliner2's own default.
        max_words: Words of a text that are read at once; gliner2's own default. Longer texts are read in windows.
        overlap: Words that a window reads again of the one before; gliner2's own default.
        types: Prompts of the entity types the base was taught, by data set.
    """

    model_config = ConfigDict(extra="allow")

    format: Format = 1
    family: Literal["gliner2"] = "gliner2"
    model: str = Field(min_length=1)
    threshold: float = Field(default=0.5, gt=0, lt=1)
    max_words: int = Field(default=384, gt=0)
    overlap: int = Field(default=64, ge=0)
    types: Mapping[str, list[str]] = {}

    @classmethod
    def read(cls, folder: Path) -> BaseCard:
        """Read the card in a folder.

        Raises:
            SamnerError: If it is not one, or of a format that is not known here.
        """
        return validated(cls, read_json(folder / CARD), str(folder / CARD))

    def write(self, folder: Path) -> None:
        """Write the card into a folder."""
        write_json(folder / CARD, self.model_dump())

    def checkpoint(self, folder: Path) -> Path:
        """The folder of the checkpoint; one on the hub is fetched unless it is here.

        Raises:
            ModelError: If it is missing, is not a GLiNER2 checkpoint in safetensors, or brings code; or if it is
                neither beside the card nor was ever named by its user.
        """
        beside = inside(folder, self.model)
        if beside.is_dir():
            return checked(beside)
        return checked(hub.download(check_reference(self.model, folder / CARD)))


def create_base(folder: Path, model: str) -> None:
    """Make the folder of a base over a GLiNER2 checkpoint.

    Args:
        folder: To fill; must exist.
        model: A folder, which is copied, or a hub id, maybe with a revision (``owner/name@revision``); the card names
            the commit that it is now.

    Raises:
        ModelError: If there is no such checkpoint.
    """
    source = user_path(model)
    if source.is_dir():
        copy_model(checked(source), folder / _MODEL)
        BaseCard(model=_MODEL).write(folder)
        return
    if not hub.is_reference(model):
        raise ModelError(f"{model}: no such folder; give one that holds a GLiNER2 checkpoint, or a hub id")
    source = checked(hub.download(model))
    pinned = hub.source(source) or model
    BaseCard(model=pinned).write(folder)
    allow(pinned)  # its user named it, so its card may


def checked(folder: Path) -> Path:
    """The folder, if it holds a checkpoint as gliner2 writes them, whole, in safetensors and without code.

    gliner2 would fall back to a pickle, and would run the code of an encoder that brings some.

    Raises:
        ModelError: If not.
    """
    for name in _CONFIGS:
        path = folder / name
        if not path.is_file():
            raise ModelError(f"{path}: no such file, so {folder} is not a GLiNER2 checkpoint")
        if "auto_map" in read_json(path):
            raise ModelError(f"{path}: names code of its own (auto_map), which is never run")
    if read_json(folder / _CONFIGS[0]).get("architecture", "span") not in _ARCHITECTURES:
        raise ModelError(f"{folder / _CONFIGS[0]}: the architecture must be {' or '.join(_ARCHITECTURES)}")
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder / WEIGHTS}: no such file; save the model as safetensors first")
    check_weights(folder)
    if not (folder / _TOKENIZER).is_file() and not any(folder.glob("*.model")):  # sentencepiece's, of older ones
        raise ModelError(f"{folder / _TOKENIZER}: no such file; save the tokenizer beside the model first")
    return folder
