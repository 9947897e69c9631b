"""What selection, merging and extraction know of a base model, whatever its family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from samner.backbones.training import TrainingData, TrainingRecipe
from samner.entities import Entity, EntityType
from samner.errors import SamnerError
from samner.windows import read_windows
from samner.words import Tokens, Word

if TYPE_CHECKING:
    from torch import Tensor

BASE = "base"
"""The name under which a backbone answers without any expert."""


@dataclass(frozen=True, slots=True)
class PlannedBase:
    """What a base would be made of.

    Args:
        model: Folder or hub id of a language model.
        prompt: How it is asked: a shipped prompt's name or a YAML file.
        architecture: The model's configuration, so that it need not be here.
    """

    model: str
    prompt: str
    architecture: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a training would be.

    Args:
        text: For people, in some lines.
        values: For programs, as JSON values.
    """

    text: str
    values: Mapping[str, Any]


class LazyDeltas(Mapping[str, "Tensor"]):
    """Dense task vectors by module, out x in, each made when it is asked for: together they take little memory.

    To be read by several threads at once.

    Attributes:
        shapes: Shape (out, in) of each module, in the order of their names.
    """

    shapes: Mapping[str, tuple[int, int]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)

    def __contains__(self, module: object) -> bool:
        return module in self.shapes


def shapes_of(deltas: Mapping[str, Tensor]) -> Mapping[str, tuple[int, ...]]:
    """The shape of each module's task vector, none of which is made for it."""
    if isinstance(deltas, LazyDeltas):
        return deltas.shapes
    return {module: tuple(delta.shape) for module, delta in deltas.items()}


