"""Train the token-classifying pool over SmolLM2-135M-Instruct: base, experts and the unified baseline. Resumable.

    apt-get install wordnet-base
    python studies/wordnet_types.py ../shared/data/foundation/multiconer2/train.jsonl --out runs/wordnet
    python -m studies.smollm2.train base --minutes 120 --data ../shared/data
    python -m studies.smollm2.train experts --minutes 30 --data ../shared/data
    python -m studies.smollm2.train unified --minutes 180 --data ../shared/data

What teaches what stands in lessons.yaml. ``--minutes`` is for each part; a part that is finished is skipped, one that
was stopped goes on. On one core of a CPU: ``OMP_NUM_THREADS=1 taskset -c 1 nice -n -10 python -m ...``; a GPU reads
more at a time: ``--recipe batch_tokens=8192``. A base that knows domains, to compare: ``base --taught news legal``.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from samner.backbones.language_model.token_classification.backbone import add_own, save_base_weights
from samner.backbones.language_model.token_classification.inputs import Reader
from samner.backbones.language_model.token_classification.network import Heads
from samner.backbones.language_model.token_classification.training import Recipe, train_adapter, train_base
from samner.backbones.training import TrainingData, TrainingSet
from samner.cli.output import guarded
from samner.data import read_examples
from samner.files import read_json
from samner.precision import fastest_dtype
from samner.training import training_set

HERE = Path(__file__).parent
SETTINGS = yaml.safe_load((HERE / "lessons.yaml").read_text(encoding="utf-8"))
DOMAINS: dict[str, list[str]] = {
    name: list(sets)
    for name, sets in yaml.safe_load((HERE.parent / "pool_data.yaml").read_text(encoding="utf-8"))["domains"].items()
    if name != "encyclopedia"  # taught to the base
}
log = logging.getLogger("smollm2")


def paraphrases() -> dict[str, list[str]]:
    """Other ways to say a type, from the project's own list."""
    return dict(yaml.safe_load((HERE.parent / "paraphrases.yaml").read_text(encoding="utf-8")))


def read_set(folder: Path, name: str, split: str, weight: float = 1.0, most: int | None = None) -> TrainingSet:
    """A split of a data set with the types of its train split."""
    types = None if split == "train" else read_set(folder, name, "train").types
    examples = read_examples(folder / f"{split}.jsonl")[:most]
    found = training_set(name, examples, types)
    return TrainingSet(name, found.examples, found.types, weight)


def data_of(root: Path, names: Sequence[str], dev: bool = True) -> TrainingData:
    """Data sets of domains with their dev splits."""
    train = [read_set(root / name, name, "train") for name in names]
    return TrainingData(train, [read_set(root / n, n, "dev") for n in names] if dev else (), (), paraphrases())


def base_data(root: Path, wordnet: Path, domains: Sequence[str]) -> TrainingData:
    """What teaches the base: its own sets, and those of domains if it is to know any."""
    sets = [read_set(root / name, name, "train") for domain in domains for name in DOMAINS[domain]]
    for name, entry in SETTINGS["base"]["sets"].items():
        folder = wordnet if name == "wordnet" else root / name
        sets.append(read_set(folder, name, "train", entry.get("weight", 1.0)))
    return TrainingData(sets, (), (), paraphrases())


def recipe_of(kind: str, arguments: argparse.Namespace) -> Recipe:
    """The recipe of a kind of part, as lessons.yaml and the command say."""
    changes = {name: yaml.safe_load(value) for name, value in (item.split("=", 1) for item in arguments.recipe)}
    return Recipe.of(SETTINGS[kind]["recipe"] | changes | {"max_minutes": arguments.minutes}, "--recipe")


