"""The cards of a pool (``pool.json``) and of an expert (``expert.json``): what is known without loading weights.

From them are made the model cards (``README.md``) for people and a model hub.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import AfterValidator, Field, FiniteFloat, ValidationError

from samner.display import brief, markdown
from samner.errors import PoolError, SamnerError
from samner.files import read_json, sha256, write_json
from samner.hub import HUB_ID
from samner.references import MINILM
from samner.settings import Format, Settings, validated

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

CARD = "expert.json"
POOL_CARD = "pool.json"
EXPERTS, BASELINES = "experts", "baselines"
"""Folders of a pool, in which each expert has one."""
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(name: object) -> str:
    """The name, if it may be used for an expert.

    Raises:
        PoolError: If it could not be a plain folder name everywhere, or means the base.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == "base":
        said = brief(name) if isinstance(name, str) else repr(name)
        raise PoolError(f"{said} cannot name an expert: use letters, digits, '.', '-' and '_', up to 100, not 'base'")
    return name


class DataSource(Settings):
    """A data set an expert was trained on, with its licence as the source states it."""

    name: str
    licence: str = "not stated"
    texts: int = 0


class ExpertCard(Settings):
    """What the pool knows of an expert without loading its weights.

    Args:
        format: Of the card.
        name: Unique in its pool; letters, digits, dot, dash, underscore.
        base: Fingerprint of the base model it was trained on.
        types: The entity types it was trained for.
        embedding: Its domain embedding: the normalised mean of the sentence embeddings of its training texts.
        embedding_model: Reference of the sentence encoder that made it.
        description: One line for people.
        data: The data sets it was trained on.
        training: Settings and outcome of the training.
        files: SHA-256 of the adapter's files by name.
        digest: SHA-256 of the other entries but for the name, by which ``ExpertPool.verify`` knows a changed one.
    """

    format: Format = 1
    name: Annotated[str, AfterValidator(check_name)]
    base: str
    types: tuple[str, ...]
    embedding: Annotated[tuple[FiniteFloat, ...], Field(min_length=1)]
    embedding_model: str = MINILM
    description: str = ""
    data: tuple[DataSource, ...] = ()
    training: Mapping[str, Any] = {}
    files: Mapping[str, str] = {}
    digest: str = ""

    @property
    def vector(self) -> npt.NDArray[np.float32]:
        """The domain embedding as an array."""
        return np.asarray(self.embedding, dtype=np.float32)

    @classmethod
    def read(cls, folder: Path) -> ExpertCard:
        """Read the card in an expert's folder.

        Raises:
            PoolError: If there is none, an entry is missing or of the wrong kind, or it is of another format.
        """
        path = folder / CARD
        with suppress(OSError, ValidationError, PoolError):
            return cls.model_validate_json(path.read_bytes())  # at once; what is wrong is said by the longer way
        if not path.is_file():
            raise PoolError(f"{path}: no such file, so {folder} is not an expert")
        try:
            return validated(cls, read_json(path), str(path))
        except PoolError as error:
            raise PoolError(f"{path}: {error}") from error
        except SamnerError as error:
            raise PoolError(str(error)) from error

    def write(self, folder: Path) -> ExpertCard:
        """Write the card, and a model card for people, beside the adapter's files; returns it as written.

        Args:
            folder: Holds the adapter's files.
        """
        files = {name: sha256(folder / name) for name in ADAPTER_FILES}
        card = self.model_copy(update={"files": files, "embedding": tuple(round(x, 6) for x in self.embedding)})
        values = card.model_dump(mode="json")
        card = card.model_copy(update={"digest": _digest(values)})
        write_json(folder / CARD, {**values, "digest": card.digest})
        expert_model_card(card).save(folder / "README.md")
        return card


def changed_card(folder: Path) -> Iterator[str]:
    """A line if an expert's card is not as it was written; none if it is, or was written before cards told."""
    values = read_json(folder / CARD)
    if values.get("digest", "") not in ("", _digest(values)):
        yield (
            f"{folder / CARD}: was changed since it was written, its SHA-256 is not the one that it names; if that "
            'was meant, remove the entry "digest"'
        )


def _digest(values: Mapping[str, Any]) -> str:
    """SHA-256 of a card's entries but for the name, which is the folder's and may change with it."""
    rest = {key: value for key, value in values.items() if key not in ("digest", "name")}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


