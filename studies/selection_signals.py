"""Signals of selection that others propose; none is part of samner, ``studies.selection_rules`` compares them.

- After LoGo (arXiv 2511.07129): the norm of what an adapter adds to the last layer's query, in one pass of the base
  over the texts; and the same over all layers, each by the size of its task vector, so that it tells of texts alone.
- Divergence of what a model claims from the base's or from all models' (after qa-FLoRA, arXiv 2512.11366), and how
  sure it is: of the entities that any model gives a score, each a yes or no of some probability.
- Likeness of types by their definitions, where they have any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import linear

from samner.backbones import BASE
from samner.entities import Entity, EntityType
from samner.files import read_json
from samner.lora import LoraAdapter

QUERIES = (".query", ".q_proj")
"""How the queries' modules end in the families that ship."""

Floats = npt.NDArray[np.float64]


def activations(
    backbone: Any, adapters: Mapping[str, LoraAdapter], texts: Sequence[str], types: Sequence[EntityType]
) -> dict[str, list[tuple[float, float]]]:
    """What each adapter would add while the base reads each of the texts, averaged over its tokens.

    Args:
        backbone: Of a family whose base is one module, ``reading`` or ``model``.
        adapters: By name.
        texts: Read one by one, so that nothing is padded.
        types: Asked for.

    Returns:
        For each adapter and text, the norm at the last layer's query, and over all layers the mean of the norms by the
        Frobenius norm of the task vector and the norm of what it is given.
    """
    model = backbone.reading if hasattr(backbone, "reading") else backbone.model
    last = [name for name in backbone.module_shapes() if name.endswith(QUERIES)][-1]
    given: dict[str, Tensor] = {}
    hooks = []
    for module in backbone.module_shapes():

        def keep(_: object, inputs: tuple[Tensor, ...], name: str = module) -> None:
            given[name] = inputs[0].detach().float().flatten(0, -2)

        hooks.append(model.get_submodule(module).register_forward_pre_hook(keep))
    sizes = {name: {m: _frobenius(f.a, f.b) for m, f in its.factors.items()} for name, its in adapters.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in adapters}
    try:
        for text in texts:
            backbone.predict([text], types, [BASE], 1.0)
            for name, adapter in adapters.items():
                norms, relative = {}, []
                for module, factors in adapter.factors.items():
                    x = given[module]
                    added = linear(linear(x, factors.a.float()), factors.b.float()).norm(dim=-1)
                    norms[module] = factors.scale * float(added.mean())
                    share = added / x.norm(dim=-1).clamp(min=1e-12) / sizes[name][module]
                    relative.append(float(share.mean()))
                found[name].append((norms.get(last, 0.0), float(np.mean(relative))))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _frobenius(a: Tensor, b: Tensor) -> float:
    """Of ``b @ a``, which is not made."""
    return max(float(torch.sum((a.float() @ a.float().T) * (b.float().T @ b.float()))), 1e-24) ** 0.5


def claims(answers: Mapping[str, Sequence[Sequence[Entity]]]) -> tuple[list[str], Floats]:
    """The models' names, and M x C scores: of each entity that any of them gives one, 0 by those that give none."""
    places: dict[tuple[int, int, int, str], int] = {}
    for entities in answers.values():
        for text, its in enumerate(entities):
            for entity in its:
                places.setdefault((text, *entity.key), len(places))
    scores = np.zeros((len(answers), len(places)))
    for row, entities in enumerate(answers.values()):
        for text, its in enumerate(entities):
            for entity in its:
                scores[row, places[text, *entity.key]] = entity.score
    return list(answers), scores


def entropy(p: Floats) -> Floats:
    """Of yes or no with each of the probabilities, in bits."""
    p = np.clip(p, 1e-9, 1 - 1e-9)
    return -p * np.log2(p) - (1 - p) * np.log2(1 - p)


def divergence(p: Floats, q: Floats) -> float:
    """Jensen-Shannon divergence of two models' claims, summed over them: in bits, 0 where they say the same."""
    return float((entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2).sum())


def far_from_consensus(names: Sequence[str], scores: Floats) -> dict[str, float]:
    """Of each expert, the divergence from what all experts say on average."""
    experts = [i for i, name in enumerate(names) if name != BASE]
    consensus = scores[experts].mean(axis=0)
    return {names[i]: divergence(scores[i], consensus) for i in experts}


def far_from_base(names: Sequence[str], scores: Floats) -> dict[str, float]:
    """Of each expert, the divergence from the base."""
    base = scores[list(names).index(BASE)]
    return {name: divergence(scores[i], base) for i, name in enumerate(names) if name != BASE}


def unsure(names: Sequence[str], scores: Floats) -> dict[str, float]:
    """Of each expert, the mean entropy of its own claims; 1 if it has none."""
    means = [float(entropy(row[row > 0]).mean()) if (row > 0).any() else 1.0 for row in scores]
    return {name: mean for name, mean in zip(names, means, strict=True) if name != BASE}


def defined(file: Path) -> dict[str, str]:
    """Definitions of types by their names."""
    return read_json(file)


def described(names: Iterable[str], definitions: Mapping[str, str]) -> list[str]:
    """The names, each with its definition if there is one."""
    return [f"{name}: {definitions[name]}" if name in definitions else name for name in names]


def ranks(values: Iterable[float]) -> Floats:
    """The place of each value, the lowest first; equals share the mean of theirs."""
    v = np.asarray(list(values), dtype=float)
    below, same = v[:, None] > v, v[:, None] == v
    return np.asarray(below.sum(axis=1) + (same.sum(axis=1) - 1) / 2, dtype=float)


def mean_place(*scores: Mapping[str, float]) -> dict[str, float]:
    """Of each name by several scores."""
    names = list(scores[0])
    places = [ranks(its[name] for name in names) for its in scores]
    return dict(zip(names, np.mean(places, axis=0).tolist(), strict=True))


def rank_correlation(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Spearman's, of names' scores; 0 where either tells none from another."""
    a, b = ranks(one.values()), ranks(other[name] for name in one)
    a, b = a - a.mean(), b - b.mean()
    size = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / size if size else 0.0
