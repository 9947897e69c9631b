"""Presidio: a recogniser that asks a task model, and a redactor of the recogniser and patterns that are validated.

Presidio's own anonymiser does the redacting and its own recognisers, with their validators, find what has a form: card
numbers (Luhn), IBANs (modulo 97), e-mail addresses (public suffixes) and phone numbers (phonenumbers). Nothing is
fetched and no language model is needed beside the task model.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from samner import arguments
from samner.entities import Entity, Example
from samner.errors import SamnerError
from samner.recogniser import Recogniser
from samner.thresholds import ThresholdLike

try:
    from cryptography.fernet import Fernet, InvalidToken
    from presidio_analyzer import AnalysisExplanation, EntityRecognizer, RecognizerResult
    from presidio_analyzer.nlp_engine import NlpArtifacts
    from presidio_analyzer.predefined_recognizers import (
        CreditCardRecognizer,
        EmailRecognizer,
        IbanRecognizer,
        PhoneRecognizer,
    )
    from presidio_anonymizer import AnonymizerEngine
    from presidio_anonymizer.entities import ConflictResolutionStrategy, OperatorConfig
    from presidio_anonymizer.entities import RecognizerResult as ToRedact
    from tldextract import TLDExtract
except ImportError as error:
    raise SamnerError(f"Presidio needs more packages: pip install 'samner[presidio]' ({error})") from error

OPERATORS = ("replace", "mask", "hash", "encrypt")
"""What a ``Redactor`` can put in the place of what it finds."""


def entity_name(label: str) -> str:
    """A label as Presidio names entities: ``"credit card"`` is ``"CREDIT_CARD"``."""
    return re.sub(r"\W+", "_", label).strip("_").upper() or "ENTITY"


class SamnerRecognizer(EntityRecognizer):  # type: ignore[misc]  # Presidio is not typed
    """A recogniser of Presidio that finds what a task model finds.

    Args:
        model: The task model. Its labels are the recogniser's entities.
        names: What Presidio is to call labels that are not to be called as ``entity_name`` does.
        threshold: As of ``Recogniser.predict``.
        overlaps: As of ``Recogniser.predict``.
        supported_language: Presidio asks recognisers of the text's language only.

    Example:
        >>> from samner import TaskModel
        >>> recognizer = SamnerRecognizer(TaskModel.load("my-domain"))
        >>> [found] = recognizer.analyze("Aspirin relieves headache.", ["DRUG"])
        >>> found.entity_type, found.start, found.end
        ('DRUG', 0, 7)
    """

    def __init__(
        self,
        model: Recogniser,
        *,
        names: Mapping[str, str] | None = None,
        threshold: ThresholdLike | None = None,
        overlaps: str = "flat",
        supported_language: str = "en",
    ) -> None:
        self.model = model
        self.threshold = threshold
        self.overlaps = overlaps
        known = [t.name for t in model.types]
        if unknown := [label for label in names or {} if label not in known]:
            raise SamnerError(f"names has the label {unknown[0]!r}; the model's are {', '.join(known)}")
        self.names = {label: (names or {}).get(label, entity_name(label)) for label in known}
        super().__init__(list(dict.fromkeys(self.names.values())), "SamnerRecognizer", supported_language)

    def load(self) -> None:
        """Nothing: the model is loaded already."""

    def analyze(
        self, text: str, entities: Sequence[str] | None, nlp_artifacts: NlpArtifacts | None = None
    ) -> list[RecognizerResult]:
        """What the model finds in a text, of the entities that are wanted; all if none are named."""
        return self.analyze_many([text], entities)[0]

    def analyze_many(
        self, texts: Sequence[str], entities: Sequence[str] | None = None
    ) -> list[list[RecognizerResult]]:
        """The same for many texts at once, which is faster than one by one."""
        answers = self.model.predict(texts, threshold=self.threshold, overlaps=self.overlaps)
        return [
            [self._result(e) for e in found if not entities or self.names[e.label] in entities] for found in answers
        ]

    def _result(self, entity: Entity) -> RecognizerResult:
        told = f"found by the merge for {' and '.join(entity.found_by)} as {entity.label!r}"
        return RecognizerResult(
            self.names[entity.label],
            entity.start,
            entity.end,
            entity.score,
            AnalysisExplanation(self.name, entity.score, textual_explanation=told),
            {RecognizerResult.RECOGNIZER_NAME_KEY: self.name, RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id},
        )


class _Email(EmailRecognizer):  # type: ignore[misc]
    """Presidio's, which would fetch the list of public suffixes; the one that comes with tldextract is taken."""

    _extract = TLDExtract(suffix_list_urls=(), cache_dir=None)

    def validate_result(self, pattern_text: str) -> bool:
        return bool(self._extract(pattern_text).fqdn)


class _Phone(PhoneRecognizer):  # type: ignore[misc]
    """Presidio's, as sure as its other recognisers are of what was validated."""

    SCORE = 1.0


PATTERNS: Mapping[str, Callable[[], EntityRecognizer]] = {
    "credit_card": CreditCardRecognizer,
    "iban": IbanRecognizer,
    "email": _Email,
    "phone": _Phone,
}
"""What has a form, and the recogniser that validates it."""


