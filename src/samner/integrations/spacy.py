"""spaCy: the pipeline component ``samner``.

Entities go to ``doc.spans["samner"]`` with their scores and the task models that found them, and to ``doc.ents``;
``span._.samner`` is the entity with all that is known of it, of a span of either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from samner.entities import Entity, EntityType, LabelsLike
from samner.errors import SamnerError
from samner.files import atomic_folder, inside, user_path
from samner.spans import flat
from samner.task_model import TaskModel
from samner.thresholds import ThresholdLike

try:
    import srsly
    from spacy.language import Language
    from spacy.pipeline import Pipe
    from spacy.scorer import Scorer, get_ner_prf
    from spacy.tokens import Doc, Span, SpanGroup
    from spacy.training import Example
    from spacy.util import minibatch
except ImportError as error:
    raise SamnerError(f"the component needs spaCy: pip install 'samner[spacy]' ({error})") from error

ENTS = ("merge", "replace", "none")
"""What becomes of ``doc.ents``: what is there stays and the rest is added; what is in the way goes; nothing."""

ALIGNMENTS = ("expand", "contract", "strict")
"""Where an entity begins or ends within a token: the whole token, without it, or no entity. As ``Doc.char_span``."""

DEFAULT_CONFIG: dict[str, Any] = {
    "model": None,
    "labels": None,
    "threshold": None,
    "overlaps": "flat",
    "mode": None,
    "spans_key": "samner",
    "ents": "merge",
    "alignment": "expand",
    "device": "auto",
}


class SamnerComponent(Pipe):  # type: ignore[misc]  # spaCy's classes are not typed
    """A task model as a component.

    Args:
        nlp: The pipeline.
        name: The component's.
        model: The task model, or its folder, which is loaded when it is first needed.
        labels: As of ``TaskModel.predict``; those of the model by default.
        threshold: As of ``TaskModel.predict``.
        overlaps: As of ``TaskModel.predict``; of ``doc.ents`` none overlap, the surer stays.
        mode: As of ``TaskModel.predict``.
        spans_key: Of the spans in ``doc.spans``.
        ents: One of ``ENTS``.
        alignment: One of ``ALIGNMENTS``.
        device: Where the model is loaded to.

    Raises:
        SamnerError: If an argument is not valid.
    """

    def __init__(
        self,
        nlp: Language,
        name: str,
        model: TaskModel | str | Path | None = None,
        *,
        labels: LabelsLike | None = None,
        threshold: ThresholdLike | None = None,
        overlaps: str = "flat",
        mode: str | None = None,
        spans_key: str = "samner",
        ents: str = "merge",
        alignment: str = "expand",
        device: str = "auto",
    ) -> None:
        for value, known, argument in ((ents, ENTS, "ents"), (alignment, ALIGNMENTS, "alignment")):
            if value not in known:
                raise SamnerError(f"{argument} must be {', '.join(known[:-1])} or {known[-1]}, not {value!r}")
        self.vocab = nlp.vocab
        self.name = name
        self.asked = labels
        self.threshold = threshold
        self.overlaps = overlaps
        self.mode = mode
        self.spans_key = spans_key
        self.ents = ents
        self.alignment = alignment
        self.device = device
        self._model = model
        self._unpacked: TemporaryDirectory[str] | None = None  # of a model that came as bytes

    @property
    def task_model(self) -> TaskModel:
        """The task model, loaded on first use; may be set.

        Raises:
            SamnerError: If there is none.
        """
        if self._model is None:
            raise SamnerError(
                f"the component {self.name!r} has no model: nlp.add_pipe('samner', config={{'model': 'my-domain'}})"
            )
        if not isinstance(self._model, TaskModel):
            self._model = TaskModel.load(self._model, self.device)
        return self._model

    @task_model.setter
    def task_model(self, model: TaskModel) -> None:
        self._model = model

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that are looked for; those of a model are known once it is loaded.

        spaCy asks for them while a pipeline is read, when the folder in its config may be gone.
        """
        own = self._model.types if isinstance(self._model, TaskModel) else ()
        asked: Iterable[Any] = own if self.asked is None else self.asked
        return tuple(label.name if isinstance(label, EntityType) else label for label in asked)

    def __call__(self, doc: Doc) -> Doc:
        return next(self.pipe([doc], batch_size=1))

    def pipe(self, stream: Iterable[Doc], *, batch_size: int = 128) -> Iterator[Doc]:
        """Annotate documents as they come, so many at a time."""
        failed = self.get_error_handler()
        for docs in minibatch(stream, size=batch_size):
            try:
                self._annotate(docs)
            except Exception as error:
                failed(self.name, self, docs, error)
            else:
                yield from docs

    def _annotate(self, docs: Sequence[Doc]) -> None:
        answers = self.task_model.predict(
            [doc.text for doc in docs],
            self.asked,
            threshold=self.threshold,
            overlaps=self.overlaps,
            mode=self.mode,
        )
        for doc, entities in zip(docs, answers, strict=True):
            placed: dict[tuple[int, int, str], tuple[Span, Entity]] = {}
            for entity in sorted(entities, key=lambda e: e.score):  # of those that align to one span the surest
                span = doc.char_span(entity.start, entity.end, entity.label, alignment_mode=self.alignment)
                if span is not None:
                    placed[span.start, span.end, entity.label] = span, entity
            found = [placed[key] for key in sorted(placed)]
            attrs = {
                "scores": [entity.score for _, entity in found],
                "found_by": [list(entity.found_by) for _, entity in found],
            }
            spans = [span for span, _ in found]
            doc.spans[self.spans_key] = SpanGroup(doc, name=self.spans_key, spans=spans, attrs=attrs)
            if self.ents != "none":
                doc.set_ents(self._ents(doc.ents, found))

    def _ents(self, there: Sequence[Span], found: Iterable[tuple[Span, Entity]]) -> list[Span]:
        """The entities of a document: those that are there and those that were found, without overlaps."""
        placed = {(s.start, s.end, s.label_): s for s, _ in found}
        score = {(s.start, s.end, s.label_): e.score for s, e in found}
        kept = flat(Entity(*key, score[key]) for key in placed)
        mine, others = [placed[entity.key] for entity in kept], list(there)
        if self.ents == "merge":
            return others + [span for span in mine if not _overlaps(span, others)]
        return mine + [span for span in others if not _overlaps(span, mine)]

    def score(self, examples: Iterable[Example], **kwargs: Any) -> dict[str, Any]:
        """Precision, recall and F1 of ``doc.ents``, and of the spans where the gold documents have some."""
        examples = list(examples)
        key = f"spans_{self.spans_key}"
        spans = Scorer.score_spans(
            examples,
            key,
            getter=lambda doc, _: doc.spans.get(self.spans_key, []),
            has_annotation=lambda doc: self.spans_key in doc.spans,
            allow_overlap=True,
            **kwargs,
        )
        return {**get_ner_prf(examples), **spans}

    # -- at rest ------------------------------------------------------------------------------------------------------

    def to_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> None:
        """Write the task model into a folder of the pipeline; what the component is configured by is in its config."""
        folder = user_path(path)
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder) as temporary:
            self.task_model.save(Path(temporary) / "model")
            if (folder / "model").exists():
                (folder / "model").rename(Path(temporary) / "old")
            (Path(temporary) / "model").rename(folder / "model")

    def from_disk(self, path: str | Path, *, exclude: Iterable[str] = ()) -> SamnerComponent:
        """Read what ``to_disk`` wrote."""
        self._model = TaskModel.load(user_path(path) / "model", self.device)
        return self

    def to_bytes(self, *, exclude: Iterable[str] = ()) -> bytes:
        """The files of the task model, as one msgpack object."""
        with TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            self.task_model.save(folder)
            files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        packed: bytes = srsly.msgpack_dumps(files)
        return packed

    def from_bytes(self, data: bytes, *, exclude: Iterable[str] = ()) -> SamnerComponent:
        """Read what ``to_bytes`` gave."""
        unpacked = TemporaryDirectory()
        with atomic_folder(Path(unpacked.name) / "model") as folder:
            for name, content in srsly.msgpack_loads(data).items():
                file = inside(folder, name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
        self._model = TaskModel.load(Path(unpacked.name) / "model", self.device)
        self._unpacked = unpacked
        return self


def _overlaps(span: Span, others: Sequence[Span]) -> bool:
    return any(span.start < other.end and other.start < span.end for other in others)


def _entity(span: Span) -> Entity | None:
    """What is known of a span that the component found."""
    for group in span.doc.spans.values():
        if "found_by" in group.attrs:
            known = zip(group, group.attrs["scores"], group.attrs["found_by"], strict=True)
            for other, score, found_by in known:
                if (other.start, other.end, other.label) == (span.start, span.end, span.label):
                    return Entity(
                        span.start_char, span.end_char, span.label_, score, tuple(found_by), text=str(span.text)
                    )
    return None


Span.set_extension("samner", getter=_entity, force=True)

_register: Callable[[Callable[..., Any]], Callable[..., Any]] = Language.factory(
    "samner",
    assigns=["doc.ents", "doc.spans", "span._.samner"],
    default_config=DEFAULT_CONFIG,
    default_score_weights={"ents_f": 1.0, "ents_p": 0.0, "ents_r": 0.0, "ents_per_type": None},
)


# spaCy checks a config against the types of a factory's arguments, of which it knows only what Python itself brings
def make(
    nlp: object,
    name: str,
    model: str | None,
    labels: list[str] | dict[str, str] | None,
    threshold: float | dict[str, float] | None,
    overlaps: str,
    mode: str | None,
    spans_key: str,
    ents: str,
    alignment: str,
    device: str,
) -> SamnerComponent:
    """The factory ``samner``: ``nlp.add_pipe("samner", config={"model": "my-domain"})``."""
    return SamnerComponent(
        nlp,
        name,
        model,
        labels=labels,
        threshold=threshold,
        overlaps=overlaps,
        mode=mode,
        spans_key=spans_key,
        ents=ents,
        alignment=alignment,
        device=device,
    )


_register(make)
