"""Measure how fast a language model answers in JSON, here and elsewhere; write docs/benchmarks.md.

python -m performance.generation
python -m performance.generation --gguf base.gguf    # llama.cpp as well: pip install xllamacpp

The base of the pool ``smollm2-generation`` is asked about the sample texts, one at a time and all at once: by
transformers, whose answers nothing binds; by samner, without one thing after the other that makes it faster; and by
llama.cpp, bound by samner's grammar. ``base.gguf`` is what llama.cpp's convert_hf_to_gguf.py makes of the fused base.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from performance.adapt import sample
from performance.llm import LABELS
from performance.merge.measure import ROOT
from performance.merge.report import machine, table
from samner import ExpertPool
from samner.backbones import BASE, load_backbone
from samner.backbones.language_model.engines import local
from samner.backbones.language_model.generation.answer_format import Constraint
from samner.backbones.language_model.generation.ask import Question
from samner.benchmark.report.document import check_part, write_part
from samner.cli.output import guarded
from samner.entities import EntityType
from samner.errors import SamnerError
from samner.precision import VARIABLE, precision

PAGE, PART = ROOT / "docs" / "benchmarks.md", "performance.generation"
POOL, TEXTS = "smollm2-generation", 8
Ask = Callable[[Sequence[Question]], list[tuple[object, ...]]]
"""Asks questions together; gives the tokens of each answer."""


@guarded()
def main(arguments: Sequence[str] | None = None) -> str:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pool", default=POOL, help="a pool over a causal language model; of another one it is printed"
    )
    parser.add_argument("--gguf", type=Path, help="the fused base as llama.cpp's file")
    given = parser.parse_args(arguments)
    if given.pool == POOL:
        check_part(PAGE, PART)
    warnings.filterwarnings("ignore")
    pool = ExpertPool.load(given.pool)
    backbone: Any = pool.backbone
    types = [EntityType(label) for label in LABELS.split(",")]
    questions = [
        Question(BASE, backbone.prompt.questions(text, types)[0], Constraint.of(backbone.prompt.format, types, text))
        for text in sample()[:TEXTS]
    ]

    rows = [row(f"transformers, {precision()}, free", lambda asked: free(backbone, asked), questions)]
    with patch.object(backbone.engine, "_ahead", False):
        rows.append(row(f"samner, {precision()}, token by token", by(backbone), questions))
    with patch.object(local, "_FEW", 0), patch.object(local, "_SHARED", sys.maxsize):
        rows.append(row("and what the grammar forces in one pass", by(backbone), questions))
    with patch.object(local, "_FEW", 0):
        rows.append(row("and what all questions begin with once", by(backbone), questions))
    rows.append(row("and drafts: samner as it is", by(backbone), questions))
    with patch.dict(os.environ, {VARIABLE: "float32"}):
        rows.append(row("the same in float32", by(load_backbone(pool.base_folder)), questions))
    if given.gguf:
        with served(given.gguf) as url:
            remote: Any = load_backbone(pool.base_folder, url)
            remote.predict(sample()[:1], types, [BASE], 1.0)  # finds what the base is called there
            rows.append(row("llama.cpp, float16, bound", by(remote), questions))
    header = ["", *(f"{what}, {how}" for how in ("one at a time", "together") for what in ("tokens/s", "texts/s"))]
    header.append("other answers together")
    text = f"{machine()} One thread; of processor time.\n\n{table(header, rows)}"
    print(text)
    if given.pool == POOL:
        write_part(PAGE, PART, text)
    return text


def row(title: str, ask: Ask, questions: Sequence[Question]) -> list[str]:
    """Tokens and texts a second of processor time, one at a time and together, and how many answers that changes."""
    cells = [title]
    ask(questions[:1])  # what is made once
    said = []
    for groups in ([[one] for one in questions], [list(questions)]):
        started = time.process_time()
        said.append([answer for group in groups for answer in ask(group)])
        took = time.process_time() - started
        cells += [f"{sum(map(len, said[-1])) / took:.1f}", f"{len(questions) / took:.2f}"]
    cells.append(f"{sum(one != other for one, other in zip(*said, strict=True))} of {len(questions)}")
    print(*cells, sep=" | ", file=sys.stderr)
    return cells


def by(backbone: Any) -> Ask:
    """Ask a backbone's engine."""
    return lambda questions: [answer.token_texts for answer in backbone.engine.answer(questions)]


def free(backbone: Any, questions: Sequence[Question]) -> list[tuple[object, ...]]:
    """Ask by transformers' own decoding."""
    model, pad = backbone.model, backbone.model.generation_config.pad_token_id
    ids = [backbone.engine.encode(question.text) for question in questions]
    longest = max(map(len, ids))
    with torch.inference_mode(), backbone.mixed.rows([BASE] * len(ids)):
        answers = model.generate(
            input_ids=torch.tensor([[pad] * (longest - len(its)) + its for its in ids]),
            attention_mask=torch.tensor([[0] * (longest - len(its)) + [1] * len(its) for its in ids]),
            max_new_tokens=backbone.card.max_new_tokens,
        )[:, longest:]
    return [tuple(token for token in answer if token != pad) for answer in answers.tolist()]


@contextmanager
def served(gguf: Path) -> Iterator[str]:
    """llama.cpp's server in this process, so that its processor time counts."""
    try:
        import xllamacpp
    except ImportError as error:
        raise SamnerError("--gguf needs llama.cpp: pip install xllamacpp") from error
    if not gguf.is_file():
        raise SamnerError(f"{gguf}: no such file")
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_ctx, params.n_parallel, params.warmup = 1024 * TEXTS, TEXTS, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.verbosity = 0
    server = xllamacpp.Server(params)
    yield f"{server.listening_address}/v1"


if __name__ == "__main__":
    main(sys.argv[1:])