class Redactor:
    """Puts something else in the place of what a task model and validated patterns find.

    No recogniser finds everything: look at samples of what comes out before it leaves the house.

    Args:
        model: The task model; None for patterns alone.
        operator: ``"replace"``: by the entity's name, ``<PERSON>``. ``"mask"``: by as many asterisks. ``"hash"``: by
            a SHA-256 with a salt, the same for the same words; the salt is the key, or drawn anew for each redactor.
            ``"encrypt"``: by a token of the name and the words, encrypted by Fernet, which ``restore`` turns back.
        key: Of ``read_key``; for ``"encrypt"``, and ``"hash"`` if hashes of several runs are to be compared.
        patterns: Names in ``PATTERNS``.
        threshold: As of ``Recogniser.predict``.

    Raises:
        SamnerError: If an argument is not valid.

    Example:
        >>> Redactor(operator="replace").redact(["Write to ada@example.org."])[0].text
        'Write to <EMAIL_ADDRESS>.'
    """

    def __init__(
        self,
        model: Recogniser | None = None,
        *,
        operator: str = "replace",
        key: bytes | None = None,
        patterns: Iterable[str] = tuple(PATTERNS),
        threshold: ThresholdLike | None = None,
    ) -> None:
        if operator not in OPERATORS:
            raise SamnerError(f"operator must be {', '.join(OPERATORS[:-1])} or {OPERATORS[-1]}, not {operator!r}")
        if operator == "encrypt" and key is None:
            raise SamnerError("the operator encrypt needs a key, by which the words can be restored")
        wanted = arguments.strings(patterns, "patterns", "name")
        if unknown := [name for name in wanted if name not in PATTERNS]:
            raise SamnerError(f"unknown pattern {unknown[0]!r}; known are {', '.join(PATTERNS)}")
        self.patterns = [PATTERNS[name]() for name in wanted]
        # all: what gave way to something surer may reach further than that, and is to go as well
        self.recognizer = model and SamnerRecognizer(model, threshold=threshold, overlaps="all")
        names = {name for its in (*self.patterns, self.recognizer) if its for name in its.supported_entities}
        self.operators = _operators(operator, key, names)
        self.operator = operator
        self._engine = AnonymizerEngine()

    def redact(self, texts: Sequence[str]) -> list[Example]:
        """The texts as they may be read, each with what stands in the place of what, as entities of the new text."""
        given = arguments.strings(texts, "texts", "text")
        found = self.recognizer.analyze_many(given) if self.recognizer else [[] for _ in given]
        return [self._redact(text, its) for text, its in zip(given, found, strict=True)]

    def _redact(self, text: str, found: Sequence[RecognizerResult]) -> Example:
        patterns = [hit for its in self.patterns for hit in its.analyze(text, its.supported_entities, None) or ()]
        hits = [ToRedact(hit.entity_type, hit.start, hit.end, hit.score) for hit in (*found, *patterns)]
        how = {"conflict_resolution": ConflictResolutionStrategy.REMOVE_INTERSECTIONS}
        result = self._engine.anonymize(text, hits, self.operators, **how)
        items = sorted(result.items, key=lambda item: item.start)
        entities = [Entity(item.start, item.end, item.entity_type, text=item.text) for item in items]
        return Example(result.text, tuple(entities))


def _operators(operator: str, key: bytes | None, names: Iterable[str]) -> dict[str, Any]:
    if operator == "mask":
        return {"DEFAULT": OperatorConfig("mask", {"masking_char": "*", "chars_to_mask": 10**9, "from_end": False})}
    if operator == "hash":
        return {"DEFAULT": OperatorConfig("hash", {"hash_type": "sha256", "salt": key or os.urandom(32)})}
    if operator == "replace" or key is None:
        return {"DEFAULT": OperatorConfig("replace")}
    fernet = _fernet(key)

    def token(name: str, words: str) -> str:
        return f"<{name}:{fernet.encrypt(words.encode()).decode()}>"

    return {name: OperatorConfig("custom", {"lambda": partial(token, name)}) for name in names}


_TOKEN = re.compile(r"<\w+:(gAAAA[\w=-]+)>")
# a token without one of its ends, or long enough for one and not of hexadecimal digits alone
_BROKEN = re.compile(r"gAAAA[\w=-]{20,}|<\w+:(?=[^>]*[A-Z])[\w=-]{90,}>")


def restore(text: str, key: bytes) -> str:
    """A text with the words again that ``"encrypt"`` took from it, wherever their tokens stand by now.

    Raises:
        SamnerError: If a token is of another key, or was changed.
    """
    fernet = _fernet(key)

    def words(token: re.Match[str]) -> str:
        try:
            return fernet.decrypt(token[1]).decode()
        except InvalidToken as error:
            raise SamnerError(
                f"what stands at {token.start()}:{token.end()} was encrypted with another key, or changed"
            ) from error

    return _TOKEN.sub(words, text)


def broken_tokens(text: str) -> int:
    """How many places look like a token of ``"encrypt"`` that lost a part, so that ``restore`` leaves them."""
    return len(_BROKEN.findall(_TOKEN.sub(" ", text)))


def _fernet(key: bytes) -> Fernet:
    try:
        return Fernet(key)
    except ValueError as error:
        raise SamnerError("not a key: it must be 32 bytes in URL-safe base64, as new_key makes them") from error


def new_key() -> bytes:
    """A key that nobody has."""
    key: bytes = Fernet.generate_key()
    return key


def write_key(path: Path, key: bytes) -> None:
    """Write a key to a new file that its owner alone can read.

    Raises:
        SamnerError: If the file exists.
    """
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key + b"\n")
    except FileExistsError as error:
        raise SamnerError(f"{path} exists already; a key that is overwritten can restore nothing any more") from error


def read_key(path: Path) -> bytes:
    """The key in a file.

    Raises:
        SamnerError: If there is none.
    """
    try:
        with path.open("rb") as file:
            key = file.read(1000).strip()
    except OSError as error:
        raise SamnerError(f"{path}: no key can be read ({error.strerror}); --new-key makes one") from error
    try:
        _fernet(key)
    except SamnerError as error:
        raise SamnerError(f"{path}: {error}") from error
    return key
