"""JSON Lines: ``{"text": str, "entities": [{"start": int, "end": int, "label": str}]}``, one object a line.

``end`` is exclusive. ``entities`` may be absent; an entity may carry the ``text`` it covers, which then has to
agree, and a predicted one carries ``score`` and ``found_by``. Other keys are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from reprlib import repr as short

from samner.data.lines import read_lines, source_name, write_text
from samner.data.validation import example_from_fields, located, to_fields
from samner.entities import Entity, Example
from samner.errors import DataError


def read(path: Path, labelled: bool) -> Iterator[Example]:
    """Read the examples of a file; lines that are blank are skipped."""
    for number, line in read_lines(path):
        if line.strip():
            with located(f"{source_name(path)}:{number}"):
                example = _parse(line, labelled)
            yield example


def write(examples: Iterable[Example], path: Path) -> None:
    """Write one object a line."""
    write_text(examples, path, _format)


def _parse(line: str, labelled: bool) -> Example:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"not valid JSON ({error.msg} at column {error.colno}); each line must hold one object"
        ) from error
    except (ValueError, RecursionError) as error:
        # a number of thousands of digits, or thousands of nested brackets
        raise DataError(f"not usable JSON ({error}); each line must hold one object") from error
    if not isinstance(value, dict):
        raise DataError(f'must be one object like {{"text": "...", "entities": []}}, not {short(value)}')
    if "text" not in value:
        raise DataError('"text" is missing; each object needs it')
    return example_from_fields(value["text"], value.get("entities") if labelled else None)


def _format(example: Example) -> str:
    entities = [_to_object(entity, example.text) for entity in example.entities]
    return json.dumps({"text": example.text, "entities": entities}, ensure_ascii=False) + "\n"


def _to_object(entity: Entity, text: str) -> dict[str, object]:
    fields = to_fields(entity, text)
    if not entity.found_by and entity.score == 1:
        # gold: nobody's prediction
        del fields["score"], fields["found_by"]
    return fields
