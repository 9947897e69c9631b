"""Small models, once they repeat a string in a list, repeat it until the answer's length ends them.

So a list ends before the first string that it has already: what was written since is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ending:
    """Where a list could have ended instead of going on.

    Args:
        tokens: Of the answer up to there.
        token: The likeliest that ends the list there.
        logprob: How likely that was (log).
    """

    tokens: int
    token: int
    logprob: float


@dataclass(slots=True)
class Lists:
    """The lists of strings in a JSON answer, read token by token as a byte-level tokenizer writes them."""

    inside: bool = False  # of a string
    escaped: bool = False
    string: str = ""
    said: tuple[str, ...] = ()
    ending: Ending | None = None

    def read(self, tokens: Sequence[str], here: int, closing: Callable[[], tuple[int, float] | None]) -> Ending | None:
        """Read on.

        Args:
            tokens: The last of them was chosen by the model, the others forced by the grammar.
            here: Of the answer before the last token, how many; there the list may end if that ends a string.
            closing: The token that would end the list there and how likely it is (log), if there is one.

        Returns:
            Where the list is to end, if a string of it has come again; that end has been read then.
        """
        for token in tokens[:-1]:
            self._read(token)
        last = tokens[-1]
        ends = self.inside and not self.escaped and last.startswith('"')
        ending = self.ending
        if self._read(last) and ending:
            self.said, self.ending = (), None  # as the token that ends the list leaves it
            self.inside = False
            return ending
        if ends and not last.startswith('"]') and (closer := closing()) is not None:
            self.ending = Ending(here, *closer)
        return None

    def _read(self, token: str) -> bool:
        """Whether a string ends in this token that its list has already."""
        again = False
        for character in token:
            if not self.inside:
                if character == '"':
                    self.inside, self.string = True, ""
                elif character in "[]":
                    self.said, self.ending = (), None
            elif character == '"' and not self.escaped:
                self.inside = False
                again |= self.string in self.said
                self.said += (self.string,)
            else:
                self.escaped = character == "\\" and not self.escaped
                self.string += character
        return again
