"""LoRA adapters as task vectors: factors at rest, one dense matrix at a time."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from samner.errors import ModelError, SamnerError
from samner.files import read_json

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"

_TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<factor>[AB])\.weight")

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

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


@dataclass(frozen=True, eq=False)
class LoraFactors:
    """The low-rank factors of one adapted linear layer: ``dW = scale * b @ a``.

    Args:
        a: ``lora_A``, of shape (rank, in).
        b: ``lora_B``, of shape (out, rank).
        scale: ``alpha / rank``, or ``alpha / sqrt(rank)`` with rsLoRA.

    Raises:
        ModelError: If the factors are not two floating-point matrices of one rank, or hold NaN, infinity or
            values whose product may leave float32's range.
    """

    a: Tensor
    b: Tensor
    scale: float

    def __post_init__(self) -> None:
        for letter, factor in (("A", self.a), ("B", self.b)):
            if factor.ndim != 2 or not factor.numel():
                raise ModelError(
                    f"lora_{letter} has shape {tuple(factor.shape)}; only linear layers' matrices are supported"
                )
            if factor.dtype not in _DTYPES:
                raise ModelError(f"lora_{letter} is of type {factor.dtype}, not floating-point")
            if not bool(factor.isfinite().all()):
                raise ModelError(f"lora_{letter} holds NaN or infinite values")
        if self.rank != self.b.shape[1]:
            raise ModelError(f"rank mismatch: lora_A has rank {self.rank}, lora_B {self.b.shape[1]}")
        largest_a, largest_b = self.a.abs().max().item(), self.b.abs().max().item()
        # this bound on |dW| is far above any trained adapter, and spares an overflow check on every dense matrix;
        # the scale goes to b first
        scaled_b = largest_b * max(1.0, abs(self.scale))
        bound = max(largest_a, scaled_b, self.rank * largest_a * largest_b * abs(self.scale))
        if not bound <= torch.finfo(torch.float32).max:
            raise ModelError("the values are too large for float32")

    @property
    def rank(self) -> int:
        """The inner dimension of the product."""
        return self.a.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (out, in) of the dense ``dW``."""
        return (self.b.shape[0], self.a.shape[1])


