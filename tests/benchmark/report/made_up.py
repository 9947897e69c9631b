"""Made-up results of a benchmark, as realistic as can be: what the report is tested and looked at with."""

from __future__ import annotations

import itertools
import random
from statistics import NormalDist
from typing import Any

TARGETS = {
    "crossner_ai": (430, 29),
    "crossner_literature": (416, 16),
    "crossner_music": (457, 22),
    "crossner_politics": (651, 28),
    "crossner_science": (532, 29),
    "mit_movie": (2000, 21),
    "mit_restaurant": (1521, 6),
    "stackoverflow": (2000, 2),
    "wet_lab_protocols": (2000, 1),
}
EXPERTS = ("biomedical", "legal", "news", "social", "stem", "traffic")
PUBLIC = [name for name in TARGETS if name not in ("stackoverflow", "wet_lab_protocols")]
GNER = "GNER paper, table 2"


class Maker:
    """Draws scores; every call goes on where the last one stopped, so that a seed gives the same results."""

    def __init__(self, seed: int, targets: dict[str, tuple[int, int]], experts: tuple[str, ...]) -> None:
        self.random = random.Random(seed)
        self.targets = targets
        self.experts = experts
        self.knows = {t: {e: self.random.gauss(0, 2.2) for e in experts} for t in targets}
        self.by = {
            key: {
                t: {e: noise * self.random.gauss(0, 1) + knows for e, knows in self.knows[t].items()} for t in targets
            }
            for key, noise in (("similarity", 2.5), ("sampling", 3.5))
        }

    def pick(self, strategy: str, target: str, k: int) -> list[str]:
        scores = self.by[strategy][target]
        return sorted(scores, key=lambda name: -scores[name])[:k]

    def score(self, f1: float, target: str, lean: float) -> dict[str, Any]:
        """A score of about this F1 in percent; ``lean`` above 0 is for recall."""
        gold = 3 * self.targets[target][0]
        f1 = min(max(f1 / 100, 0.001), 0.95)
        recall = min(f1 * (1 + lean), 0.99)
        precision = f1 * recall / (2 * recall - f1) if 2 * recall > f1 * 1.02 else 0.99
        tp = max(round(recall * gold), 1)
        fp = max(round(tp / min(precision, 1) - tp), 0)
        real = 2 * tp / (2 * tp + fp + gold - tp)
        half = 1.7 * (real * (1 - real) / gold) ** 0.5 + 0.003
        return {
            "precision": tp / (tp + fp),
            "recall": tp / gold,
            "f1": real,
            "tp": tp,
            "fp": fp,
            "fn": gold - tp,
            "f1_ci95": [max(real - half, 0), min(real + half * 1.1, 1)],
        }

    def run(
        self, target: str, points: float, experts: dict[str, list[str]], lean: float, seed: int, models: int
    ) -> Any:
        """A run so many points above the target's level."""
        level = self.targets[target][1]
        f1 = level + points * min(1, level / 15) + self.random.gauss(0, 0.25) * min(1, level / 8)
        return {
            "seed": seed,
            "experts": {key: dict.fromkeys(names, 1.0) for key, names in experts.items()},
            "strict": self.score(f1, target, lean),
            "string": self.score(f1 * 1.02 + 0.2, target, lean),
            "texts": self.targets[target][0],
            "seconds": round(models * self.targets[target][0] / 160 + self.random.random(), 3),
            "models": models,
        }


