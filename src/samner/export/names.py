"""Which tensor of a base model is the weight of which module."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from samner.errors import ModelError
from samner.files import read_json

_WEIGHT = ".weight"
_TIED = ": it is tied to the embeddings (tie_word_embeddings), which would change with it"

_Way: TypeAlias = tuple[str, str]
"""The prefix taken from a module's name, and the one added to it; one of the two is empty."""


def tensor_names(modules: Collection[str], tensors: Collection[str], base: Path) -> Mapping[str, str]:
    """The weight tensor of each module.

    It is ``<module>.weight``. An adapter may have been made on a model that wraps the base, or on a part of it; then
    one prefix is to be added to all modules or taken from all of them.

    Args:
        modules: Names of modules, in order.
        tensors: Names of the base's tensors.
        base: The base's folder.

    Raises:
        ModelError: If a module has no tensor of its own, or several ways to name them fit.
    """
    stems = {tensor.removesuffix(_WEIGHT) for tensor in tensors if tensor.endswith(_WEIGHT)}
    ways = {("", ""), *_ways(next(iter(modules), ""), stems)}
    missing = {way: [module for module in modules if _stem(module, way) not in stems] for way in sorted(ways)}
    fitting = [way for way in missing if not missing[way]]
    if not fitting:
        module = min(missing.values(), key=len)[0]
        raise ModelError(f"{base}: has no tensor {module}{_WEIGHT}{_why(module, base)}")
    if len(fitting) > 1 and ("", "") not in fitting:
        options = " or ".join(_stem(next(iter(modules)), way) + _WEIGHT for way in fitting)
        raise ModelError(f"{base}: module {next(iter(modules))} may be {options}")
    names = {module: _stem(module, fitting[0]) + _WEIGHT for module in modules}  # the plain names sort first
    for module in modules:
        if _is_head(module) and _config(base).get("tie_word_embeddings") is True:
            raise ModelError(f"{base}: tensor {names[module]} cannot be changed{_TIED}")
    return names


def _ways(module: str, stems: Collection[str]) -> set[_Way]:
    """How a module would have to be renamed to be one of the stems."""
    added = {("", stem.removesuffix(module)) for stem in stems if stem.endswith(f".{module}")}
    taken = {(module.removesuffix(stem), "") for stem in stems if module.endswith(f".{stem}")}
    return added | taken


def _stem(module: str, way: _Way) -> str:
    taken, added = way
    return added + module.removeprefix(taken) if module.startswith(taken) else ""


def _is_head(module: str) -> bool:
    return module.rpartition(".")[2] == "lm_head"


def _why(module: str, base: Path) -> str:
    # models tie by default, and configurations leave out what is the default
    return _TIED if _is_head(module) and _config(base).get("tie_word_embeddings", True) is True else ""


def _config(base: Path) -> dict[str, Any]:
    path = base / "config.json"
    return read_json(path) if path.is_file() else {}
