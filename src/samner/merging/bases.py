"""Whether adapters are of one base model, by its fingerprint or by its names, and one name for each of its layers."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import combinations

from samner.errors import SamnerError
from samner.lora import LoraAdapter
from samner.names import base_key, common_names, is_repacked, is_vocabulary, shown, statement

_log = logging.getLogger(__name__)


def of_one_base(
    adapters: Sequence[LoraAdapter], same_base: Iterable[str] = ()
) -> tuple[list[LoraAdapter], str | None]:
    """The adapters, with one name for their base model and one for each of its layers; and the base's name.

    Equal fingerprints prove one base. Names say it if they differ only by where the base lies (an owner, a folder, a
    cache), or by how it is packed (``-bnb-4bit``, ``-AWQ``, ``-hf``), of which a line is logged.

    Args:
        adapters: Some adapters.
        same_base: What the caller knows: ``"A=B"``, that two names are of one base; ``"A"``, that all are of that.

    Returns:
        The adapters in their order, and the base's name as far as any tells it.

    Raises:
        SamnerError: If the adapters are of different bases, or would be merged past each other.
    """
    stated, given = statement(same_base, {adapter.base for adapter in adapters if adapter.base})
    for one, other in combinations({(a.base, a.fingerprint): a for a in adapters}.values(), 2):
        names = {base_key(adapter.base) for adapter in (one, other) if adapter.base}
        if stated or (names and any(names <= group for group in given)):
            continue
        proved = one.fingerprint and other.fingerprint
        if one.fingerprint != other.fingerprint if proved else len(names) > 1:
            option = f"{one.base}={other.base}" if len(names) > 1 else one.base or other.base or "NAME"
            raise SamnerError(
                f"{one.name!r} is an adapter of {_called(one)} but {other.name!r} of {_called(other)}: only adapters "
                f"of one base model can be merged; if both are the same, say so by --same-base {option}"
            )
    named = sorted({adapter.base for adapter in adapters if adapter.base}, key=lambda name: (is_repacked(name), name))
    for name in named[1:]:
        if not stated and is_repacked(name) and base_key(name) == base_key(named[0]):
            _log.warning("taking the base %s for %s, repackaged", shown(name), shown(named[0]))
    first = next((a.base for a in adapters if a.base and not is_repacked(a.base)), None)
    base = stated or first or next(iter(named), None)
    fingerprint = next((a.fingerprint for a in adapters if a.fingerprint), None)
    names_of = common_names([(adapter.name, adapter.factors) for adapter in adapters])
    aligned = [
        a.renamed(names.__getitem__, base, a.fingerprint and fingerprint)
        for a, names in zip(adapters, names_of, strict=True)
    ]
    _check_shapes(aligned)
    return aligned, base


def _called(adapter: LoraAdapter) -> str:
    name = shown(adapter.base) if adapter.base else "a base without a name"
    return f"{name} (fingerprint {adapter.fingerprint[:16]})" if adapter.fingerprint else name


def _check_shapes(adapters: Sequence[LoraAdapter]) -> None:
    seen: dict[str, LoraAdapter] = {}
    for adapter in adapters:
        for module, factors in adapter.factors.items():
            other = seen.setdefault(module, adapter)
            have = other.factors[module].shape
            if have != factors.shape:
                resized = is_vocabulary(module) and have[1] == factors.shape[1]
                why = "one vocabulary was resized for new tokens, or " if resized else ""
                raise SamnerError(
                    f"module {module} has shape {have} in {other.name!r} but {factors.shape} in {adapter.name!r}: "
                    f"{why}the adapters are of different base models"
                )
