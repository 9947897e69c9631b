"""LoRA adapters as task vectors: a PEFT folder read, checked and hashed once, and kept as low-rank factors."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from samner.errors import ModelError
from samner.lora_config import CONFIG_FILE, LoraConfig
from samner.names import match_modules, read_key, shown

WEIGHTS_FILE = "adapter_model.safetensors"
PICKLE_FILE = "adapter_model.bin"

_LONG_HEADER = 1 << 20  # bytes
_HEADER_SHARE = 10

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


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
        fingerprint: Of the base model, where it is known; it proves what names can only say.
        causal: Whether the configuration says that the base is a causal language model.
        files: SHA-256 of the files it was read from, by their names.
    """

    name: str
    factors: Mapping[str, LoraFactors]
    base: str | None = None
    fingerprint: str | None = None
    causal: bool = False
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        name: str | None = None,
        *,
        fingerprint: str | None = None,
        checksums: Mapping[str, str] | None = None,
    ) -> LoraAdapter:
        """Read a PEFT adapter folder, ``adapter_config.json`` and ``adapter_model.safetensors``, each file once.

        Nothing is unpickled, and the base model is not needed. The scale of each module follows the configuration
        as PEFT reads it, ``rank_pattern``, ``alpha_pattern`` and ``use_rslora`` included. Matrices are known under all
        usual keys: with or without ``base_model.model.``, an adapter's name, ``_orig_mod.`` and what else wraps
        layers. Copies of the base's own weights beside them are left out.

        Args:
            folder: The adapter folder.
            name: Name of the adapter; the folder's own name by default.
            fingerprint: Of the base model, where the caller knows it.
            checksums: The SHA-256 that the files must have, by their names.

        Raises:
            ModelError: If a file is missing or damaged, or the adapter is anything more than LoRA on linear layers
                (DoRA, biases, modules saved whole, embeddings, convolutions, ...): that would be lost in a merge.
        """
        folder = Path(folder)
        config_path, weights_path = folder / CONFIG_FILE, folder / WEIGHTS_FILE
        files: dict[str, str] = {}
        contents = {}
        for path in (config_path, weights_path):
            contents[path] = _read(path)
            files[path.name] = hashlib.sha256(contents[path]).hexdigest()
            if checksums is not None and checksums.get(path.name) != files[path.name]:
                raise ModelError(f"{path}: damaged or changed, its SHA-256 is not the one that is kept of it")
        try:
            config = LoraConfig(contents.pop(config_path))
        except ModelError as error:
            raise ModelError(f"{config_path}: {error}") from error
        try:
            modules = _modules(contents.pop(weights_path))
            if not modules:
                raise ModelError("holds no LoRA matrices")
            factors = {}
            for module, parts in sorted(modules.items()):
                try:
                    factors[module] = _factors(config, module, parts)
                except ModelError as error:
                    raise ModelError(f"module {shown(module)}: {error}") from error
        except ModelError as error:
            raise ModelError(f"{weights_path}: {error}") from error
        name = folder.resolve().name if name is None else name
        return cls(name, factors, config.base, fingerprint, config.causal, files)

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

    def renamed(
        self, name: Callable[[str], str], base: str | None = None, fingerprint: str | None = None
    ) -> LoraAdapter:
        """The same adapter with other names for its modules and, where given, its base; itself if none changes."""
        base, fingerprint = (base or self.base, fingerprint or self.fingerprint)
        factors = {name(module): factors for module, factors in self.factors.items()}
        if (factors.keys(), base, fingerprint) == (self.factors.keys(), self.base, self.fingerprint):
            return self
        return replace(self, factors=factors, base=base, fingerprint=fingerprint)

    def on_base(self, shapes: Mapping[str, tuple[int, int]]) -> LoraAdapter:
        """The adapter under the names that a base model has for its modules.

        Args:
            shapes: The base's modules, each with its shape (out, in).

        Raises:
            ModelError: If the base has no such module, or one of another shape.
        """
        names = match_modules(self.factors, shapes)
        for module, factors in self.factors.items():
            have = shapes.get(names.get(module, ""))
            if have != factors.shape:
                raise ModelError(f"adapts {shown(module)} as {factors.shape}, the base has {have or 'no such module'}")
        return self.renamed(names.__getitem__)


