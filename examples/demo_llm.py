"""The paper's way: a language model that answers in JSON, its experts selected and merged, answers free and bound.

python -m examples.demo_llm [POOL]

By default the pool `smollm2-generation`, over SmolLM2-135M-Instruct (`make demo-llm` installs that). Any other pool
over a causal language model will do.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from importlib import resources

from rich.console import Console

from examples.demo import LABELS, marked, sampling_line, selection_table
from samner import ExpertPool, adapt
from samner.backbones.language_model.backbone import CausalBackbone
from samner.backbones.language_model.generation.ask import Engine, Generated, Question
from samner.cli.output import guarded
from samner.cli.runtime import start

POOL = "smollm2-generation"
SHOWN = 5
"""Texts whose answers are shown."""
SAMPLES = 4
"""Texts that every expert answers for selection by sampling: fewer than usual, to be done in two minutes."""


class Listening:
    """An engine that remembers what another one was asked and answered."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.heard: list[tuple[Question, Generated]] = []

    def answer(self, questions: Sequence[Question]) -> list[Generated]:
        answers = self.engine.answer(questions)
        self.heard += zip(questions, answers, strict=True)
        return answers


@guarded()
def main() -> None:
    device = start("auto")  # quietens the libraries below
    console = Console(width=110)
    name = sys.argv[1] if len(sys.argv) > 1 else POOL
    texts = (resources.files("samner") / "samples" / "pharma_news.txt").read_text(encoding="utf-8").splitlines()
    started = time.perf_counter()
    pool = ExpertPool.load(name, device)
    backbone = pool.backbone
    if not isinstance(backbone, CausalBackbone):
        raise SystemExit(f"{name} is no pool over a language model that answers: see python -m examples.demo")

    console.print(f"Adapting the pool {name} to {len(texts)} unlabelled texts and the types {', '.join(LABELS)} ...")
    model = adapt(pool, texts, LABELS, samples=SAMPLES)
    console.print(selection_table(model))
    console.print(sampling_line(model))
    console.print(f"Selected and merged in {time.perf_counter() - started:.1f} s.\n")

    listening = backbone.engine = Listening(backbone.engine)
    found = model.predict(texts[:SHOWN])
    backbone.card = backbone.card.model_copy(update={"constrained": False})
    before = sum(backbone.statistics.values(), start=Counter())
    model.predict(texts[:SHOWN])
    free = sum(backbone.statistics.values(), start=Counter()) - before
    console.print("What a merged model is asked:\n")
    console.print(listening.heard[0][0].text, style="dim", markup=False)
    names: dict[str, str] = {}
    for strategy, merge in model.merges.items():  # both strategies may have chosen the same experts
        names[merge.model] = f"{names[merge.model]}, {strategy}" if merge.model in names else strategy
    for text, entities in zip(texts, found, strict=False):
        console.print()
        for question, generated in sorted(listening.heard, key=lambda item: list(names).index(item[0].model)):
            if text in question.text:
                how = "bound" if question.constraint else "free"
                console.print(f"{names[question.model]}, {how}: {generated.text}", markup=False)
        console.print("union: ", marked(text, entities, LABELS), sep="")
    console.print(
        f"\n{free['valid']} of {free['answers']} free answers are valid JSON, bound ones all; "
        f"{time.perf_counter() - started:.1f} s in all."
    )


if __name__ == "__main__":
    main()
