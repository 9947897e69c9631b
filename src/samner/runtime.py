"""Exported models without torch: onnxruntime, tokenizers and numpy alone answer from what ``samner export`` wrote.

In comes a folder of ``samner export --to onnx``, out go the entities that the task model finds. May import what is
below it, which is the ground floor; nothing of it loads torch or transformers.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from samner import arguments
from samner.display import brief, reason
from samner.entities import Entity, EntityType, entity_types
from samner.errors import ModelError, SamnerError
from samner.files import check_format, inside, read_json, sha256, user_path, values_of
from samner.recogniser import Merge, Recogniser
from samner.spans import decode
from samner.subwords import SubwordTokenizer, pad
from samner.thresholds import Calibration
from samner.windows import batches, read_windows
from samner.words import Tokens, sound

MANIFEST = "export.json"
SETTINGS = "runtime.json"
READER = "model.onnx"
TYPE_READER = "types.onnx"
TOKENIZER = "tokenizer.json"
VECTORS = "vectors.npy"
FILES = (SETTINGS, READER, TYPE_READER, TOKENIZER, VECTORS)
"""What a folder holds beside its manifest and card."""

_BATCH_TOKENS = 1024
_CACHED_TYPES = 10_000
_Floats = npt.NDArray[np.float32]


def is_exported(folder: str | Path) -> bool:
    """Whether a folder is one that ``samner export --to onnx`` wrote."""
    path = user_path(folder) / MANIFEST
    return path.is_file() and read_json(path).get("to") == "onnx"


class ExportedModel(Recogniser):
    """A task model as ``samner export --to onnx`` wrote it; safe for threads. ``load`` reads it.

    It is asked as a ``samner.TaskModel`` is.

    Args:
        backbone: Runs the graphs.
        manifest: What the folder's ``export.json`` says.
    """

    def __init__(self, backbone: OnnxBackbone, manifest: Mapping[str, Any]) -> None:
        self.backbone = backbone
        self.types = entity_types(EntityType(t["name"], t["description"]) for t in manifest["labels"])
        self.mode = str(manifest["mode"])
        self.merges = {
            str(strategy): Merge(dict(part["experts"]), name)
            for name, part in manifest["parts"].items()
            for strategy in part["strategies"]
        }
        self.threshold = arguments.probability(manifest["threshold"], "threshold")
        self.thresholds = {
            str(label): arguments.probability(value, f"threshold of {label!r}")
            for label, value in manifest["thresholds"].items()
        }
        self.calibration = Calibration.from_dict(manifest["calibration"]) if "calibration" in manifest else None

    def __repr__(self) -> str:
        return f"<ExportedModel {self.mode} for {brief([t.name for t in self.types])}>"

    @classmethod
    def load(cls, folder: str | Path, *, threads: int | None = None) -> ExportedModel:
        """Read a model from its folder.

        Args:
            folder: That ``samner export --to onnx`` wrote.
            threads: How many work at a text; by default as many as there are cores, or ``OMP_NUM_THREADS`` says.

        Raises:
            ModelError: If there is none, or a file is missing, damaged or not as the manifest says.
        """
        folder = user_path(folder)
        path = folder / MANIFEST
        if not is_exported(folder):
            raise ModelError(f"{folder}: holds no model that 'samner export --to onnx' wrote")
        manifest = read_json(path)
        check_format(path, manifest)
        try:
            listed = manifest["files"]
            for name in FILES:
                file = inside(folder, name)
                if not file.is_file():
                    raise ModelError(f"{file}: missing")
                if sha256(file) != listed[name]:
                    raise ModelError(f"{file}: damaged or changed, its SHA-256 is not the one in {MANIFEST}")
            backbone = OnnxBackbone(folder, list(manifest["parts"]), str(listed[READER]), threads)
            with values_of(path):
                model = cls(backbone, manifest)
                model._merges(model.mode)
            return model
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ModelError(f"{path}: not an export's manifest ({type(error).__name__}: {error})") from error


class OnnxBackbone:
    """The graphs of an export, which answer for all of its parts at once.

    Args:
        folder: Holds ``FILES``.
        parts: Names of the task models, each an output of the graph.
        fingerprint: Of the weights.
        threads: As of ``ExportedModel.load``.

    Attributes:
        max_tokens: The most tokens that a text passed to ``read`` may have.
    """

    def __init__(self, folder: Path, parts: Sequence[str], fingerprint: str, threads: int | None = None) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self.threads = threads or int(os.environ.get("OMP_NUM_THREADS", 0))
        settings = read_json(folder / SETTINGS)
        self.max_tokens = int(settings["tokens"])
        self.tokenizer = SubwordTokenizer(
            _tokenizer(folder), settings["prefix"], settings["suffix"], int(settings["padding"])
        )
        vectors = np.load(folder / VECTORS, allow_pickle=False)
        self._vectors: dict[str, _Floats] = dict(zip(settings["prompts"], vectors, strict=True))
        self._taught = {part: vectors[settings["taught"][part]] for part in parts}
        self._prompt_tokens = int(settings["prompt_tokens"])
        self._novelty = float(settings["novelty"])
        self._session = _session(folder / READER, self.threads)
        self._types: tuple[Any, Tokenizer] | None = None
        self._lock = threading.Lock()

    def predict(
        self,
        texts: Sequence[str],
        types: Sequence[EntityType],
        models: Sequence[str],
        threshold: float,
        on_done: Callable[[int], None] | None = None,
    ) -> dict[str, list[list[Entity]]]:
        """See ``Backbone.predict``."""
        return read_windows(self, texts, types, models, threshold, on_done)

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """See ``Backbone.tokenize``."""
        return self.tokenizer(texts)

    def read(
        self, texts: Sequence[Tokens], types: Sequence[EntityType], models: Sequence[str], threshold: float
    ) -> dict[str, list[list[Entity]]]:
        """See ``Backbone.read``."""
        import onnxruntime

        vectors = self.type_vectors([t.prompt for t in types])
        bonus = np.stack([self._bonus(part, vectors) for part in self._taught])
        result: dict[str, list[list[Entity]]] = {model: [[] for _ in texts] for model in models}
        # of the parts that nobody asked for, nothing is computed
        options = onnxruntime.RunOptions()
        options.only_execute_path_to_fetches = True
        for rows in batches([tokens.cost * len(models) for tokens in texts], _BATCH_TOKENS):
            group = [texts[i] for i in rows]
            padded = pad(group, self.tokenizer)
            given = {
                "input_ids": padded.input_ids,
                "attention_mask": padded.attention_mask,
                "pooling": padded.pooling(),
                "types": vectors,
                "bonus": bonus,
            }
            for model, probabilities in zip(models, self._session.run(models, given, options), strict=True):
                for i, tokens, its in zip(rows, group, probabilities, strict=True):
                    result[model][i] = decode(its[: len(tokens.words)], tokens.words, types, threshold)
        return result

    def type_vectors(self, prompts: Sequence[str]) -> _Floats:
        """L x H unit embeddings of type prompts; those the model was made for are known, others are read once."""
        if len(self._vectors) > _CACHED_TYPES:
            self._vectors = {}  # not cleared: another thread may be reading it
        cache = self._vectors
        if new := [prompt for prompt in dict.fromkeys(prompts) if prompt not in cache]:
            cache.update(zip(new, self._read_types(new), strict=True))
        return np.stack([cache[prompt] for prompt in prompts])

    def _read_types(self, prompts: Sequence[str]) -> _Floats:
        with self._lock:
            if self._types is None:
                tokenizer = _tokenizer(self.folder)
                tokenizer.enable_truncation(self._prompt_tokens)
                tokenizer.enable_padding(pad_id=self.tokenizer.pad_id)
                self._types = _session(self.folder / TYPE_READER, self.threads), tokenizer
            session, tokenizer = self._types
        encoded = tokenizer.encode_batch([sound(prompt) for prompt in prompts])
        given = {
            "input_ids": np.array([one.ids for one in encoded], dtype=np.int64),
            "attention_mask": np.array([one.attention_mask for one in encoded], dtype=np.int64),
        }
        vectors: _Floats = session.run(None, given)[0]
        return vectors

    def _bonus(self, part: str, vectors: _Floats) -> _Floats:
        """What the logits of the types with these vectors gain, as they are novel to a part."""
        taught = self._taught[part]
        if not len(taught):
            return np.zeros(len(vectors), dtype=np.float32)
        nearest = (vectors @ taught.T).max(axis=1).clip(0, 1)
        gained: _Floats = (self._novelty * np.minimum(1 - nearest, nearest)).astype(np.float32)
        return gained


def _tokenizer(folder: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(folder / TOKENIZER))
    except Exception as error:  # the library raises no narrower one
        raise ModelError(f"{folder / TOKENIZER}: not a tokenizer ({reason(error)})") from error


def _session(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ModuleNotFoundError as error:
        raise SamnerError("exported models are run by onnxruntime: pip install onnxruntime") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of many kinds, which share no other class
        raise ModelError(
            f"{path}: not a graph that onnxruntime {onnxruntime.__version__} runs ({reason(error)})"
        ) from error
