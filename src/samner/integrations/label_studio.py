"""Label Studio's machine-learning backend: pre-annotations from task models, over the HTTP interface that it asks by.

Mount ``router`` in an application and give Label Studio its address (Settings, Model). Which labels are looked for is
said by the project's labelling interface; a label that a model was adapted for is asked for as that, by its name in
any case and with its description, others as they are called there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias
from xml.etree import ElementTree

from samner.data.formats.label_studio import prediction
from samner.data.validation import example_from_fields, located
from samner.display import brief
from samner.entities import EntityType, Example
from samner.errors import DataError, SamnerError
from samner.prediction import Prediction
from samner.task_model import TaskModel

try:
    from fastapi import APIRouter, HTTPException
    from fastapi.concurrency import run_in_threadpool
    from pydantic import BaseModel, Field
except ImportError as error:
    raise SamnerError(f"the backend needs FastAPI: pip install 'samner[label-studio]' ({error})") from error

Ask: TypeAlias = Callable[[str, Sequence[str], Sequence[EntityType]], Awaitable[Sequence[Prediction]]]
"""Answers, by the name of a model, texts in which some types are looked for."""

_MOST_TASKS = 1000
_MOST_CONFIG = 1_000_000
_INVALID = 422


@dataclass(frozen=True, slots=True)
class Interface:
    """What a labelling interface says of its labels and its text.

    Args:
        from_name: The name of ``<Labels>``.
        to_name: The name of ``<Text>``, which it labels.
        key: Of the text in a task's data.
        labels: Each label as it is called there, and its hint.
    """

    from_name: str = "label"
    to_name: str = "text"
    key: str = "text"
    labels: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(cls, config: str) -> Interface:
        """From the XML of a project.

        Raises:
            DataError: If it is not XML, or does not label spans of a text.
        """
        if len(config) > _MOST_CONFIG or "<!DOCTYPE" in config or "<!ENTITY" in config:
            raise DataError("the labelling interface is too long, or defines entities of XML, which are not read")
        try:
            root = ElementTree.fromstring(config)
        except (ElementTree.ParseError, UnicodeEncodeError) as error:  # the latter of half of a surrogate pair
            raise DataError(f"the labelling interface is not valid XML ({error})") from error
        texts = {text.get("name"): text.get("value", "") for text in root.iter("Text")}
        for labels in root.iter("Labels"):
            to_name = labels.get("toName", "")
            value = texts.get(to_name, "")
            if value.startswith("$"):
                named = [(label.get("value") or "", label.get("hint") or "") for label in labels.iter("Label")]
                return cls(labels.get("name", ""), to_name, value[1:], tuple(one for one in named if one[0].strip()))
        raise DataError('the labelling interface needs <Labels toName="..."> of a <Text value="$...">')

    def types(self, model: TaskModel) -> dict[str, EntityType]:
        """The type to ask a model for, by each label; those of the model where the interface names none."""
        if not self.labels:
            return {t.name: t for t in model.types}
        known = {t.name.casefold(): t for t in model.types}
        types: dict[str, EntityType] = {}
        for name, hint in self.labels:
            wanted = known.get(name.casefold(), EntityType(name, hint))
            if wanted not in types.values():  # a name twice, in other case
                types[name] = wanted
        return types

    def texts(self, tasks: Sequence[Mapping[str, Any]]) -> list[str]:
        """The text of each task.

        Raises:
            DataError: If a task has none where the interface says, or one that no answer could hold.
        """
        texts = []
        for number, task in enumerate(tasks, start=1):
            data = task.get("data")
            text = data.get(self.key) if isinstance(data, Mapping) else None
            with located(f"task {brief(task.get('id', number))}"):
                if not isinstance(text, str):
                    raise DataError(f"data has no text under {self.key!r}")
                texts.append(example_from_fields(text, None).text)
        return texts


class Setup(BaseModel):
    """What Label Studio sends when a project is connected."""

    labelling: Annotated[str | None, Field(alias="schema")] = None


class Predict(BaseModel):
    """What Label Studio sends when it wants tasks to be annotated."""

    tasks: Annotated[list[dict[str, Any]], Field(max_length=_MOST_TASKS)]
    label_config: str | None = None


def router(models: Mapping[str, TaskModel], ask: Ask | None = None) -> APIRouter:
    """The backend's paths: ``/health``, ``/setup``, ``/predict`` of the first model, and below ``/NAME`` of any.

    Args:
        models: By name; what is in it when a request comes counts.
        ask: How they are asked, such as in batches and within limits; by default each request asks in a thread.

    Raises:
        SamnerError: If there is none.
    """
    if not models:
        raise SamnerError("a backend of Label Studio needs a model")
    paths = APIRouter(tags=["label studio"])

    async def directly(name: str, texts: Sequence[str], types: Sequence[EntityType]) -> Sequence[Prediction]:
        return await run_in_threadpool(models[name].predict, texts, types)

    ask = ask or directly

    def named(name: str | None) -> tuple[str, TaskModel]:
        chosen = next(iter(models), "") if name is None else name
        if chosen not in models:
            raise HTTPException(404, f"there is no model {chosen!r}; there are: {', '.join(models)}")
        return chosen, models[chosen]

    def health(name: str | None = None) -> dict[str, str]:
        return {"status": "UP", "model_class": "samner", "model": named(name)[0]}

    def setup(asked: Setup, name: str | None = None) -> dict[str, str]:
        chosen, model = named(name)
        _interface(asked.labelling)
        return {"model_version": version(chosen, model)}

    async def predict(asked: Predict, name: str | None = None) -> dict[str, Any]:
        chosen, model = named(name)
        interface = _interface(asked.label_config)
        types = interface.types(model)
        try:
            texts = interface.texts(asked.tasks)
            answers = await ask(chosen, texts, list(types.values()))
        except SamnerError as error:
            raise HTTPException(_INVALID, str(error)) from error
        labels = {wanted.name: name for name, wanted in types.items()}
        about = {"from_name": interface.from_name, "to_name": interface.to_name}
        results = [
            prediction(Example(text, tuple(found)), version(chosen, model), labels, **about)
            for text, found in zip(texts, answers, strict=True)
        ]
        return {"results": results}

    for before in ("", "/{name}"):
        paths.get(f"{before}/health")(health)
        paths.post(f"{before}/setup")(setup)
        paths.post(f"{before}/predict")(predict)
    return paths


def version(name: str, model: TaskModel) -> str:
    """What Label Studio tells a model's answers from those of another state of it by."""
    decides = [sorted(m.model for m in model.merges.values()), model.mode, model.threshold, dict(model.thresholds)]
    digest = hashlib.sha256(json.dumps([*decides, model.calibration and model.calibration.to_dict()]).encode())
    return f"{name}-{digest.hexdigest()[:8]}"


def _interface(config: str | None) -> Interface:
    try:
        return Interface.read(config) if config and config.strip() else Interface()
    except DataError as error:
        raise HTTPException(_INVALID, str(error)) from error
