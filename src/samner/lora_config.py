"""The configuration of an adapter, as PEFT writes it: ranks and scales read as PEFT reads them, all else refused."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable

from pydantic_core import SchemaError, SchemaValidator, core_schema

from samner.errors import ModelError
from samner.names import shown

CONFIG_FILE = "adapter_config.json"

# Settings that are read here, or say only where the adapter came from, what it targets and how it was trained. Any
# other that is switched on is refused, known or not: leaving out a part of an adapter changes the model unnoticed.
_READ = {"alpha_pattern", "init_lora_weights", "lora_alpha", "peft_type", "r", "rank_pattern", "use_rslora"}
_ORIGIN = {"auto_mapping", "base_model_name_or_path", "peft_version", "revision", "task_type"}
_TARGETS = {"exclude_modules", "layers_pattern", "layers_to_transform", "target_modules"}
_TRAINING = {"inference_mode", "lora_dropout", "megatron_config", "megatron_core", "velora_config"}
# how the factors were initialised; see _BASE_CHANGING for when that matters (and the last one is for QA-LoRA only)
_DETAILS = {"corda_config", "eva_config", "loftq_config", "lora_ga_config", "qalora_group_size"}
_UNDERSTOOD = _READ | _ORIGIN | _TARGETS | _TRAINING | _DETAILS
_FEATURES = {
    "alora_invocation_tokens": "activated LoRA (aLoRA)",
    "arrow_config": "Arrow routing",
    "bias": "trained biases",
    "ensure_weight_tying": "tied adapters",
    "fan_in_fan_out": "transposed (Conv1D) layers",
    "kasa_config": "KaSA",
    "layer_replication": "layer replication",
    "lora_bias": "a LoRA bias",
    "modules_to_save": "modules saved whole",
    "monteclora_config": "MonteCLoRA",
    "target_parameters": "LoRA on bare parameters",
    "trainable_token_indices": "trained token embeddings",
    "use_bdlora": "block-diagonal LoRA",
    "use_dora": "DoRA",
    "use_qalora": "QA-LoRA",
}
# initialisations that subtract from the base weights, so that dW is not a difference to the plain base
_BASE_CHANGING = ("pissa", "olora", "corda", "lora_ga", "loftq")
# what regular expressions of Python and of Rust read in two ways, and Python warns of
_OTHERWISE = re.compile(r"\[[^\]]*\[|\[\^?\]|--|&&|~~|\|\|")


class LoraConfig:
    """What ``adapter_config.json`` says about ranks and scales, once everything not understood is refused.

    Args:
        content: Of the file.

    Attributes:
        base: The base model's name or path, if it says one.
        causal: Whether it says that the base is a causal language model.

    Raises:
        ModelError: If it is not the configuration of plain LoRA.
    """

    def __init__(self, content: bytes) -> None:
        try:
            config = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise ModelError(f"not valid JSON ({error})") from error
        if not isinstance(config, dict):
            raise ModelError(f"must hold a JSON object, not a {type(config).__name__}")
        if config.get("peft_type") != "LORA":
            raise ModelError(f"peft_type is {config.get('peft_type')!r}; only 'LORA' adapters can be merged")
        for key, value in config.items():
            if value and key not in _UNDERSTOOD and (key, value) != ("bias", "none"):
                feature = _FEATURES.get(key, "a setting samner does not know")
                raise ModelError(f"uses {feature} ({shown(key)}), which cannot be merged")
        initialisation = str(config.get("init_lora_weights")).lower()
        if initialisation.startswith(_BASE_CHANGING):
            raise ModelError(
                f"init_lora_weights {initialisation!r} changes the base weights; convert it to plain LoRA when saving "
                "(PEFT's path_initial_model_for_weight_conversion)"
            )
        self._rank = _number("r", config.get("r"))
        self._alpha = _number("lora_alpha", config.get("lora_alpha"))
        self._rank_pattern = _pattern("rank_pattern", config.get("rank_pattern"))
        self._alpha_pattern = _pattern("alpha_pattern", config.get("alpha_pattern"))
        self._rslora = bool(config.get("use_rslora"))
        base = config.get("base_model_name_or_path")
        self.base = base if isinstance(base, str) and base else None
        self.causal = config.get("task_type") == "CAUSAL_LM"

    def rank_and_alpha(self, names: Iterable[str]) -> tuple[float, float]:
        """Rank and alpha of a module that has these names."""
        known = list(names)
        rank, alpha = (
            next((number for fits, number in pattern if any(map(fits, known))), default)
            for pattern, default in ((self._rank_pattern, self._rank), (self._alpha_pattern, self._alpha))
        )
        return rank, alpha

    def scale(self, rank: float, alpha: float) -> float:
        """The factor on the product of a module's matrices."""
        return alpha / (math.sqrt(rank) if self._rslora else rank)


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ModelError(f"{key} must be a positive number, not {value!r}")
    return value


def _pattern(key: str, value: object) -> list[tuple[Callable[[str], bool], float]]:
    """What a pattern's entries match, as PEFT's ``get_pattern_key`` reads it: the end of a module's name."""
    entries = value or {}
    if not isinstance(entries, dict):
        raise ModelError(f"{key} must be an object, not {value!r}")
    return [(_matcher(key, name), _number(f"{key} of {name!r}", number)) for name, number in entries.items()]


def _matcher(key: str, expression: str) -> Callable[[str], bool]:
    """Match a regular expression in time linear in a name's length, whoever wrote it.

    Python's ``re`` may take for ever. pydantic's engine, Rust's, cannot, but knows no look-around and reads classes
    within classes otherwise: what is not the same to both is refused.
    """
    whole = rf"^(.*\.)?({expression})$"
    try:
        if _OTHERWISE.search(expression):
            raise SchemaError("a class within a class")
        re.compile(whole)
        return SchemaValidator(core_schema.str_schema(pattern=whole, regex_engine="rust-regex")).isinstance_python
    except (re.error, RecursionError, OverflowError) as error:
        raise ModelError(f"{key} holds the invalid regular expression {shown(expression)!r}") from error
    except SchemaError as error:
        raise ModelError(
            f"{key} holds {shown(expression)!r}, a regular expression that is not read; write out the names it is for"
        ) from error