class PoolCard(Settings):
    """What a pool is made of.

    Args:
        format: Of the card.
        base: The folder of the base model in the pool's.
        merge: Parameters of merge methods that were found to suit the experts, such as ``lam``.
    """

    format: Format = 1
    base: Annotated[str, Field(min_length=1)]
    merge: Mapping[str, bool | int | float | str] = {}

    @classmethod
    def read(cls, folder: Path) -> PoolCard:
        """Read the card in a pool's folder.

        Raises:
            PoolError: If it is none, or of another format.
        """
        path = folder / POOL_CARD
        if not path.is_file():
            raise PoolError(f"{folder} is not a pool: it holds no {POOL_CARD}; 'samner pool create' makes one")
        try:
            return validated(cls, read_json(path), str(path))
        except SamnerError as error:
            raise PoolError(str(error)) from error

    def write(self, folder: Path) -> None:
        """Write the card into a pool's folder."""
        write_json(folder / POOL_CARD, self.model_dump(mode="json"))


class Taught(Settings):
    """What ``base.json`` says, of any family, of the types that the base was taught.

    Args:
        types: Their prompts, by data set.
        taught: More of them, which only the warning asks for.
    """

    types: Mapping[str, list[str]] = {}
    taught: Mapping[str, list[str]] = {}

    @classmethod
    def read(cls, folder: Path) -> Taught:
        """Read it in a base's folder.

        Raises:
            SamnerError: If the file cannot be read, or either is no list of texts for each data set.
        """
        path = folder / "base.json"
        card = read_json(path)
        return validated(cls, {key: card[key] for key in cls.model_fields if key in card}, str(path))

    def names(self) -> frozenset[str]:
        """Of all types, without descriptions."""
        lists = (*self.types.values(), *self.taught.values())
        return frozenset(prompt.partition(": ")[0] for prompts in lists for prompt in prompts)


def model_card(
    title: str,
    sections: Iterable[str],
    *,
    base: str | None = None,
    library: str | None = None,
    tags: Sequence[str] = (),
) -> ModelCard:
    """A model card with valid metadata.

    Args:
        title: The heading.
        sections: What comes below it, as Markdown; empty ones are left out.
        base: A hub's id of the base model; a folder, which says nothing to others, is left out.
        library: The library that loads the model.
        tags: For a hub's search, beside the usual ones.
    """
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        base_model=base if base and HUB_ID.fullmatch(base) else None,
        library_name=library,
        pipeline_tag="token-classification",
        tags=["samner", *tags],
    )
    text = "\n\n".join([f"# {markdown(title)}", *filter(None, sections)])
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; what stands in its cells means nothing but itself."""
    lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def expert_model_card(card: ExpertCard) -> ModelCard:
    """The model card of an expert."""
    outcome = card.training.get("outcome")
    score = outcome.get("best_score") if isinstance(outcome, Mapping) else None
    sections = [
        markdown(card.description),
        f"A LoRA adapter (PEFT) over the base model {markdown(card.base[:16])}, trained to find: "
        f"{markdown(', '.join(card.types))}. It is an expert of a samner pool: `samner pool add POOL FOLDER`, or "
        "as any adapter in PEFT, vLLM and llama.cpp.",
        f"Dev F1 (strict spans): {score:.3f}." if isinstance(score, float) else "",
        _data([("", card)]),
    ]
    return model_card(card.name, sections, library="peft", tags=["lora"])


def pool_model_card(name: str, cards: Mapping[str, ExpertCard]) -> ModelCard:
    """The model card of a pool, by the cards of its experts."""
    rows = [[card.name, ", ".join(card.types), card.description] for card in cards.values()]
    sections = [
        "A pool of experts for named entity recognition: `samner.ExpertPool.load` opens it, `samner.adapt` selects "
        "and merges those that fit some texts.",
        "## Experts\n\n" + (table(("expert", "types", "description"), rows) if rows else "None yet."),
        _data(cards.items()),
    ]
    return model_card(name, sections, tags=["lora", "merge"])


def _data(cards: Iterable[tuple[str, ExpertCard]]) -> str:
    rows: list[Sequence[Any]] = [_source(name, source) for name, card in cards for source in card.data]
    if not rows:
        return "## Data\n\nNothing is stated about the data that went in, nor about its licences."
    columns = ("expert", "data set", "texts", "licence")
    skip = 0 if any(row[0] for row in rows) else 1
    return (
        "## Data\n\nLicences as the sources state them; where none is stated, third parties may hold rights in the "
        f"texts.\n\n{table(columns[skip:], [row[skip:] for row in rows])}"
    )


def _source(name: str, source: DataSource) -> Sequence[object]:
    return name, source.name, source.texts, source.licence


def _cell(value: object) -> str:
    return markdown(f"{value:.3g}" if isinstance(value, float) else str(value))
