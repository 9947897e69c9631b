"""Answers kept in a file, so that a run that stopped goes on where it was and no question is asked twice."""

from __future__ import annotations

import json
from pathlib import Path

from samner.backbones.language_model.engines.questions import Generated
from samner.errors import SamnerError


class KeptAnswers:
    """``answers.jsonl`` in a folder: a line for each answer, told by a digest of what was asked of which model.

    Questions are not kept. A line is written whole as soon as its answer is there; one that was cut off is dropped.

    Args:
        folder: Made if missing.

    Raises:
        SamnerError: If the file holds something else.
        OSError: If it cannot be read or written.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "answers.jsonl"
        self._places: dict[str, int] = {}
        with self.path.open("a+b") as file:
            file.seek(0)
            end = 0
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    break
                try:
                    self._places[json.loads(line)["digest"]] = end
                except (KeyError, TypeError, ValueError) as error:
                    raise SamnerError(f"{self.path}, line {number}: not a kept answer; name another folder") from error
                end += len(line)
            file.truncate(end)

    def get(self, digest: str) -> Generated | None:
        """The answer to what has this digest, if it is kept."""
        place = self._places.get(digest)
        if place is None:
            return None
        with self.path.open("rb") as file:
            file.seek(place)
            line = json.loads(file.readline())
        return Generated(line["text"], tuple(line["tokens"]), tuple(line["logprobs"]))

    def add(self, digest: str, answer: Generated) -> None:
        """Keep an answer."""
        values = {"digest": digest, "text": answer.text, "tokens": answer.token_texts, "logprobs": answer.logprobs}
        with self.path.open("ab", buffering=0) as file:
            self._places[digest] = file.seek(0, 2)
            file.write(json.dumps(values, ensure_ascii=False).encode() + b"\n")
