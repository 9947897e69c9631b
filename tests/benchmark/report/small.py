"""Results of few arms with numbers given by hand."""

from __future__ import annotations

from typing import Any


def score(f1: float) -> dict[str, Any]:
    """A score of an F1 in percent, of 1,000 gold entities, precision equal to recall, give or take 2 points."""
    tp = round(10 * f1)
    share = tp / 1000
    return {"tp": tp, "fp": 1000 - tp, "fn": 1000 - tp, "precision": share, "recall": share, "f1": share,
            "f1_ci95": [share - 0.02, share + 0.02]}  # fmt: skip


def arm(name: str, /, *f1: float | tuple[float, ...], **settings: Any) -> dict[str, Any]:
    """An arm with its F1 on the targets ``a``, ``b``, ...; a tuple has one for each seed."""
    group, x = settings.pop("group", "main"), settings.pop("x", None)
    experts = settings.pop("picks", {})
    runs = [
        [
            {"seed": i, "experts": experts, "strict": score(v), "string": score(v + 1), "texts": 100, "seconds": 2.0,
             "models": 2 if name == "union" else 1}
            for i, v in enumerate(value if isinstance(value, tuple) else (value,))
        ]
        for value in f1
    ]  # fmt: skip
    settings = {"mode": name.split(" ")[0], **settings}
    targets = dict(zip("abcd", runs, strict=False))
    return {"name": name, "group": group, "x": x, "title": name, "settings": settings, "targets": targets}


def small(*arms: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Results of these arms; both targets, or all of them, make up the average ``both``."""
    names = list(arms[0]["targets"])
    target = {"texts": 100, "unlabelled": 50, "labels": ["x"], "similarity": {}, "sampling": {}, "pseudo_labels": 3,
              "note": "", "warning": ""}  # fmt: skip
    return {
        "format": 1,
        "command": "samner benchmark x.yaml",
        "finished": "2026-01-01T00:00:00+00:00",
        "pool": "builtin",
        "settings": {"experts": 1, "merge": {"method": "ties"}},
        "groups": {"both": names},
        "targets": {name: dict(target) for name in names},
        "arms": list(arms),
    } | changes
