"""What is asked and what is answered, as OpenAPI shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _whole(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the text holds half of a surrogate pair; give the whole pair") from None
    return text


Overlaps = Literal["flat", "nested", "all"]
_Threshold = Annotated[float, Field(gt=0, lt=1)]
_Text = Annotated[str, AfterValidator(_whole)]


class _Request(BaseModel):
    # what is misspelt is refused rather than ignored; 1 is no text and "0.5" no threshold
    model_config = ConfigDict(extra="forbid", strict=True)


class Label(_Request):
    """An entity type to look for."""

    name: str = Field(description="What it is called in the answer.", max_length=200, examples=["drug"])
    description: str = Field(
        default="", description="What it means.", max_length=1000, examples=["a medicine by its brand or generic name"]
    )
    threshold: _Threshold | None = Field(
        default=None, description="Score from which an entity of this type counts; by default that of the request."
    )


Labels = list[Annotated[str, Field(max_length=200)] | Label]

_TEXTS = ["Aspirin relieves headache within hours.", "Roche of Basel sells Tamiflu against influenza."]
_LABELS: list[Any] = ["disease", {"name": "drug", "description": "a medicine", "threshold": 0.4}]


class ExtractRequest(_Request):
    """Texts, and what to look for in them."""

    texts: list[_Text] = Field(description="Of any length.", examples=[_TEXTS])
    model: str | None = Field(
        default=None, description="Its name; the first of /v1/models by default.", examples=["pharma"]
    )
    labels: Labels | None = Field(
        default=None,
        description="Types to look for; by default those that the model was adapted to.",
        examples=[_LABELS],
    )
    threshold: _Threshold | None = Field(
        default=None, description="Score from which an entity counts; the model's own by default.", examples=[0.5]
    )
    overlaps: Overlaps = Field(default="flat", description="Which entities may overlap: none, nested ones, or all.")
    mode: str | None = Field(
        default=None,
        description="Another way to unite the parts of the model, as far as it holds them.",
        examples=["union"],
    )


class Entity(BaseModel):
    """A labelled span of a text."""

    start: int = Field(description="Offset of the first character, in Unicode code points.")
    end: int = Field(description="Offset just past the last character.")
    label: str
    text: str
    score: float
    found_by: list[str] = Field(description="The parts of the model that found it.")
    aligned: str | None = Field(
        default=None, description="How the answer of a model that writes text was found in the text."
    )


class Answer(BaseModel):
    """The entities of a text, in their order."""

    entities: list[Entity]


_ENTITY: dict[str, Any] = {
    "start": 0,
    "end": 7,
    "label": "drug",
    "text": "Aspirin",
    "score": 0.93,
    "found_by": ["similarity"],
}


class ExtractResponse(BaseModel):
    """An answer for each text."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "pharma", "results": [{"entities": [_ENTITY]}, {"entities": []}]}]}
    )

    model: str
    results: list[Answer]


class AdaptRequest(_Request):
    """A domain: unlabelled texts of it, and what to look for."""

    texts: list[_Text] = Field(description="Unlabelled; a few hundred are plenty.", examples=[_TEXTS])
    labels: Labels = Field(examples=[_LABELS], description="A threshold of a label is for asking, and refused here.")
    name: str | None = Field(
        default=None,
        description="What the model is called; by default the job's id.",
        pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        examples=["pharma"],
    )
    pool: str | None = Field(
        default=None, description="Its name; the first of /v1/models by default.", examples=["builtin"]
    )
    mode: str = Field(default="union", description="union, intersection, similarity, sampling or economy.")
    experts: int | Literal["auto"] = Field(default="auto", description="How many experts each selection picks.")
    samples: int = Field(default=10, description="How many texts selection by sampling draws.", ge=1, le=1000)
    seed: int = Field(default=0, description="Of that draw.", ge=0)
    exclude: list[str] = Field(default=[], description="Experts to leave out.")
    threshold: _Threshold | None = Field(
        default=None, description="From which an entity counts; the pool's own by default."
    )


class JobAnswer(BaseModel):
    """An adaptation and how far it is."""

    id: str
    model: str = Field(description="The name under which the model answers once the job is done.")
    pool: str
    status: Literal["waiting", "running", "done", "failed", "cancelled"]
    step: str = Field(description="What is being done.", examples=["merging for similarity"])
    error: str | None = Field(default=None, description="Why it failed.")
    created: datetime
    seconds: float | None = Field(default=None, description="How long it ran.")
    kept: bool = Field(description="Whether its model is still there.")
    result: dict[str, Any] | None = Field(
        default=None, description="What was selected, by which scores, and merged; as `samner adapt --json`."
    )


class JobList(BaseModel):
    """All that are known, oldest first."""

    jobs: list[JobAnswer]


class ModelAnswer(BaseModel):
    """A model that can be asked."""

    name: str
    labels: list[Label]
    mode: str
    modes: list[str] = Field(description="All modes that it can be asked in.")
    threshold: float
    experts: dict[str, list[str]] = Field(description="What each part of it is merged of.")
    adapted: bool = Field(description="Whether it was adapted here, and not loaded at the start.")
    warnings: list[str]


class PoolAnswer(BaseModel):
    """A pool that can be adapted."""

    name: str
    experts: list[str]


class ModelList(BaseModel):
    """What requests may name; the first of each is taken where none is named."""

    models: list[ModelAnswer]
    pools: list[PoolAnswer]


class Health(BaseModel):
    """Whether all is well."""

    status: str


class Fault(BaseModel):
    """What is wrong."""

    message: str
    field: str | None = Field(description="The field of the request that it is about.", examples=["labels[1]"])


class Problem(BaseModel):
    """The body of every answer that is no success."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"error": {"message": "a label must not be blank", "field": "labels[1]"}}]}
    )

    error: Fault
