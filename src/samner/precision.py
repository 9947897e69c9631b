"""The number format that this machine computes in fastest without giving up what models need.

Decided by what the processor has instructions for, not by measuring: answers must not depend on what else runs.
"""

from __future__ import annotations

import os
import platform
from typing import TYPE_CHECKING, Any, Literal, get_args

from samner.errors import SamnerError

if TYPE_CHECKING:
    import torch

Precision = Literal["float32", "bfloat16", "int8"]

VARIABLE = "SAMNER_PRECISION"
"""The environment variable that, set to a ``Precision``, decides instead."""


def precision(device: str = "cpu") -> Precision:
    """What the linear layers of a language model are multiplied in.

    bfloat16 where the device has instructions for it; else int8 where the processor multiplies those, which is faster
    than float32 and changes more entities than bfloat16 (``docs/benchmarks.md``); else float32.

    Args:
        device: A torch device name.

    Raises:
        SamnerError: If the environment asks for another.
    """
    import torch

    kind = torch.device(device).type
    int8 = kind == "cpu" and multiplies_int8()
    known: dict[str, Precision] = {name: name for name in get_args(Precision) if int8 or name != "int8"}
    if asked := os.environ.get(VARIABLE):
        if asked not in known:
            raise SamnerError(f"{VARIABLE}: on {kind} it must be {', '.join(known)}, not {asked!r}")
        return known[asked]
    if kind == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    if kind != "cpu":
        return "float32"
    if _multiplies_bfloat16():
        return "bfloat16"
    instructions = _instructions()
    vnni = instructions.get("avx512_vnni") or instructions.get("avx_vnni")
    return "int8" if int8 and vnni else "float32"


def fastest_dtype(device: str = "cpu") -> torch.dtype:
    """The type of what is not multiplied in eight bits: states, and weights that are trained over."""
    import torch

    chosen = precision(device)
    bfloat16 = chosen == "bfloat16" or (chosen == "int8" and _multiplies_bfloat16())
    return torch.bfloat16 if bfloat16 else torch.float32


def multiplies_int8() -> bool:
    """Whether torch has products in eight bits here: oneDNN's, for x86."""
    import torch

    return torch.backends.mkldnn.is_available() and platform.machine().lower() in ("x86_64", "amd64")


def _multiplies_bfloat16() -> bool:
    """Whether the processor has instructions for it."""
    instructions = _instructions()
    return bool(instructions.get("avx512_bf16") or instructions.get("amx_bf16"))


def _instructions() -> dict[str, Any]:
    import torch

    found: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch before 2.13 does not tell
    return found
