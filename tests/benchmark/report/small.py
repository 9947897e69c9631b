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
             "merging": 0.5, "models": 2 if name == "union" else 1}
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
    target = {"texts": 100, "unlabelled": 50, "labels": ["x"], "unseen": ["x"], "similarity": {}, "sampling": {},
              "pseudo_labels": 3, "selection_seconds": 1.5, "note": "", "warning": ""}  # fmt: skip
    return {
        "format": 2,
        "command": "samner benchmark x.yaml",
        "finished": "2026-01-01T00:00:00+00:00",
        "pool": "builtin",
        "settings": {"experts": 1, "merge": {"method": "ties"}},
        "groups": {"both": names},
        "targets": {name: dict(target) for name in names},
        "arms": list(arms),
    } | changes


def full() -> dict[str, Any]:
    """Results with something for every table and plot."""
    picks = {"similarity": {"x": 1.0}, "sampling": {"y": 1.0}}
    results = small(
        arm("base", 20, 31),
        arm("x", 10, 20, mode="expert", name="x"),
        arm("y", 12, 18, mode="expert", name="y"),
        arm("random", (20.0, 22.0), (30.0, 34.0)),
        arm("union", 25, 30, picks=picks),
        arm("subset", 40, 40, mode="oracle", experts=1),
        *(arm(f"union k={k}", 20 + k, 30, group="k", x=k, mode="union") for k in (1, 2, 10)),
        *(
            arm(f"union method={m}", f1, f1, group="method", x=m, mode="union")
            for m, f1 in (("ties", 20), ("linear", 22))
        ),
        arm("union-auto-k", 26, 30, group="beyond", mode="union", experts="auto"),
        published=[{"name": "big", "source": "a paper", "scores": {"a": 50.0, "b": 60.0}}],
        complementarity={
            "a": {
                "gold": {"both": 1, "similarity": 2, "sampling": 3, "neither": 4},
                "false": {"both": 5, "similarity": 6, "sampling": 7},
            }
        },
        oracle={"texts": 9, "subsets": {"subset": {"a": {"x": 0.3, "y": 0.4}, "b": {"x": 0.4, "y": 0.1}}}},
        comparisons=[
            {
                "a": "union",
                "b": "base",
                "score": kind,
                "target": at,
                "difference": 2.0,
                "ci95": [1.0, 3.0],
                "p": 0.01,
            }
            for kind in ("strict", "string")
            for at in ("a", "b", "both")
        ],
    )
    for target in results["targets"].values():
        target |= {"similarity": {"x": 0.9, "y": 0.1}, "sampling": {"x": 0.1, "y": 0.7}}
    return results