def made_up(seed: int = 0, targets: dict[str, tuple[int, int]] | None = None) -> dict[str, Any]:
    """Results with every group of arms, comparison and figure that a benchmark can have."""
    m = Maker(seed, targets or TARGETS, EXPERTS)
    arms: list[dict[str, Any]] = []

    def value(target: str, names: list[str]) -> float:
        return sum(m.knows[target][name] for name in names) / len(names) - 0.12 * len(names)

    def arm(called, group, title=None, x=None, *, seeds=(0,), lean=0.0, models=1, experts=None, bonus=0.0, **settings):
        strategies = experts or (lambda target: {})
        found = {
            t: [
                m.run(
                    t,
                    sum(value(t, names) for names in strategies(t).values()) / max(len(strategies(t)), 1)
                    + (bonus(t, s) if callable(bonus) else bonus),
                    strategies(t),
                    lean,
                    s,
                    models,
                )
                for s in seeds
            ]
            for t in m.targets
        }
        settings = {"mode": called.split(" ")[0], **settings, "seeds": list(seeds)}
        arms.append(
            {"name": called, "group": group, "x": x, "title": title or called, "settings": settings, "targets": found}
        )

    def of(*strategies, k=3, key=None):
        return lambda t: {key or s: m.pick(s, t, k if k != "auto" else 2) for s in strategies}

    both = of("similarity", "sampling")
    arm("base", "main", "Base model", lean=-0.1)
    for name in EXPERTS:
        arm(name, "main", mode="expert", experts=lambda t, name=name: {name: [name]}, name=name)
    arm("unified", "main", "Unified", mode="baseline", bonus=0.4, lean=0.02)
    arm("random", "main", "Random experts", seeds=(0, 1, 2), bonus=lambda t, s: m.random.gauss(-0.4, 0.8))
    arm("all", "main", "All experts", experts=lambda t: {"all": list(EXPERTS)})
    arm("similarity", "main", "Similarity", experts=of("similarity"))
    arm("sampling", "main", "Sampling", experts=of("sampling"))
    arm("union", "main", "Union (SaM)", experts=both, bonus=0.5, lean=0.12, models=2)
    arm("intersection", "main", "Intersection", experts=both, bonus=-2.0, lean=-0.3, models=2)
    arm("economy", "main", "Economy", experts=both, bonus=-0.1)
    arm("economy-unweighted", "main", "Economy, unweighted", experts=both, bonus=-0.3)
    arm("economy-common", "main", "Economy, common picks", experts=both, bonus=-0.7)
    arm("economy-average", "main", "Economy, mean of both", experts=both, bonus=0.1)
    arm("ensemble-union", "main", "Ensemble, any", experts=both, bonus=-1.4, lean=0.4, models=5)
    arm("ensemble-majority", "main", "Ensemble, majority", experts=both, bonus=0.2, lean=-0.2, models=5)

    def subset(k):
        return lambda t: {"oracle": max(map(list, itertools.combinations(EXPERTS, k)), key=lambda n: value(t, n))}

    arm(
        "oracle-best-single", "main", "Best single expert (oracle)", mode="oracle-single", experts=subset(1), bonus=0.1
    )
    for k in range(1, 7):
        title = f"Best subset of {k} (oracle)"
        arm(f"oracle-k{k}", "main", title, mode="oracle", experts=subset(k), bonus=0.25 * (k > 1))
        arms[-1]["settings"]["experts"] = k
    for s, lean in (("similarity", 0), ("sampling", 0), ("union", 0.12), ("economy", 0)):
        for k in range(1, 7):
            strategies = (s,) if s in m.by else ("similarity", "sampling")
            arm(f"{s} k={k}", "k", x=k, experts=of(*strategies, k=k), lean=lean, bonus=0.3 * (k > 1), texts=200)
            arms[-1]["settings"]["experts"] = k
    for s, n in itertools.product(("sampling", "union"), (1, 5, 10, 20, 50)):
        noise = 1.6 / n**0.5
        arm(f"{s} samples={n}", "samples", x=n, seeds=(0, 1, 2), experts=of(s if s == "sampling" else "similarity"),
            bonus=lambda t, _, noise=noise: m.random.gauss(-noise, noise), texts=200, samples=n)  # fmt: skip
    methods = ("ties", "dare_ties", "dare_linear", "linear", "knots", "breadcrumbs", "della", "magnitude_prune")
    for method in methods:
        arm(f"union method={method}", "method", x=method, experts=both, texts=200, method=method,
            bonus=0 if method == "ties" else lambda t, s: m.random.gauss(-0.3, 0.6))  # fmt: skip
    for density in (0.05, 0.1, 0.2, 0.5, 1.0):
        arm(f"union density={density}", "density", x=density, experts=both, bonus=-0.4 * (density < 0.1), texts=200,
            density=density)  # fmt: skip
    for lam in (0.5, 1.0, 1.5, 2.0):
        arm(f"union lam={lam}", "lam", x=lam, experts=both, bonus=-3 * (lam - 0.9) ** 2, texts=200, lam=lam)
    for scope in ("global", "tensor"):
        arm(f"union scope={scope}", "scope", x=scope, experts=both, texts=200, scope=scope)
    for encoder in ("minilm", "base", "lsa"):
        arm(f"similarity encoder={encoder}", "encoder", x=encoder, experts=of("similarity"), texts=200,
            encoder=encoder, bonus=0 if encoder == "minilm" else -0.5)  # fmt: skip
    arm("auto-k", "beyond", "k chosen by target", mode="union", experts=of("similarity", "sampling", k="auto"),
        bonus=0.7, lean=0.1, models=2)  # fmt: skip
    arms[-1]["settings"]["experts"] = "auto"
    arm("types", "beyond", "type similarity joined", mode="union", experts=both, bonus=0.6, lean=0.1, models=2)
    arm("known-types", "beyond", "experts that know a type", mode="union", experts=both, bonus=0.9, lean=0.1, models=2)

    groups = {"public": [name for name in PUBLIC if name in m.targets] or list(m.targets), "all": list(m.targets)}
    return {
        "format": 1,
        "command": "samner benchmark docs/benchmark.yaml --out docs/benchmark",
        "finished": "2026-11-24T12:00:00+00:00",
        "pool": "builtin",
        "machine": {"cores": 2, "torch_threads": 2, "platform": "Linux x86_64", "gpu": None},
        "versions": {"samner": "0.1.0", "torch": "2.13.0+cpu", "Python": "3.11.7"},
        "settings": {
            "experts": 3,
            "samples": 10,
            "seed": 0,
            "seeds": [0, 1, 2],
            "merge": {"method": "ties", "density": 0.2, "lam": 1.0},
            "baselines": ["unified"],
            "threshold": 0.2,
        },
        "groups": groups,
        "targets": {
            t: {
                "texts": texts,
                "unlabelled": 500,
                "labels": ["person", "location", "organisation", "event"],
                "similarity": {e: round(0.25 + 0.06 * v, 4) for e, v in m.by["similarity"][t].items()},
                "sampling": {e: round(min(max(0.8 + 0.05 * v, 0), 1), 4) for e, v in m.by["sampling"][t].items()},
                "pseudo_labels": m.random.randint(1, 40),
                "note": "two votes were taken as enough" if t == "mit_restaurant" else "",
                "warning": "no expert is close: highest similarity 0.11" if t == "wet_lab_protocols" else "",
            }
            for t, (texts, _) in m.targets.items()
        },
        "arms": arms,
        "comparisons": [row for pair in PAIRS for row in _compare(m, arms, groups, *pair)],
        "complementarity": {t: _parts(m, t) for t in m.targets},
        "published": [
            {"name": name, "source": GNER, "scores": dict(zip(PUBLIC, scores, strict=True))}
            for name, scores in PUBLISHED.items()
        ],
        "oracle": {
            "texts": 200,
            "subsets": {
                f"oracle-k{k}": {
                    t: {
                        "+".join(names): round((m.targets[t][1] + value(t, list(names))) / 100, 4)
                        for names in itertools.combinations(EXPERTS, k)
                    }
                    for t in m.targets
                }
                for k in range(1, 7)
            },
        },
    }


