"""Score settings by leave-one-domain-out: each domain's dev splits as an unlabelled target for the other experts.

    python -m studies.leave_one_domain_out --data ../shared/data runs/compare-mixture --domains legal social stem
    python -m studies.leave_one_domain_out --data ../shared/data runs/builtin --grid density=0.1,0.2,0.5,1.0
    python -m studies.leave_one_domain_out --data ../shared/data runs/builtin --thresholds 0.1 0.2 --novelties 2 4
    python -m studies.leave_one_domain_out --data ../shared/data runs/compare-wordnet --domains legal social stem \
        --modes base --thresholds 0.1 0.2 --novelties 0 2 4 6      # the base alone, on domains that taught it nothing

    python -m studies.leave_one_domain_out --data ../shared/data runs/builtin --known --modes union unified expert

``--known`` hides nothing: how does a domain fare that the pool knows, against the unified baseline and its own expert
alone?

Prints, for every setting, strict span micro-F1 averaged over each domain's data sets and over the domains. No target's
test set is read. A domain that taught the base something is an easier target than a new one; which those are is for
the caller to say. Experts are selected with the pool's own threshold and novelty, whatever the answers are read with.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from samner.adaptation import adapt
from samner.backbones import BASE, Backbone
from samner.cli.output import guarded
from samner.entities import EntityType, Example
from samner.pool import ExpertPool
from samner.scoring import micro_f1
from samner.spans import flat
from samner.task_model import TaskModel
from studies.training_data import POOL_DATA, Datasets, domains

Types = tuple[EntityType, ...]

ADAPTED = ("similarity", "sampling", "union", "intersection", "economy")
KNOWING = ("unified", "expert")
"""What has read every domain, so that none is hidden from it."""

MODES = (*ADAPTED, "base", *KNOWING)


def parse(values: str) -> list[Any]:
    return [yaml.safe_load(value) for value in values.split(",")]


def settings(grid: list[str]) -> Iterator[dict[str, Any]]:
    """Every combination of ``name=value,value`` arguments."""
    names = [item.split("=", 1)[0] for item in grid]
    for values in itertools.product(*(parse(item.split("=", 1)[1]) for item in grid)):
        yield dict(zip(names, values, strict=True))


def f1(
    model: TaskModel | Backbone, examples: list[Example], types: Types, mode: str, threshold: float, name: str = BASE
) -> float:
    """Strict micro-F1 of a task model in a mode, or of the model of that name on a backbone."""
    texts = [example.text for example in examples]
    if isinstance(model, TaskModel):
        predicted = model.predict(texts, mode=mode, threshold=threshold)
    else:
        predicted = [flat(found) for found in model.predict(texts, types, [name], threshold)[name]]
    return micro_f1([example.entities for example in examples], predicted, {t.name for t in types})


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds train/")
    parser.add_argument("--domains", nargs="*", help="domains to leave out in turn; all by default")
    parser.add_argument("--texts", type=int, default=150, help="dev texts of each data set to score on")
    parser.add_argument("--unlabelled", type=int, default=300, help="dev texts of each data set to adapt to")
    parser.add_argument("--modes", nargs="*", default=list(ADAPTED), choices=MODES)
    parser.add_argument("--known", action="store_true", help="hide nothing")
    parser.add_argument("--grid", nargs="*", default=[], help="arguments of adapt() to vary: name=value,value")
    parser.add_argument("--thresholds", type=float, nargs="+", help="from which an entity counts; the pool's own")
    parser.add_argument(
        "--novelties", type=float, nargs="+", help="what types that the base knows less gain; the pool's"
    )
    parser.add_argument("--settings", type=Path, default=POOL_DATA)
    parser.add_argument("--device", default="cpu", help="a torch device")
    arguments = parser.parse_args()
    if any(item.startswith("threshold=") for item in arguments.grid):
        parser.error("--grid: thresholds are varied by --thresholds")
    if not arguments.known and (knowing := set(KNOWING) & set(arguments.modes)):
        parser.error(f"--modes {min(knowing)}: it has read the hidden domains; give --known")

    data, hidden = Datasets(arguments.data), domains(arguments.settings, arguments.domains)
    pool = ExpertPool.load(str(arguments.pool), arguments.device)
    backbone: Any = pool.backbone
    thresholds = arguments.thresholds or [backbone.threshold]
    own = getattr(backbone, "novelty", 0.0)  # language models have none
    for chosen in settings(arguments.grid):
        result: dict[tuple[str, float, float], dict[str, list[float]]] = {}
        for domain, names in hidden.items():
            for name in names:
                types, dev = data.types(name), data.examples(name, "dev")
                unlabelled = [example.text for example in dev[: arguments.unlabelled]]
                models: dict[str, TaskModel | Backbone] = dict.fromkeys(("base", *KNOWING), backbone)
                for mode in arguments.modes:
                    kind = mode if mode in (*models, "economy") else "union"
                    if kind not in models:
                        hide = [] if arguments.known else [domain]
                        models[kind] = adapt(pool, unlabelled, types, mode=kind, exclude=hide, **chosen)
                    alone = BASE
                    if mode == "unified":
                        alone = pool.load_baseline("unified")
                    elif mode == "expert":
                        pool.load_experts([alone := domain])
                    for novelty, threshold in itertools.product(arguments.novelties or [own], thresholds):
                        backbone.novelty = novelty
                        value = f1(models[kind], dev[-arguments.texts :], types, mode, threshold, alone)
                        scores = result.setdefault((mode, novelty, threshold), {})
                        scores.setdefault(domain, []).append(100 * value)
                    backbone.novelty = own
                for model in [m for m in backbone.models if m.startswith("task-")]:
                    backbone.remove(model)
        for (mode, novelty, threshold), scores in result.items():
            means = {domain: round(float(np.mean(values)), 1) for domain, values in scores.items()}
            mean = round(float(np.mean(list(means.values()))), 2)
            read = {"threshold": threshold, "novelty": novelty}
            print(json.dumps({"settings": chosen, "mode": mode, **read, "f1": mean, **means}), flush=True)


if __name__ == "__main__":
    main()
