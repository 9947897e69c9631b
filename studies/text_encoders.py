"""Select by similarity with other text encoders than MiniLM, whose embeddings are on the experts' cards.

    python -m studies.text_encoders docs/benchmark.yaml --data ../shared/data --texts 200

Merges the three most similar experts, as the benchmark's arm ``similarity`` does. The cosine is of embeddings by

- ``minilm``: the cards' own.
- ``base``: mean-pooled states of the pool's trained base encoder; only for a pool of the encoder family.
- ``lsa``: TF-IDF and its 100 largest singular directions (latent semantic analysis), fitted on the experts' texts.

Prints the experts chosen and strict span micro-F1 for every target. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from samner.adaptation import merge_experts, merge_parameters
from samner.backbones import load_backbone
from samner.backbones.encoder.backbone import EncoderBackbone
from samner.backbones.encoder.network import word_vectors
from samner.backbones.encoder.tokens import collate
from samner.benchmark.answers import TargetTexts, read_target
from samner.benchmark.config import read_benchmark
from samner.cli.output import guarded
from samner.embedding import spread, unit_mean
from samner.pool import ExpertPool
from samner.scoring import micro_f1
from samner.selection import select_by_similarity
from samner.spans import flat
from samner.words import windows
from studies.training_data import POOL_DATA, Datasets, domains

Encoder = Callable[[Sequence[str]], np.ndarray]
"""Texts to vectors of length 1."""

EXPERTS, BATCH, DIRECTIONS = 3, 32, 100


def base_states(pool: ExpertPool) -> Encoder:
    backbone = load_backbone(pool.base_folder, pool.device)  # one without experts on it
    assert isinstance(backbone, EncoderBackbone)

    @torch.inference_mode()
    def encode(texts: Sequence[str]) -> np.ndarray:
        # as sentence encoders do: of a long text, what one pass can read
        cut = (one.cut(windows(one.words, backbone.max_tokens, 0)[0]) for one in backbone.tokenize(texts) if one.words)
        tokens = sorted(cut, key=lambda one: one.cost)
        rows = []
        for first in range(0, len(tokens), BATCH):
            batch = collate(tokens[first : first + BATCH], backbone.tokenizer).to(backbone.device)
            means = word_vectors(backbone.encoder, batch).sum(1) / batch.word_mask.sum(1, keepdim=True)
            rows.append(torch.nn.functional.normalize(means, dim=1).cpu().numpy())
        return np.concatenate(rows)

    return encode


def lsa(texts: Mapping[str, Sequence[str]]) -> Encoder:
    corpus = [text for one in texts.values() for text in one]
    words = TfidfVectorizer(sublinear_tf=True, stop_words="english")
    weights = words.fit_transform(corpus)
    directions = TruncatedSVD(min(DIRECTIONS, weights.shape[1] - 1, len(corpus) - 1), random_state=0).fit(weights)
    pipeline = make_pipeline(words, directions, Normalizer())
    return lambda found: np.asarray(pipeline.transform(found), dtype=np.float32)


def f1(pool: ExpertPool, chosen: Sequence[str], target: TargetTexts, texts: int) -> float:
    parameters = merge_parameters(pool, "ties", {"density": 0.2})
    merged = merge_experts(pool, dict.fromkeys(sorted(chosen), 1.0), "ties", parameters)
    read = [example.text for example in target.test[:texts]]
    found = pool.backbone.predict(read, target.types, [merged.model], pool.backbone.threshold)[merged.model]
    labels = {entity_type.name for entity_type in target.types}
    return 100 * micro_f1(target.scored[:texts], [flat(entities) for entities in found], labels)


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", type=Path, help="names the targets")
    parser.add_argument("--pool", default="builtin")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds target/ and train/")
    parser.add_argument("--texts", type=int, default=200, help="test texts of each target to score on")
    parser.add_argument("--settings", type=Path, default=POOL_DATA)
    arguments = parser.parse_args()

    pool, data = ExpertPool.load(arguments.pool), Datasets(arguments.data)
    texts: dict[str, list[str]] = {}
    for domain, names in domains(arguments.settings, list(pool.experts)).items():
        sets = [[example.text for example in data.examples(name, "train")] for name in names]
        texts[domain] = [text for one in sets for text in spread(one) if text.strip()]
    encoders = {"base": base_states(pool), "lsa": lsa(texts)}
    experts = {kind: {d: unit_mean(encode(t)) for d, t in texts.items()} for kind, encode in encoders.items()}
    scores: dict[str, list[float]] = {}
    for name, settings in read_benchmark(arguments.benchmark, data=arguments.data).targets.items():
        target = read_target(name, settings)
        chosen = {"minilm": select_by_similarity(pool.experts, target.unlabelled, EXPERTS).chosen}
        for kind, encode in encoders.items():
            own = unit_mean(encode([text for text in target.unlabelled if text.strip()]))
            cosine = {domain: float(vector @ own) for domain, vector in experts[kind].items()}
            chosen[kind] = tuple(sorted(cosine, key=lambda one: (-cosine[one], one))[:EXPERTS])
        for kind, names in chosen.items():
            scores.setdefault(kind, []).append(f1(pool, names, target, arguments.texts))
            print(f"{name}, {kind}: {scores[kind][-1]:.1f} ({', '.join(names)})", flush=True)
    for kind, values in scores.items():
        print(f"mean, {kind}: {np.mean(values):.1f}")


if __name__ == "__main__":
    main()
