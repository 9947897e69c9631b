"""The whole path on language models: select and merge experts, and let two task models answer in JSON.

python -m examples.demo_llm

The pool is the demonstration LM that ships with samner: a Llama of two million parameters and six LoRA experts,
trained from nothing on sentences that the project makes up. The same calls serve a pool over any causal LM.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from importlib import resources

from rich.console import Console

from examples.demo import marked, selection_table
from samner import ExpertPool, adapt
from samner.backbones.language_model.backbone import CausalBackbone
from samner.backbones.language_model.generation.ask import Engine, Generated, Question
from samner.cli.runtime import start

LABELS = ["person", "company", "drug", "disease", "chemical"]
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


def main() -> None:
    device = start("auto")  # quietens the libraries below
    console = Console(width=110)
    samples = resources.files("samner") / "samples" / "demo_lm.txt"
    texts = samples.read_text(encoding="utf-8").splitlines()
    started = time.perf_counter()
    pool = ExpertPool.load("demo-lm", device)
    backbone = pool.backbone
    assert isinstance(backbone, CausalBackbone)

    console.print(f"Adapting to {len(texts)} unlabelled texts and the types {', '.join(LABELS)} ...")
    model = adapt(pool, texts, LABELS)
    console.print(selection_table(model))
    sampling = model.selections["sampling"]
    console.print(
        f"Sampling: {len(sampling.sample)} texts, {len(sampling.pseudo_labels)} entities that at least "
        f"{sampling.votes_needed} experts agree on. {sampling.note}"
    )
    console.print(f"Selected and merged in {time.perf_counter() - started:.1f} s.\n")

    listening = backbone.engine = Listening(backbone.engine)
    answers = model.predict(texts[:SHOWN])
    console.print("What the first task model is asked:\n")
    console.print(listening.heard[0][0].text, style="dim", markup=False)
    names = {merge.model: name for name, merge in model.merges.items()}
    for text, entities in zip(texts, answers, strict=False):
        console.print()
        for question, generated in listening.heard:
            if question.text.endswith(text):
                console.print(f"{names[question.model]:>10}: {generated.text}", markup=False)
        console.print(f"{'union':>10}: ", marked(text, entities, LABELS), sep="")
    counts = sum(backbone.statistics.values(), start=Counter())
    console.print(
        f"\n{counts['answers']} answers so far, {counts['valid']} of them valid JSON; "
        f"{time.perf_counter() - started:.1f} s in all."
    )


if __name__ == "__main__":
    main()