@dataclass(frozen=True, eq=False)
class LoraAdapter:
    """A LoRA adapter, kept as factors; a module's dense task vector is made on request only.

    Args:
        name: What messages call it.
        factors: Module name in the base model (``encoder.layer.0.attention.self.query``) to its factors.
        base: The base model's name or path, as far as the adapter says.
    """

    name: str
    factors: Mapping[str, LoraFactors]
    base: str | None = None

    @classmethod
    def load(cls, folder: str | Path, name: str | None = None) -> LoraAdapter:
        """Read a PEFT adapter folder, ``adapter_config.json`` and ``adapter_model.safetensors``.

        Nothing is unpickled, and the base model is not needed. The scale of each module follows the configuration
        as PEFT reads it, ``rank_pattern``, ``alpha_pattern`` and ``use_rslora`` included.

        Args:
            folder: The adapter folder.
            name: Name of the adapter; the folder's own name by default.

        Raises:
            ModelError: If a file is missing or damaged, or the adapter is anything more than LoRA on linear layers
                (DoRA, biases, modules saved whole, embeddings, convolutions, ...): that would be lost in a merge.
        """
        folder = Path(folder)
        config_path, weights_path = folder / CONFIG_FILE, folder / WEIGHTS_FILE
        try:
            values = read_json(config_path)
        except SamnerError as error:
            raise ModelError(str(error)) from error
        try:
            config = _Config(values)
        except ModelError as error:
            raise ModelError(f"{config_path}: {error}") from error
        factors: dict[str, LoraFactors] = {}
        for module, pair in sorted(_read_pairs(weights_path).items()):
            try:
                factors[module] = config.factors(module, pair)
            except ModelError as error:
                raise ModelError(f"{weights_path}: module {module}: {error}") from error
        if not factors:
            raise ModelError(f"{weights_path}: holds no LoRA matrices")
        return cls(folder.resolve().name if name is None else name, factors, config.base)

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the adapted modules, sorted."""
        return tuple(sorted(self.factors))

    @property
    def numel(self) -> int:
        """How many entries the task vector has: the sum of ``out * in`` over its modules."""
        return sum(math.prod(factors.shape) for factors in self.factors.values())

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of what the adapter does (modules, factors, scales), whatever its name or place."""
        digest = hashlib.sha256()
        for module in self.modules:
            factors = self.factors[module]
            digest.update(f"{module}\0{factors.scale!r}\0".encode())
            for factor in (factors.a, factors.b):
                digest.update(f"{factor.dtype}{tuple(factor.shape)}\0".encode())
                digest.update(factor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def delta(self, module: str, dtype: torch.dtype = torch.float32) -> Tensor:
        """The dense task vector of one module, ``dW = scale * B @ A``, of shape (out, in).

        Args:
            module: One of :attr:`modules`.
            dtype: Type to compute and answer in.

        Raises:
            ModelError: If the adapter does not adapt that module.
        """
        if module not in self.factors:
            raise ModelError(f"adapter {self.name!r} does not adapt the module {module!r}")
        factors = self.factors[module]
        return (factors.b.to(dtype) @ factors.a.to(dtype)).mul_(factors.scale)


class _Config:
    """What ``adapter_config.json`` says about ranks and scales, once everything not understood is refused."""

    def __init__(self, config: dict[str, Any]) -> None:
        if config.get("peft_type") != "LORA":
            raise ModelError(f"peft_type is {config.get('peft_type')!r}; only 'LORA' adapters can be merged")
        for key, value in config.items():
            if value and key not in _UNDERSTOOD and (key, value) != ("bias", "none"):
                feature = _FEATURES.get(key, "a setting samner does not know")
                raise ModelError(f"uses {feature} ({key}), which cannot be merged")
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

    def factors(self, module: str, pair: Mapping[str, Tensor]) -> LoraFactors:
        """The factors of a module from its ``{"A": ..., "B": ...}``, scaled as configured."""
        if len(pair) == 1:
            raise ModelError(f"has lora_{next(iter(pair))} but not its partner")
        rank = _lookup(self._rank_pattern, module, self._rank)
        alpha = _lookup(self._alpha_pattern, module, self._alpha)
        factors = LoraFactors(pair["A"], pair["B"], alpha / (math.sqrt(rank) if self._rslora else rank))
        if factors.rank != rank:
            raise ModelError(f"rank mismatch: the matrices have rank {factors.rank}, {CONFIG_FILE} says {rank}")
        return factors


def _number(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ModelError(f"{key} must be a positive number, not {value!r}")
    return value


def _pattern(key: str, value: object) -> list[tuple[re.Pattern[str], float]]:
    """Compile a pattern as PEFT's ``get_pattern_key`` reads it: a regular expression for the end of the name."""
    entries = value or {}
    if not isinstance(entries, dict):
        raise ModelError(f"{key} must be an object, not {value!r}")
    try:
        return [
            (re.compile(rf"(.*\.)?({name})$"), _number(f"{key} of {name!r}", number))
            for name, number in entries.items()
        ]
    except re.error as error:
        raise ModelError(f"{key} holds the invalid regular expression {error.pattern!r}") from error


def _lookup(pattern: list[tuple[re.Pattern[str], float]], module: str, default: float) -> float:
    return next((number for name, number in pattern if name.match(module)), default)


def _read_pairs(path: Path) -> dict[str, dict[str, Tensor]]:
    """Module name to its ``{"A": ..., "B": ...}`` as stored; every tensor must be one of these."""
    if not path.is_file():
        if (path.parent / PICKLE_FILE).exists():
            raise ModelError(
                f"{path.parent / PICKLE_FILE}: is a pickle, which can run code when read and is never opened; "
                f"save the adapter again as {WEIGHTS_FILE}"
            )
        raise ModelError(f"{path}: no such file")
    pairs: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a dict
                match = _TENSOR.fullmatch(key)
                if match is None:
                    raise ModelError(f"{path}: {_not_understood(key)}")
                # a copy: no longer tied to the file, and aligned, so that the same product has the same bits
                pairs.setdefault(match["module"], {})[match["factor"]] = file.get_tensor(key).clone()
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a complete safetensors file ({error})") from error
    return pairs


def _not_understood(key: str) -> str:
    if "lora_magnitude_vector" in key:
        return f"holds the tensor {key} of DoRA, which cannot be merged"
    if "lora_embedding_" in key:
        return f"holds the tensor {key} of an embedding's LoRA, which cannot be merged"
    if re.search(r"\.lora_[AB]\.bias$", key):
        return f"holds the tensor {key} of a LoRA bias, which cannot be merged"
    return f"holds the tensor {key}, which is not a LoRA matrix; a module saved whole cannot be merged"
