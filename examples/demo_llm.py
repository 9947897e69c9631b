"""The whole path on language models: select and merge experts, and let two task models answer in JSON.

python -m examples.demo_llm [POOL]

By default the pool is the demonstration LM that ships with samner: a Llama of two million parameters and six LoRA
experts, trained from nothing on sentences that the project makes up, which it is shown on. Any other pool over a
causal LM reads news of medicine and business, and may take minutes.
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

DEMO_LM, DEMO_LABELS = "demo-lm", ["person", "company", "drug", "disease", "chemical"]
SHOWN = 4


class Listening:
    """An engine that remembers what another one was asked and answered."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.heard: list[tuple[Question, Generated]] = []

    def answer(self, questions: Sequence[Question]) -> list[Generated]:
        answers = self.engine.answer(questions)
        self.heard += zip(questions, answers, strict=True)
        return answers


def sample(pool: str) -> tuple[list[str], list[str]]:
    """Texts that a pool can read, and the types to look for."""
    file, labels = ("demo_lm.txt", DEMO_LABELS) if pool == DEMO_LM else ("pharma_news.txt", LABELS)
    return (resources.files("samner") / "samples" / file).read_text(encoding="utf-8").splitlines(), labels


@guarded()
def main() -> None:
    device = start("auto")  # quietens the libraries below
    console = Console(width=110)
    name = sys.argv[1] if len(sys.argv) > 1 else DEMO_LM
    texts, labels = sample(name)
    started = time.perf_counter()
    pool = ExpertPool.load(name, device)
    backbone = pool.backbone
    if not isinstance(backbone, CausalBackbone):
        raise SystemExit(f"{name} is no pool over a language model that answers: see python -m examples.demo")

    console.print(f"Adapting the pool {name} to {len(texts)} unlabelled texts and the types {', '.join(labels)} ...")
    model = adapt(pool, texts, labels)
    console.print(selection_table(model))
    console.print(sampling_line(model))
    console.print(f"Selected and merged in {time.perf_counter() - started:.1f} s.\n")

    listening = backbone.engine = Listening(backbone.engine)
    answers = model.predict(texts[:SHOWN])
    console.print("What the first task model is asked:\n")
    console.print(listening.heard[0][0].text, style="dim", markup=False)
    names: dict[str, str] = {}
    for strategy, merge in model.merges.items():  # both strategies may have chosen the same experts
        names[merge.model] = f"{names[merge.model]}, {strategy}" if merge.model in names else strategy
    for text, entities in zip(texts, answers, strict=False):
        console.print()
        for question, generated in listening.heard:
            if question.text.endswith(text):
                console.print(f"{names[question.model]:>10}: {generated.text}", markup=False)
        console.print(f"{'union':>10}: ", marked(text, entities, labels), sep="")
    counts = sum(backbone.statistics.values(), start=Counter())
    console.print(
        f"\n{counts['answers']} answers so far, {counts['valid']} of them valid JSON; "
        f"{time.perf_counter() - started:.1f} s in all."
    )


if __name__ == "__main__":
    main()