PAIRS = (("union", "unified"), ("union", "base"), ("economy", "union"), ("union", "ensemble-majority"))
PUBLISHED = {
    "ChatGPT": (52.4, 39.8, 66.6, 68.5, 67.0, 5.3, 32.8),
    "GLiNER-L 0.3B": (60.6, 68.4, 69.5, 74.8, 69.4, 57.2, 42.8),
    "GNER-T5-xxl 11B": (68.2, 68.7, 81.2, 75.1, 76.7, 62.5, 51.0),
}


def _compare(m: Maker, arms: list[Any], groups: dict[str, list[str]], a: str, b: str) -> list[dict[str, Any]]:
    first, second = (next(arm["targets"] for arm in arms if arm["name"] == name) for name in (a, b))
    rows = []
    for score, (title, names) in itertools.product(
        ("strict", "string"), [*((t, [t]) for t in m.targets), *groups.items()]
    ):
        gap = 100 * sum(first[t][0][score]["f1"] - second[t][0][score]["f1"] for t in names) / len(names)
        half = m.random.uniform(0.4, 1.4) / len(names) ** 0.5
        p = max(0.002, 2 * NormalDist().cdf(-1.96 * abs(gap) / half))
        rows.append({"a": a, "b": b, "score": score, "target": title, "difference": gap,
                     "ci95": [gap - half, gap + half], "p": p})  # fmt: skip
    return rows


def _parts(m: Maker, target: str) -> dict[str, Any]:
    texts, level = m.targets[target]
    gold, found = 3 * texts, 3 * texts * level / 100
    shares = {"both": round(found * 0.6), "similarity": round(found * 0.22), "sampling": round(found * 0.15)}
    wrong = {key: round(count * m.random.uniform(0.8, 3)) for key, count in shares.items()}
    return {"texts": texts, "gold": {**shares, "neither": gold - sum(shares.values())}, "false": wrong}
