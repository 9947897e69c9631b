"""The card of a base of this family, ``base.json``, and making the folder it lies in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from samner.backbones.language_model.generation.prompt import load_prompt, prompt_names
from samner.errors import ModelError, SamnerError
from samner.files import inside, read_json, write_json
from samner.references import allow, check_reference

CARD = "base.json"
FAMILY = "causal"
DTYPES = ("auto", "float32", "bfloat16", "float16")
TRUST = "SAMNER_TRUST_REMOTE_CODE"
"""The environment variable that, set to 1, allows a model that is made of code of its own to run that."""

_MODEL, _PROMPT = "model", "prompt.yaml"
# what loading a model needs; weights in other formats than safetensors are never read
_COPIED = (".safetensors", ".json", ".jinja", ".model", ".py", ".tiktoken", ".txt", ".md")


@dataclass(frozen=True, slots=True)
class BaseCard:
    """How a base of this family is loaded and asked.

    Args:
        model: Hub id, or folder: inside the one of the card, or by its absolute path.
        prompt: A shipped prompt's name, or a file inside the card's folder.
        threshold: Score from which an entity counts, unless the caller says otherwise.
        dtype: Of the weights, one of ``DTYPES``; ``"auto"`` is the type they are stored in, but float32 on a CPU.
        four_bit: Whether the model is held in 4 bits (NF4, by bitsandbytes) where there is a GPU.
        device_map: Passed to transformers where there is a GPU, ``"auto"`` for instance to spread the model over all;
            none for the one device.
        max_new_tokens: Of an answer, at most.
        max_tokens: Of a text, at most; longer ones are read in windows.
        constrained: Whether answers are bound to be valid JSON with strings of the text.
        types: Prompts of the entity types the base was taught, by data set.
    """

    model: str
    prompt: str = "json-by-type"
    threshold: float = 0.01
    dtype: str = "auto"
    four_bit: bool = False
    device_map: str | None = None
    max_new_tokens: int = 256
    max_tokens: int = 512
    constrained: bool = True
    types: Mapping[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        valid: dict[str, Callable[[Any], bool]] = {
            "model": lambda value: isinstance(value, str) and bool(value),
            "prompt": lambda value: isinstance(value, str) and bool(value),
            "threshold": lambda value: isinstance(value, float) and 0 < value < 1,
            "dtype": DTYPES.__contains__,
            "four_bit": lambda value: isinstance(value, bool),
            "device_map": lambda value: value is None or isinstance(value, str),
            "max_new_tokens": lambda value: type(value) is int and value > 0,
            "max_tokens": lambda value: type(value) is int and value > 0,
            "constrained": lambda value: isinstance(value, bool),
            "types": lambda value: isinstance(value, Mapping) and all(isinstance(v, list) for v in value.values()),
        }
        for name, is_valid in valid.items():
            if not is_valid(getattr(self, name)):
                raise ModelError(f"{name} cannot be {getattr(self, name)!r}")

    @classmethod
    def read(cls, folder: Path) -> BaseCard:
        """Read the card in a folder; keys it does not know, as licences, are left alone.

        Raises:
            ModelError: If it is not one.
        """
        values = read_json(folder / CARD)
        known = {f.name for f in fields(cls)}
        try:
            return cls(**{key: value for key, value in values.items() if key in known})
        except (TypeError, ModelError) as error:
            raise ModelError(f"{folder / CARD}: not the card of a causal base ({error})") from error

    def write(self, folder: Path) -> None:
        """Write the card into a folder."""
        write_json(folder / CARD, {"format": 1, "family": FAMILY, **asdict(self)})

    def model_reference(self, folder: Path) -> str:
        """What to hand to transformers: a folder in full, or a hub id.

        Raises:
            ModelError: If the model is a folder that is missing, or neither beside the card nor named by its user.
        """
        if Path(self.model).is_absolute():
            if not Path(self.model).is_dir():
                raise ModelError(f"{folder / CARD}: the model's folder {self.model} is not there")
            return check_reference(self.model, folder / CARD)
        local = inside(folder, self.model)
        return str(local.resolve()) if local.is_dir() else check_reference(self.model, folder / CARD)

    def prompt_reference(self, folder: Path) -> str | Path:
        """What to hand to ``load_prompt``."""
        return self.prompt if self.prompt in prompt_names() else inside(folder, self.prompt)


def create_base(
    folder: Path,
    model: str,
    *,
    prompt: str = "json-by-type",
    link: bool = False,
    four_bit: bool = False,
) -> None:
    """Make the folder of a base over any causal language model.

    The limits on texts and answers are set so that both, and as much again of instructions and types, fit what the
    model can read.

    Args:
        folder: To fill; must exist.
        model: Hub id, or folder with configuration, tokenizer and weights in safetensors, which is copied.
        prompt: A shipped prompt's name or a YAML file, which is copied.
        link: Refer to the model's folder where it is instead of copying it.
        four_bit: Hold the model in 4 bits where there is a GPU.

    Raises:
        ModelError: If there is no such model or it is not of this family.
        SamnerError: If there is no such prompt.
    """
    load_prompt(prompt)
    context = _context(model)
    if prompt not in prompt_names():
        shutil.copyfile(prompt, folder / _PROMPT)
        prompt = _PROMPT
    source = Path(model)
    if link and not source.is_dir():
        raise ModelError(f"{model}: is no folder here that could be linked to")
    if source.is_dir():
        if not any(source.glob("*.safetensors")):
            raise ModelError(f"{source}: holds no weights in safetensors; save the model so first")
        model = str(source.resolve()) if link else _MODEL
        if not link:
            (folder / _MODEL).mkdir()
            for path in sorted(source.iterdir()):
                if path.is_file() and (path.suffix in _COPIED or path.name.startswith(("LICENSE", "NOTICE"))):
                    shutil.copyfile(path, folder / _MODEL / path.name)
    card = BaseCard(model, prompt, four_bit=four_bit)
    if context is not None:
        text, answer = min(card.max_tokens, context // 4), min(card.max_new_tokens, context // 4)
        card = replace(card, max_tokens=text, max_new_tokens=answer)
    card.write(folder)
    if model != _MODEL:
        allow(model)  # its user named it, so its card may


def _context(model: str) -> int | None:
    """How many tokens a model can read, if its configuration says; checks that it is a causal language model's."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = with_model_errors(model, AutoConfig.from_pretrained, trust_remote_code=trusted())
    if type(config) not in AutoModelForCausalLM._model_mapping and not hasattr(config, "auto_map"):
        raise ModelError(f"{model}: {type(config).__name__} is of no causal language model")
    context = getattr(config.get_text_config(), "max_position_embeddings", None)
    return context if isinstance(context, int) else None


def trusted() -> bool:
    """Whether the user allows code that comes with a model to run."""
    return os.environ.get(TRUST) == "1"


def with_model_errors(model: str, load: Any, **arguments: Any) -> Any:
    """``load(model, **arguments)``, what goes wrong in transformers told in one line.

    Raises:
        ModelError: If anything does.
    """
    try:
        return load(model, **arguments)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SamnerError) as error:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        if "trust_remote_code" in str(error):
            line = f"it brings code of its own; if you trust that, set {TRUST}=1"
        raise ModelError(f"{model}: cannot be loaded as a causal language model ({line})") from error
