"""One answer of a batch while it is written, and what a pass saw for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING, NamedTuple

from samner.backbones.language_model.engines.drafts import Draft
from samner.backbones.language_model.engines.repetition import Lists
from samner.backbones.language_model.engines.vocabulary import Vocabulary
from samner.backbones.language_model.generation.answer_format import Matcher

if TYPE_CHECKING:
    from torch import Tensor


class Seen(NamedTuple):
    """What a pass says of what comes at some places of a row.

    Args:
        logits: Places x vocabulary.
        sums: The logarithm of the sum of each place's exponentials.
        best: Each place's likeliest token.
        sure: How likely that is (log).
    """

    logits: Tensor
    sums: Tensor
    best: list[int]
    sure: list[float]

    @classmethod
    def of(cls, logits: Tensor, places: Sequence[int]) -> list[Seen]:
        """By row: what was seen at its last places, which are so many.

        Args:
            logits: Rows x places x vocabulary.
            places: By row.
        """
        logits = logits.float()
        sums, best = logits.logsumexp(-1), logits.argmax(-1)
        sure = logits.gather(-1, best[..., None])[..., 0] - sums
        parts = zip(
            logits, sums, best.tolist(), sure.tolist(), places, strict=True
        )  # one copy from the device for all
        return [cls(*(its[-n:] for its in row)) for *row, n in parts]

    def logprobs(self, first: int, tokens: Sequence[int]) -> list[float]:
        """How likely tokens were (log) that stand one after the other from a place on."""
        if not tokens:
            return []
        places = range(first, first + len(tokens))
        its: list[float] = (self.logits[places, tokens] - self.sums[places]).tolist()
        return its


@dataclass(slots=True)
class Row:
    """An answer while it is written.

    A pass reads ``next`` and then what is ``behind`` it; what follows ``next`` is the first that it tells anything of.

    Args:
        next: To be read: the question, and later the answer's last token.
        start: Place of the question's last token among all of its tokens.
        matcher: The answer in its grammar.
        vocabulary: Of the model.
        most: Tokens of the answer, at most.
        ahead: Whether to read what the grammar forces together; else token by token.
        lists: The answer's lists, if none may hold a string twice.
        draft: What the answer may turn out to be.
        tokens: Of the answer.
        logprobs: How likely each was (log).
        forced: What the grammar forces behind the answer's last token.
        guess: What the draft has behind that.
        columns: Where the question's last token and each of the answer's tokens were read.
        heard: How many of the answer's tokens its lists have been told.
        done: Whether the answer is finished.
    """

    next: list[int]
    start: int
    matcher: Matcher
    vocabulary: Vocabulary
    most: int
    ahead: bool = True
    lists: Lists | None = None
    draft: Draft = field(default_factory=Draft)
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    forced: list[int] = field(default_factory=list)
    guess: list[int] = field(default_factory=list)
    columns: list[int] = field(default_factory=list)
    heard: int = 0
    done: bool = False

    @property
    def behind(self) -> list[int]:
        """What a pass reads behind ``next``."""
        return self.forced + self.guess

    @property
    def place(self) -> int:
        """Of the last of ``next`` among all tokens of question and answer."""
        return self.start + len(self.tokens)

    def guess_ahead(self, most: int) -> None:
        """Let the next pass read what the draft has, at most so many tokens."""
        room = self.most - len(self.tokens) - len(self.forced)
        self.guess = [] if self.done else self.draft.coming(min(most, room))

    def read(self, seen: Seen, column: int) -> None:
        """Write on as far as what a pass saw decides it.

        Args:
            seen: After ``next``, and after each token behind it.
            column: Where the last of ``next`` was read.
        """
        behind, at = self.behind, len(self.forced)
        self._write(self.forced, seen.logprobs(0, self.forced))
        self.columns += range(column, column + 1 + at)
        while True:
            token, logprob = self._choose(seen, at)
            if ending := self._end_list(token, seen, at):
                token, logprob = ending
                behind = []  # what was read stands behind other tokens
            self._write([token], [logprob])
            self.next, self.forced = [token], []
            if token in self.vocabulary.ends or len(self.tokens) >= self.most:
                self.done = True
                return
            self.matcher.consume(token)
            settled = self.matcher.forced() if self.ahead else []
            self.draft.follow(token, settled)
            following = [token, *settled]
            same = sum(1 for _ in takewhile(lambda two: two[0] == two[1], zip(following, behind[at:], strict=False)))
            known = following[1 : same + 1]  # after a token that was read, the next one's likelihood was seen
            self._write(known, seen.logprobs(at + 1, known))
            self.columns += range(column + at + 1, column + at + 1 + same)
            at += same
            if same < len(following):
                self.next, self.forced = [following[same]], following[same + 1 :]
                return

    def _write(self, tokens: Sequence[int], logprobs: Sequence[float]) -> None:
        self.tokens += tokens
        self.logprobs += logprobs

    def _choose(self, seen: Seen, at: int) -> tuple[int, float]:
        """The likeliest token that the grammar allows, and how likely it was without (log)."""
        best, allowed = seen.best[at], self.matcher.allowed(seen.logits.shape[-1])
        if allowed is None or allowed[best]:
            return best, seen.sure[at]
        token = int(seen.logits[at].masked_fill(~allowed.to(seen.logits.device), float("-inf")).argmax())
        return token, seen.logprobs(at, [token])[0]

    def _end_list(self, token: int, seen: Seen, at: int) -> tuple[int, float] | None:
        """Where a string comes again: the token that ends its list before it, all after which is taken back."""
        if not self.lists:
            return None
        pieces = self.vocabulary.pieces([*self.tokens[self.heard :], token])
        ending = self.lists.read(pieces, len(self.tokens), partial(self._closing, seen, at))
        self.heard = (ending.tokens if ending else len(self.tokens)) + 1
        if ending is None:
            return None
        self.matcher.take_back(len(self.tokens) - ending.tokens)
        del self.tokens[ending.tokens :], self.logprobs[ending.tokens :], self.columns[ending.tokens + 1 :]
        return ending.token, ending.logprob

    def _closing(self, seen: Seen, at: int) -> tuple[int, float] | None:
        """The likeliest token that ends a string and its list, if one may, and how likely it is (log)."""
        allowed = self.matcher.allowed(seen.logits.shape[-1])
        closers = [token for token in self.vocabulary.closers if allowed is None or allowed[token]]
        if not closers:
            return None
        best = closers[int(seen.logits[at, closers].argmax())]
        return best, seen.logprobs(at, [best])[0]
