"""Label Studio's JSON: exports, with their short form JSON-MIN, and pre-annotations.

An export is tasks with ``data`` and ``annotations``; JSON-MIN has labels beside the text; tasks with ``predictions``
are shown as pre-annotations.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import Any

from samner.data.formats.base import Dialect, Record, rest
from samner.data.validation import declines, example_from_fields, id_of
from samner.entities import Example, shown_score
from samner.errors import DataError

# What a task says of itself; everything else that is known of a text is its data.
_TASK = {
    *("id", "annotations", "predictions", "drafts", "meta", "created_at", "updated_at", "project", "inner_id"),
    *("file_upload", "total_annotations", "cancelled_annotations", "total_predictions", "comment_count"),
    *("unresolved_comment_count", "last_comment_updated_at", "updated_by", "comment_authors", "completed_by"),
    *("is_labeled", "overlap", "annotation_id", "annotator", "lead_time"),
}


def _is_task(record: Record) -> bool:
    return isinstance(record.get("data"), Mapping) and "text" not in record


def _text_key(data: Mapping[str, Any]) -> str:
    texts = [key for key, value in data.items() if isinstance(value, str)]
    if "text" in data or len(texts) == 1:
        return "text" if "text" in data else texts[0]
    raise DataError(
        f"a task of Label Studio needs its text under data.text; data holds {', '.join(data) or 'nothing'}"
    )


def _read_task(record: Record, labelled: bool) -> Example:
    data = record["data"]
    key = _text_key(data)
    meta = rest(record, "data") | {name: value for name, value in rest(data, key).items() if name not in record}
    annotations = record.get("annotations", record.get("completions"))
    if not labelled or not annotations or not isinstance(data[key], str):
        return example_from_fields(data[key], None, meta)
    if not isinstance(annotations, list) or not all(isinstance(a, Mapping) for a in annotations):
        raise DataError("annotations must be a list of objects, as Label Studio writes them")
    chosen = _one([a for a in annotations if not declines(a)], record)
    if chosen is None:  # all cancelled: they stay as they are, and are not gold
        return example_from_fields(data[key], None, meta | {"was_cancelled": True})
    labels, others = _results(chosen)
    kept = {**chosen, "result": others}
    meta = rest(meta, "annotations", "completions") | ({} if kept == {"result": []} else {"annotations": [kept]})
    spans = [_in_code_points(value, data[key]) for value in labels]
    return example_from_fields(data[key], spans, meta, "annotations[].result")


def _one(annotations: list[Mapping[str, Any]], record: Record) -> Mapping[str, Any] | None:
    """The annotation that counts: the only one, the one marked as truth, or any if all say the same."""
    if truth := [a for a in annotations if a.get("ground_truth") is True]:
        annotations = truth
    said = {
        str(sorted(str(sorted((k, v) for k, v in value.items() if k != "id")) for value in _results(a)[0]))
        for a in annotations
    }
    if len(said) > 1:
        raise DataError(
            f"task {record.get('id')} has {len(annotations)} annotations that differ; keep one of them in Label "
            "Studio, or mark one as ground truth"
        )
    return annotations[0] if annotations else None


def _results(annotation: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], list[Any]]:
    """The labels of an annotation, and its other results: choices, relations."""
    results = annotation.get("result") or []
    if not isinstance(results, list) or not all(isinstance(result, Mapping) for result in results):
        raise DataError('an annotation of Label Studio needs "result", a list of objects')
    if any(result.get("type") == "hypertextlabels" for result in results):
        raise DataError("annotations: has labels in HTML (hypertextlabels), whose offsets are no text's")
    labels = [result for result in results if result.get("type") == "labels"]
    # a name that was made up here, where an entity had none, is left
    values: list[Mapping[str, Any]] = [
        {**r["value"], "id": None if r.get("id") == f"e{i}" else r.get("id")}
        for i, r in enumerate(labels)
        if isinstance(r.get("value"), Mapping)
    ]
    if len(values) != len(labels):
        raise DataError('a label of Label Studio needs "value", an object of start, end and labels')
    return values, [result for result in results if result.get("type") != "labels"]


def _in_code_points(value: Mapping[str, Any], text: str) -> dict[str, Any]:
    """A span whose offsets count code points; those of some exports count UTF-16, two for an emoji."""
    start, end, covered = value.get("start"), value.get("end"), value.get("text")
    if isinstance(start, int) and isinstance(end, int) and isinstance(covered, str) and text[start:end] != covered:
        units = text.encode("utf-16-le", "replace")
        if units[2 * start : 2 * end].decode("utf-16-le", "replace") == covered:
            start = len(units[: 2 * start].decode("utf-16-le"))
            return {**value, "start": start, "end": start + len(covered)}
    return dict(value)


def _write_task(example: Example) -> dict[str, Any]:
    meta = dict(example.meta)
    spans = [_result(example, i, entity.label) for i, entity in enumerate(example.entities)]
    kept = meta.pop("annotations", None)
    one = kept[0] if isinstance(kept, list) and len(kept) == 1 and isinstance(kept[0], Mapping) else {}
    annotations = [{**one, "result": [*spans, *(one.get("result") or [])]}]
    if isinstance(kept, list) and not one and not spans:  # none, or several that are cancelled
        annotations = kept
    if meta.pop("was_cancelled", False) and not kept:
        annotations[0]["was_cancelled"] = True
    task = {key: meta.pop(key) for key in list(meta) if key in _TASK}
    return {**task, "data": {"text": example.text, **meta}, "annotations": annotations}


def _result(example: Example, index: int, label: str) -> dict[str, Any]:
    entity = example.entities[index]
    value = {"start": entity.start, "end": entity.end, "text": example.text[entity.start : entity.end]}
    names = {e.id for e in example.entities}
    free = (name for number in count(index) if (name := f"e{number}") not in names)
    result = {
        "id": next(free) if entity.id is None else entity.id,
        "from_name": "label",
        "to_name": "text",
        "type": "labels",
    }
    return {**result, "value": {**value, "labels": [label]}}


def prediction(
    example: Example,
    version: str,
    labels: Mapping[str, str] | None = None,
    *,
    from_name: str = "label",
    to_name: str = "text",
) -> dict[str, Any]:
    """What was found in a text, as a prediction of a task.

    Args:
        example: The text and its entities.
        version: Of the model.
        labels: What the labelling interface calls a label, where it calls it otherwise.
        from_name: What the labelling interface calls its labels.
        to_name: What it calls its text.
    """
    results = []
    for i, entity in enumerate(example.entities):
        result = _result(example, i, (labels or {}).get(entity.label, entity.label))
        score = shown_score(entity.score)
        results.append({**result, "from_name": from_name, "to_name": to_name, "score": score})
    mean = sum(result["score"] for result in results) / len(results) if results else 0.0
    return {"model_version": version, "score": round(mean, 4), "result": results}


def _has_prediction(record: Record) -> bool:
    return _is_task(record) and isinstance(record.get("predictions"), list)


def _read_prediction(record: Record, labelled: bool) -> Example:
    predictions = record["predictions"]
    if not labelled:
        return _read_task(record, labelled)
    if len(predictions) != 1 or not isinstance(predictions[0], Mapping):
        raise DataError(f"task {record.get('id')} has {len(predictions)} predictions; keep the one that is to be read")
    data, key = record["data"], _text_key(record["data"])
    meta = rest(record, "data", "predictions") | {n: v for n, v in rest(data, key).items() if n not in record}
    results = predictions[0].get("result") or []
    scores = [result.get("score") for result in results if result.get("type") == "labels"]
    spans = [
        {**_in_code_points(value, data[key]), "score": score}
        for value, score in zip(_results(predictions[0])[0], scores, strict=True)
    ]
    return example_from_fields(data[key], spans, meta, "predictions[].result")


def _write_prediction(example: Example) -> dict[str, Any]:
    meta = dict(example.meta)
    task = {key: meta.pop(key) for key in list(meta) if key in _TASK}
    return {**task, "data": {"text": example.text, **meta}, "predictions": [prediction(example, "samner")]}


def _min_key(record: Record) -> str | None:
    """The key of the labels, which is what the labelling interface calls them."""
    for key, value in record.items():
        if key != "entities" and isinstance(value, list) and value and all(map(_is_min, value)):
            return key
    return "label" if record.get("label") == [] else None


def _is_min(value: object) -> bool:
    return isinstance(value, Mapping) and "labels" in value and "start" in value


def _matches_min(record: Record) -> bool:
    return "text" in record and "entities" not in record and _min_key(record) is not None


def _read_min(record: Record, labelled: bool) -> Example:
    key = _min_key(record)
    if not labelled or key is None or declines(record) or not isinstance(record["text"], str):
        return example_from_fields(record["text"], None, rest(record))
    spans = [_in_code_points(value, record["text"]) for value in record[key]]
    return example_from_fields(record["text"], spans, rest(record, key), key)


def _write_min(example: Example) -> dict[str, Any]:
    label = [
        {**_result(example, i, entity.label)["value"], **id_of(entity)} for i, entity in enumerate(example.entities)
    ]
    return {"text": example.text, "label": label, **example.meta}


TASKS = Dialect(_is_task, _read_task, _write_task, array=True)
MIN = Dialect(_matches_min, _read_min, _write_min, array=True)
PREDICTIONS = Dialect(_has_prediction, _read_prediction, _write_prediction, array=True)