def load(folder: Path, base: Path | None, device: str) -> tuple[Any, Heads, Reader]:
    """The model without its own head, the heads and the reader; the base's own adapter, if there is one, is fused."""
    from transformers import AutoModel, AutoTokenizer

    # written out, attention trains faster on a CPU than torch's fused kernel: its backward pass in bfloat16 is slow
    attention = "eager" if device == "cpu" else "sdpa"
    model = AutoModel.from_pretrained(folder, attn_implementation=attention, dtype=torch.float32).to(device)
    heads = Heads(model.config.hidden_size).to(device)
    if base is not None:
        tensors = load_file(base / "base.safetensors", device=device)
        recipe = read_json(base / "record.json")["recipe"]
        add_own(model, heads, tensors, recipe["alpha"] / recipe["rank"])
    hold(model, fastest_dtype(device))
    return model, heads, Reader(AutoTokenizer.from_pretrained(folder))


def hold(model: Any, dtype: torch.dtype) -> None:
    """Keep the frozen linear layers in the type they are multiplied in, so that no step converts them."""
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.to(dtype)


def write_record(folder: Path, recipe: Recipe, outcome: Any, data: TrainingData, device: str) -> None:
    """How a part was trained, as JSON."""
    record = {
        "recipe": recipe.model_dump(),
        "outcome": asdict(outcome),
        "precision": str(fastest_dtype(device)),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else "one CPU core",
        "types": {s.name: [t.name for t in s.types] for s in data.train},
        "texts": {s.name: len(s.examples) for s in data.train},
    }
    (folder / "record.json").write_text(json.dumps(record, indent=1), encoding="utf-8")


@guarded()
def main() -> None:
    """Train the parts that are named and not finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["base", "experts", "unified", *DOMAINS])
    parser.add_argument("--minutes", type=float, help="time box of each part")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True, help="folder of the dequantised SmolLM2")
    parser.add_argument("--recipe", nargs="*", default=[], metavar="NAME=VALUE", help="in place of the lesson's")
    parser.add_argument("--taught", nargs="*", default=[], choices=[*DOMAINS], help="domains that teach the base, too")
    parser.add_argument("--wordnet", type=Path, default=Path("runs/wordnet"))
    parser.add_argument("--runs", type=Path, default=Path("runs/smollm2"))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    runs: Path = arguments.runs
    runs.mkdir(parents=True, exist_ok=True)
    base = runs / "base"
    if arguments.part == "base":
        if (base / "record.json").is_file():
            return
        data = base_data(arguments.data, arguments.wordnet, arguments.taught)
        recipe = recipe_of("base", arguments)
        model, heads, reader = load(arguments.model, None, arguments.device)
        log.info("base: %d sets, %d texts", len(data.train), sum(len(s.examples) for s in data.train))
        own, outcome = train_base(model, heads, reader, data, recipe, run=runs / ".base", resume=True)
        base.mkdir(exist_ok=True)
        save_base_weights(base / "base.safetensors", heads, own)
        write_record(base, recipe, outcome, data, arguments.device)
        return
    parts = list(DOMAINS) if arguments.part == "experts" else [arguments.part]
    for part in parts:
        folder = runs / "unified" if part == "unified" else runs / "experts" / part
        if (folder / "record.json").is_file():
            continue
        kind = "unified" if part == "unified" else "expert"
        names = [name for sets in DOMAINS.values() for name in sets] if part == "unified" else DOMAINS[part]
        data = data_of(arguments.data, names)
        recipe = recipe_of(kind, arguments)
        model, heads, reader = load(arguments.model, base, arguments.device)
        folder.mkdir(parents=True, exist_ok=True)
        log.info("%s: %s", part, ", ".join(names))
        outcome = train_adapter(
            model,
            heads,
            reader,
            data,
            recipe,
            folder,
            base_name="smollm2",
            run=runs / f".{part}",
            resume=True,
        )
        log.info("%s: best dev F1 %.3f at step %d", part, outcome.best_score or 0, outcome.best_step)
        write_record(folder, recipe, outcome, data, arguments.device)


if __name__ == "__main__":
    main()
