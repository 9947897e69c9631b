"""Results on their way to a file: kept beside it until all are there, so that an interrupted run can go on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path

from samner.errors import SamnerError
from samner.files import atomic_file


class PartFile:
    """``OUT.part``: a line that tells which run it is of, then the lines finished so far.

    Args:
        out: The file to write in the end.
        identity: Equal for two runs only if their results are.
    """

    def __init__(self, out: Path, identity: str) -> None:
        self.out = out
        self.path = out.with_name(out.name + ".part")
        self._header = json.dumps({"samner_part": identity}).encode() + b"\n"
        self._begun = False

    def resume(self, stops: Collection[int]) -> int:
        """Go on with what is there.

        Args:
            stops: Numbers of lines at which a run may stop; lines beyond the last of them are dropped.

        Returns:
            How many lines are kept; 0 if there is nothing.

        Raises:
            SamnerError: If the file is of another run.
        """
        if not self.path.exists():
            return 0
        kept, lines = 0, 0
        with self.path.open("r+b") as file:
            if file.readline() != self._header:
                raise SamnerError(
                    f"{self.path} is of other texts, labels, models or settings; leave out --resume to start over"
                )
            offset = end = file.tell()
            for line in file:
                if not line.endswith(b"\n"):
                    break
                lines, offset = lines + 1, offset + len(line)
                if lines in stops:
                    kept, end = lines, offset
            file.truncate(end)
        self._begun = True
        return kept

    def append(self, lines: str) -> None:
        """Add finished lines. The first call of a run that does not resume begins the file anew."""
        with self.path.open("ab" if self._begun else "wb") as file:
            file.write((b"" if self._begun else self._header) + lines.encode("utf-8"))
        self._begun = True

    def finish(self) -> None:
        """Make the lines the output file, atomically."""
        with atomic_file(self.out) as temporary, self.path.open("rb") as source, temporary.open("wb") as target:
            source.readline()
            shutil.copyfileobj(source, target)
        self.path.unlink()