class Prompt(Protocol):
    """How a model that answers in text is asked: what ``samner prompts`` shows of it."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def format(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def system(self) -> str: ...
    @property
    def question(self) -> str: ...

    def questions(self, text: str, types: Sequence[EntityType]) -> list[str]:
        """What is asked about a text."""

    def answer(self, mentions: Sequence[tuple[str, str]], types: Sequence[EntityType]) -> list[str]:
        """The right answers, one for each question, of mentions with their types."""


class Backbone(ABC):
    """A base model that experts (LoRA adapters) and task models (merged task vectors) can be put on.

    One copy of the base serves them all: each is registered under a name and ``predict`` is told which to ask. All of
    it may be called from several threads at once.

    Attributes:
        family: The kind of base model, as ``base.json`` names it.
        fingerprint: SHA-256 that two bases share only if adapters of one fit the other.
        max_tokens: The most tokens, by the costs that ``tokenize`` gives, that one text passed to ``read`` may have.
        threshold: The score from which an entity counts, unless the caller says otherwise.
        over_models: Whether bases of the family are made over models of elsewhere, by ``create_base``.
    """

    family: ClassVar[str]
    fingerprint: str
    max_tokens: int
    threshold: float
    over_models: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, device: str = "cpu") -> Backbone:
        """Load a base.

        Args:
            folder: Holds its ``base.json``.
            device: A torch device name; or, for a base that a server has, the server's URL or its JSON file.

        Raises:
            ModelError: If the base is not whole, or the server cannot be asked.
        """

    @classmethod
    def create_base(cls, folder: Path, model: str, *, prompt: str | None = None, four_bit: bool = False) -> None:
        """Make a base over a model of elsewhere; only where the family is ``over_models``.

        Args:
            folder: To fill; must exist.
            model: A folder, which is copied, or a hub id.
            prompt: How it is asked, where it is asked in text: a prompt's name or a YAML file.
            four_bit: Hold it in 4 bits where there is a GPU.

        Raises:
            SamnerError: If there is no such model or prompt, or it is not of this family.
        """
        raise SamnerError(f"a base of the {cls.family} family is not made over other models")

    @classmethod
    def model_folder(cls, path: Path) -> Path:
        """The folder of a model in safetensors that a path means: itself, or what the family makes of another format.

        Raises:
            ModelError: If it is a file that the family cannot read.
        """
        return path

    @classmethod
    def prompts(cls) -> Sequence[str]:
        """Names of the prompts that the family brings, where models are asked in text."""
        return ()

    @classmethod
    def read_prompt(cls, name: str) -> Prompt:
        """A prompt by its name, or from a YAML file.

        Raises:
            SamnerError: If there is none.
        """
        raise SamnerError(f"the {cls.family} family has no prompts")

    @abstractmethod
    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """The words of each text with their spans and costs in tokens."""

    def words(self, texts: Sequence[str]) -> list[tuple[Word, ...]]:
        """The words of each text, of which an entity holds one or more whole."""
        return [tokens.words for tokens in self.tokenize(texts)]

    @abstractmethod
    def module_shapes(self) -> dict[str, tuple[int, int]]:
        """The modules that an adapter may touch, each with the (out, in) shape of its weight."""

    @abstractmethod
    def add_expert(self, name: str, folder: Path, types: Sequence[str] = ()) -> None:
        """Load a PEFT adapter folder under a name.

        Args:
            name: For ``predict``.
            folder: Holds the adapter.
            types: Prompts of the types it was taught, beside those the base was.

        Raises:
            ModelError: If the adapter cannot be read or does not fit this base.
        """

    @abstractmethod
    def add_task_model(self, name: str, deltas: Mapping[str, Tensor], types: Sequence[str] = ()) -> None:
        """Register base weights plus these dense task vectors (module name to out x in) under a name.

        Args:
            name: For ``predict``.
            deltas: The task vectors. ``LazyDeltas`` are kept as they are, and asked whenever they are needed.
            types: Prompts of the types that the merged experts were taught, beside those the base was.

        Raises:
            ModelError: If a module is unknown or a shape does not fit.
        """

    def prepare(self, name: str) -> None:  # noqa: B027 - there may be nothing to do
        """Do for an expert or task model what it would otherwise be asked first for, such as making its weights.

        Raises:
            ModelError: If there is no model of that name, or its task vectors can no longer be read.
        """

    def add_served(self, name: str, served_as: str) -> None:
        """Register a task model that a server has; only for bases that are asked through one.

        It is looked for when it is asked, so that who asks one part of a model needs no other there.

        Args:
            name: For ``predict``.
            served_as: What the server calls it, unless the description of the server says otherwise.
        """
        raise NotImplementedError

    @abstractmethod
    def task_vectors(self, name: str) -> Mapping[str, Tensor]:
        """The dense task vectors that ``add_task_model`` was given under a name; maybe each made when asked for."""

    @property
    def checkpoint(self) -> str | None:
        """The folder or hub id of the causal language model that this base is, and that others can run; else none."""
        return None

    @property
    def has_own_adapter(self) -> bool:
        """Whether ``checkpoint`` is a model with an adapter of the base's own fused in: experts go on that."""
        return False

    @property
    def statistics(self) -> Mapping[str, Counter[str]]:
        """How the answers were that each model gave so far, where models answer in text.

        Counted are ``answers``, of these ``valid``, ``repaired`` and ``unreadable`` ones, and ``entities``, of these
        ``normalised`` (found in the text by other case or blanks) and, besides, ``not_found``.
        """
        return {}

    def save_fused(self, name: str, folder: Path) -> None:
        """Write a base like this one with a task model's vectors added, which ``load_backbone`` reads.

        A base that has a ``checkpoint`` leaves it to others: there, the task vectors are added to the files.

        Args:
            name: Of the task model.
            folder: Made if missing.
        """
        raise NotImplementedError

    def save_onnx(
        self, parts: Mapping[str, str], types: Sequence[EntityType], folder: Path, *, int8: bool = False
    ) -> None:
        """Write task models as ONNX graphs and what else ``samner.runtime`` needs to ask them.

        Args:
            parts: What to call a task model, to the name that it has here.
            types: Entity types that it will be asked for, beside others.
            folder: Exists.
            int8: Whether the weights are stored and multiplied in eight bits.

        Raises:
            SamnerError: If models of the family cannot be had as such, or a library for it is not installed.
        """
        raise SamnerError(
            f"--to onnx is for models of the encoder family, such as one adapted with --pool builtin; this one is of "
            f"the {self.family} family"
        )

    @property
    @abstractmethod
    def models(self) -> Collection[str]:
        """Names of all experts and task models registered."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Forget an expert or task model; unknown names are ignored."""

    def only(self, models: Collection[str]) -> Backbone:
        """The same base with only these models on it, whatever is put on this one or removed later.

        What a copy of a task model is to hold. A family whose models are elsewhere answers with itself.

        Raises:
            ModelError: If there is no model of a name.
        """
        return self

    @abstractmethod
    def read(
        self, texts: Sequence[Tokens], types: Sequence[EntityType], models: Sequence[str], threshold: float
    ) -> dict[str, list[list[Entity]]]:
        """Ask several models about the same texts, in as few passes as the family allows.

        Args:
            texts: As ``tokenize`` gives them, each with a word and no longer than ``max_tokens``.
            types: The entity types to look for.
            models: Names given to ``add_expert`` or ``add_task_model``, or ``BASE``.
            threshold: Entities of lower score are left out.

        Returns:
            Per model and text, all candidate entities; they may overlap.

        Raises:
            ModelError: If there is no model of a name.
        """

    def predict(
        self,
        texts: Sequence[str],
        types: Sequence[EntityType],
        models: Sequence[str],
        threshold: float,
        on_done: Callable[[int], None] | None = None,
    ) -> dict[str, list[list[Entity]]]:
        """Ask several models about texts of any length, cut into overlapping windows; nothing is left unread.

        Args:
            texts: Any texts, also empty ones.
            types: The entity types to look for.
            models: Whom to ask; see ``read``.
            threshold: Entities of lower score are left out.
            on_done: Called with the number of texts just finished, for a progress bar.

        Returns:
            Per model and text, candidate entities with offsets into the text as given. One that several windows found
            is listed once, with its highest score.

        Raises:
            ModelError: If there is no model of a name.
        """
        return read_windows(self, texts, types, models, threshold, on_done)

    @abstractmethod
    def train_expert(
        self, data: TrainingData, out: Path, options: Mapping[str, Any], *, run: Path | None, resume: bool
    ) -> dict[str, Any]:
        """Train a LoRA adapter on all linear layers and save it as a PEFT folder; the base stays as it is.

        Args:
            data: What it learns from.
            out: Folder for the adapter's files.
            options: Settings by name; which there are is the family's (``recipe`` lists them).
            run: Folder for checkpoints; none for no checkpoints.
            resume: Go on from the checkpoint in ``run``, if there is one.

        Returns:
            A record of settings and outcome, as JSON values, for the expert's card.

        Raises:
            SamnerError: If an option is unknown or not valid, or the checkpoint is of another run.
        """

    @classmethod
    @abstractmethod
    def recipe(cls) -> type[TrainingRecipe]:
        """The options ``train_expert`` takes, with their defaults, as a model of settings."""

    @classmethod
    def dry_run(cls, data: TrainingData, options: Mapping[str, Any], base: Path | PlannedBase) -> DryRun:
        """Rehearse a training on a tiny random model of the same architecture.

        Args:
            data: Labelled texts.
            options: As of ``train_expert``.
            base: Its folder, or what it would be made of.

        Raises:
            SamnerError: If anything will not do, or the family has no such rehearsal.
        """
        raise SamnerError(
            f"--dry-run is for language models that answer in JSON; the base is of the {cls.family} family"
        )

    @abstractmethod
    def known_types(self) -> list[str]:
        """Prompts of the types the base was taught, to be asked for as negatives when an expert is trained."""