def check_header(start: bytes, size: int) -> None:
    """Refuse a safetensors file whose header is too long for what comes after it, before anything is made of it.

    A file of nothing but names takes some twenty times its size in memory when it is read.

    Args:
        start: Its first eight bytes.
        size: How long it is.

    Raises:
        ModelError: If it is such a file.
    """
    length = int.from_bytes(start, "little")
    if length > min(_LONG_HEADER, size) and length * _HEADER_SHARE > size:
        raise ModelError(f"not a complete safetensors file (a header of {length} bytes in a file of {size})")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        pickle = path.parent / PICKLE_FILE
        if path.name == WEIGHTS_FILE and pickle.exists():
            raise ModelError(
                f"{pickle}: is a pickle, which can run code when read and is never opened; "
                f"save the adapter again as {WEIGHTS_FILE}"
            ) from error
        raise ModelError(f"{path}: no such file") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from error


class _Module:
    """What a file holds of one module: factors by letter, and what says more about them."""

    def __init__(self, stored: str) -> None:
        self.stored = stored
        self.pair: dict[str, Tensor] = {}
        self.keys: dict[str, str] = {}
        self.alpha: float | None = None
        self.copy: tuple[int, ...] | None = None


def _modules(content: bytes) -> dict[str, _Module]:
    """What the weights hold, by module."""
    check_header(content[:8], len(content))
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise ModelError(f"not a complete safetensors file ({shown(str(error))})") from error
    modules: dict[str, _Module] = {}
    adapters: dict[str, str] = {}
    copies: dict[str, tuple[int, ...]] = {}
    for name in sorted(tensors):
        tensor, key = tensors.pop(name), read_key(name)
        if key is None:
            continue
        if key.kind == "copy":
            copies[key.module] = tuple(tensor.shape)
            continue
        module = modules.setdefault(key.module, _Module(key.stored))
        if key.kind == "alpha":
            module.alpha = float(tensor) if tensor.numel() == 1 else math.nan
            continue
        adapters.setdefault(key.adapter, name)
        if len(adapters) > 1:
            one, other = (shown(example) for example in adapters.values())
            raise ModelError(f"holds two adapters, of {one} and of {other}: save each by itself")
        if key.kind in module.pair:
            one, other = shown(module.keys[key.kind]), shown(name)
            raise ModelError(f"holds one matrix twice, as {one} and as {other}")
        module.pair[key.kind], module.keys[key.kind] = tensor, name
    for name, shape in copies.items():
        if name in modules:
            modules[name].copy = shape
    return modules


def _factors(config: LoraConfig, module: str, parts: _Module) -> LoraFactors:
    """The factors of a module, scaled as configured."""
    if len(parts.pair) < 2:
        raise ModelError(f"has lora_{next(iter(parts.pair), 'A or B')} but not its partner")
    rank, alpha = config.rank_and_alpha(dict.fromkeys((parts.stored, module)))
    if parts.alpha not in (None, alpha):
        raise ModelError(f"has an alpha of its own, {parts.alpha:g}, but {CONFIG_FILE} says {alpha:g}")
    factors = LoraFactors(parts.pair["A"], parts.pair["B"], config.scale(rank, alpha))
    if factors.rank != rank:
        raise ModelError(f"rank mismatch: the matrices have rank {factors.rank}, {CONFIG_FILE} says {rank}")
    if parts.copy is not None and parts.copy[1:] == factors.shape[1:] and parts.copy[0] > factors.shape[0]:
        raise ModelError(
            f"was resized for new tokens: base_layer has {parts.copy[0]} rows, its LoRA {factors.shape[0]}; a "
            "resized vocabulary cannot be merged"
        )
    return factors
