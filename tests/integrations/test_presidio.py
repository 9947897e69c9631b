from __future__ import annotations

import re
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import NoOpNlpEngine

from samner.errors import SamnerError
from samner.integrations.presidio import (
    Redactor,
    SamnerRecognizer,
    broken_tokens,
    entity_name,
    new_key,
    read_key,
    restore,
    write_key,
)
from samner.task_model import TaskModel

TEXT = "Ada Moreno takes Aspirin for a headache."
FORMS = "Card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00, ada@example.org, call +49 30 901820."


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is looked up elsewhere, no list of suffixes for one."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("asks the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def engine(recognizer: SamnerRecognizer) -> AnalyzerEngine:
    nlp = NoOpNlpEngine([{"lang_code": "en", "model_name": "no_op"}])
    nlp.load()
    registry = RecognizerRegistry(recognizers=[recognizer], supported_languages=["en"])
    return AnalyzerEngine(registry=registry, nlp_engine=nlp, supported_languages=["en"])


def test_presidios_engine_finds_what_the_model_finds(model: TaskModel) -> None:
    analyzer = engine(SamnerRecognizer(model, names={"drug": "MEDICINE"}))
    assert set(analyzer.get_supported_entities()) == {"PERSON", "MEDICINE", "DISEASE", "FAMILY_NAME"}
    found = analyzer.analyze(TEXT, language="en", return_decision_process=True)
    its = sorted((hit.start, hit.end, hit.entity_type, hit.score) for hit in found)
    assert its == [(0, 10, "PERSON", 0.9), (17, 24, "MEDICINE", 0.8), (31, 40, "DISEASE", 0.6)]
    told = found[0].analysis_explanation.to_dict()
    assert told["recognizer"] == "SamnerRecognizer" and "similarity and sampling" in told["textual_explanation"]
    assert [hit.entity_type for hit in analyzer.analyze(TEXT, entities=["PERSON"], language="en")] == ["PERSON"]


def test_thresholds_overlaps_and_names_of_the_recogniser(model: TaskModel) -> None:
    assert [hit.entity_type for hit in SamnerRecognizer(model, threshold={"drug": 0.85}).analyze(TEXT, None)] == [
        *("PERSON", "DISEASE")
    ]
    every = SamnerRecognizer(model, overlaps="nested").analyze(TEXT, [])
    assert "FAMILY_NAME" in {hit.entity_type for hit in every}
    assert entity_name("credit-card no.") == "CREDIT_CARD_NO" and entity_name("!") == "ENTITY"
    with pytest.raises(SamnerError, match="names has the label 'river'; the model's are person"):
        SamnerRecognizer(model, names={"river": "RIVER"})


def test_what_is_put_in_the_place_of_what_was_found(model: TaskModel) -> None:
    [clean] = Redactor(model).redact([TEXT])
    assert clean.text == "<PERSON> takes <DRUG> for a <DISEASE>"
    assert [(clean.text[e.start : e.end], e.label) for e in clean.entities] == [
        *(("<PERSON>", "PERSON"), ("<DRUG>", "DRUG"), ("<DISEASE>", "DISEASE"))
    ]
    assert Redactor(model, operator="mask").redact([TEXT])[0].text == "********** takes ******* for a *********"
    hashing = Redactor(model, operator="hash")
    one, other = hashing.redact(["Aspirin relieves", "more Aspirin today"])
    [digest] = re.findall(r"[0-9a-f]{64}", one.text)
    assert digest in other.text
    assert digest not in Redactor(model, operator="hash").redact(["Aspirin relieves"])[0].text
    key = b"s" * 32
    first, second = (Redactor(model, operator="hash", key=key).redact(["Aspirin relieves"]) for _ in range(2))
    assert first == second and Redactor(model).redact([]) == []


def test_patterns_know_their_check_digits() -> None:
    redactor = Redactor()
    assert (
        redactor.redact([FORMS])[0].text
        == "Card <CREDIT_CARD>, IBAN <IBAN_CODE>, <EMAIL_ADDRESS>, call <PHONE_NUMBER>."
    )
    wrong = "Card 4111 1111 1111 1112, IBAN DE88 3704 0044 0532 0130 00, ada@example.nosuchsuffix, call +49 1."
    assert redactor.redact([wrong])[0].text == wrong
    assert Redactor(patterns=["email"]).redact([FORMS])[0].text == FORMS.replace("ada@example.org", "<EMAIL_ADDRESS>")


def test_a_pattern_that_reaches_further_than_the_model_goes_as_a_whole(model: TaskModel) -> None:
    [clean] = Redactor(model).redact(["card 4111 1111 1111 1111 of Ada Moreno"])
    assert clean.text == "card <CREDIT_CARD> of <PERSON>"


def test_what_was_encrypted_comes_back_wherever_it_stands(model: TaskModel, tmp_path: Path) -> None:
    key, other = new_key(), new_key()
    write_key(tmp_path / "key", key)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert read_key(tmp_path / "key") == key
    [clean] = Redactor(model, operator="encrypt", key=key).redact([TEXT + " Ünï@bücher.example.org"])
    assert "Moreno" not in clean.text and "Aspirin" not in clean.text and "<PERSON:gAAAA" in clean.text
    assert restore(f"He said: {clean.text}", key) == f"He said: {TEXT} Ünï@bücher.example.org"
    with pytest.raises(SamnerError, match=r"what stands at 0:\d+ was encrypted with another key, or changed"):
        restore(clean.text, other)
    changed = [("<PERSON:gA", "<PERSON:xA"), ("<PERSON:gA", "<PERSON gA"), ("<PERSON:", "")]
    assert [broken_tokens(clean.text.replace(*one, 1)) for one in changed] == [1, 1, 1]
    assert broken_tokens(clean.text) == broken_tokens(f"{TEXT} gAAAA <sha512:{'0a' * 64}> <PERSON> <a:b>") == 0
    with pytest.raises(SamnerError, match="exists already"):
        write_key(tmp_path / "key", other)
    (tmp_path / "no key").write_text("secret")
    with pytest.raises(SamnerError, match="no key: not a key: it must be 32 bytes"):
        read_key(tmp_path / "no key")
    with pytest.raises(SamnerError, match=r"no key can be read \(No such file or directory\); --new-key makes one"):
        read_key(tmp_path / "nothing")


def test_wrong_arguments_are_refused() -> None:
    for options, message in (
        ({"operator": "burn"}, "operator must be replace, mask, hash or encrypt, not 'burn'"),
        ({"operator": "encrypt"}, "the operator encrypt needs a key"),
        ({"patterns": ["passport"]}, "unknown pattern 'passport'; known are credit_card, iban, email, phone"),
    ):
        with pytest.raises(SamnerError, match=message):
            Redactor(**options)  # type: ignore[arg-type]
