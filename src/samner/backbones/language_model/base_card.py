"""The card of a base of this family, ``base.json``, and making the folder it lies in."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from pydantic import ConfigDict, Field, field_validator

from samner.backbones.language_model.fused_base import base_with_adapter, check_adapter
from samner.backbones.language_model.generation.prompt import DEFAULT_PROMPT, load_prompt, prompt_names
from samner.backbones.language_model.gguf import base_from_gguf, is_gguf
from samner.backbones.language_model.loading import check_weights, load_tokenizer, with_model_errors
from samner.errors import ModelError
from samner.files import copy_model, inside, read_json, user_path, write_json
from samner.hub import download
from samner.lora import WEIGHTS_FILE, LoraAdapter
from samner.lora_config import CONFIG_FILE
from samner.references import KNOWN, allow, check_reference, located
from samner.settings import Format, Settings, validated

CARD = "base.json"
_MODEL, _ADAPTER, _PROMPT = "model", "adapter", "prompt.yaml"


class BaseCard(Settings):
    """How a base of this family is loaded and asked. What else a card says, licences for instance, is left alone.

    Attributes:
        format: Of this file.
        family: Of the base.
        model: A folder beside the card, or a hub id.
        adapter: A folder beside the card with a LoRA adapter of the base's own, which is fused into the model; none
            for the model as it is.
        adapter_digest: Of what that adapter does, by which a changed one is known; none where nobody kept it.
        prompt: A shipped prompt's name, or a file beside the card.
        threshold: Score from which an entity counts, unless the caller says otherwise.
        dtype: Of the weights; ``"auto"`` is the type they are stored in, but on a CPU the one that it is fast in
            (``samner.precision``).
        four_bit: Whether the model is held in 4 bits (NF4, by bitsandbytes) where there is a GPU.
        device_map: Passed to transformers where there is a GPU, ``"auto"`` for instance to spread the model over all;
            none for the one device.
        max_new_tokens: Of an answer, at most.
        max_tokens: Of a text, at most; longer ones are read in windows.
        constrained: Whether answers are bound to be valid JSON with strings of the text.
        types: Prompts of the entity types the base was taught, by data set.
    """

    model_config = ConfigDict(extra="ignore")

    format: Format = 1
    family: Literal["causal"] = "causal"
    model: str = Field(min_length=1)
    adapter: str | None = None
    adapter_digest: str | None = None
    prompt: str = Field(default=DEFAULT_PROMPT, min_length=1)
    threshold: float = Field(default=0.01, gt=0, lt=1)
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    four_bit: bool = False
    device_map: str | None = None
    max_new_tokens: int = Field(default=256, gt=0)
    max_tokens: int = Field(default=512, gt=0)
    constrained: bool = True
    types: Mapping[str, list[str]] = {}

    @field_validator("model", "adapter", "prompt")
    @classmethod
    def _stays(cls, name: str | None) -> str | None:
        if name is None:
            return name
        if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or name.startswith("~"):
            raise ValueError("must be beside this file or on a hub; no absolute path, which means nothing elsewhere")
        return name

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

    def model_reference(self, folder: Path) -> str:
        """What to hand to transformers: a folder in full, or a hub id.

        Raises:
            ModelError: If the model is neither beside the card, nor known to samner, nor named by its user; or it is
                known, but not here; or the base's own adapter is missing, damaged, changed, or of another model.
        """
        if self.adapter is not None and self.adapter_digest is not None:
            check_adapter(inside(folder, self.adapter), self.adapter_digest)
        local = inside(folder, self.model)
        found = str(local.resolve()) if local.is_dir() else _found(check_reference(self.model, folder / CARD))
        if self.adapter is None:
            return found
        model = Path(found) if Path(found).is_dir() else download(found)
        return str(base_with_adapter(model, inside(folder, self.adapter)))

    def prompt_reference(self, folder: Path) -> str | Path:
        """What to hand to ``load_prompt``."""
        return self.prompt if self.prompt in prompt_names() else inside(folder, self.prompt)


def create_base(
    folder: Path, model: str, *, prompt: str = DEFAULT_PROMPT, four_bit: bool = False, adapter: Path | None = None
) -> None:
    """Make the folder of a base over any causal language model.

    The limits on texts and answers are set so that both, and as much again of instructions and types, fit what the
    model can read.

    Args:
        folder: To fill; must exist.
        model: Hub id, a GGUF file, or a folder with configuration, tokenizer and weights in safetensors. What is on
            this machine is copied, so that a base holds no path that means nothing elsewhere. A name in
            ``samner.references.KNOWN`` is kept as it is, and found anew wherever the base is opened.
        prompt: A shipped prompt's name or a YAML file, which is copied.
        four_bit: Hold the model in 4 bits where there is a GPU.
        adapter: Folder of a LoRA adapter of the base's own, which is copied.

    Raises:
        ModelError: If there is no such model, it is not of this family, or a folder lacks weights or tokenizer; or
            if the adapter is missing or damaged.
        SamnerError: If there is no such prompt.
    """
    load_prompt(prompt)
    source = base_from_gguf(Path(model)) if is_gguf(model) else user_path(model)
    local = model not in KNOWN and source.is_dir()
    context = _context(str(source) if local else _found(model))
    if prompt not in prompt_names():
        shutil.copyfile(user_path(prompt), folder / _PROMPT)
        prompt = _PROMPT
    if local:
        check_weights(source)
        load_tokenizer(str(source))  # refuses one that is missing or damaged
        copy_model(source, folder / _MODEL)
        model = _MODEL
    digest = None
    if adapter is not None:
        digest = LoraAdapter.load(adapter).digest  # refuses one that is missing or damaged
        (folder / _ADAPTER).mkdir()
        for name in (CONFIG_FILE, WEIGHTS_FILE):
            shutil.copyfile(adapter / name, folder / _ADAPTER / name)
    room = 2048 if context is None else context
    card = BaseCard(
        model=model,
        adapter=None if adapter is None else _ADAPTER,
        adapter_digest=digest,
        prompt=prompt,
        four_bit=four_bit,
        max_tokens=min(512, room // 4),
        max_new_tokens=min(256, room // 4),
    )
    card.write(folder)
    if model not in (_MODEL, *KNOWN):
        allow(model)  # its user named it, so its card may


def _found(reference: str) -> str:
    """The folder of a model that samner knows by name, dequantised if need be; any other reference as it is."""
    if reference not in KNOWN:
        return reference
    path = located(reference)
    return str(base_from_gguf(path) if path.is_file() else path)


def _context(model: str) -> int | None:
    """How many tokens a model can read, if its configuration says; checks that it is a causal language model's."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = with_model_errors(model, AutoConfig.from_pretrained)
    if type(config) not in AutoModelForCausalLM._model_mapping and not hasattr(config, "auto_map"):
        raise ModelError(f"{model}: {type(config).__name__} is of no causal language model")
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    return context if isinstance(context, int) else None
