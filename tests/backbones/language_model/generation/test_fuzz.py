"""Ten thousand answers with something wrong: whatever is read from them stands in them."""

from __future__ import annotations

import json
import random
import re
import unicodedata

import pytest

from samner.backbones.language_model.generation.alignment import align
from samner.backbones.language_model.generation.answer import Answer, parse
from samner.backbones.language_model.generation.prompt import load_prompt, prompt_names
from samner.entities import entity_types

TYPES = entity_types(["person", "city", 'the "odd" one', "C++"])
PROMPTS = [load_prompt(name) for name in prompt_names()]
TEXTS = [
    "Ada Lovelace met Charles Babbage in London; ADA left LONDON in May.",
    'He wrote "Straße [1]" in C++, {not} C, said the cafe\u0301 👩\u200d👩\u200d👧 owner O\'Brien.',
    "ירושלים and 東京は İstanbul,\n\tor: none, null, 1815 \\ / \ud83d.",
]
PARTS = [
    *(
        '"',
        "'",
        "“",
        "”",
        "\\",
        "\\u00",
        '\\"',
        ",",
        ":",
        "[",
        "]",
        "{",
        "}",
        " ",
        "\n",
        "\r",
        "```json\n",
        "//",
        "(",
        ")",
    ),
    *(
        "null",
        "None",
        "True",
        "1815",
        "...",
        "person",
        '"city": [',
        '", "',
        '"], "',
        "]]",
        "}}",
        "é",
        "\u0301",
        "👩",
        "\0",
    ),
    *("\ud83d", "Sure: ", "Text: ", "İ", "ß", "א", "\u200d", "\u2028"),
]


def mutated(answer: str, random_: random.Random) -> str:
    for _ in range(random_.choice([1, 1, 2, 3, 8])):
        start = random_.randint(0, len(answer))
        end = min(len(answer), start + random_.choice([0, 1, 1, 2, 5, 20]))
        kind = random_.randrange(6)
        if kind == 0:
            answer = answer[:start]
        elif kind == 1:
            answer = answer[:start] + answer[end:]
        elif kind == 2:
            answer = answer[:start] + random_.choice(PARTS) + answer[end:]
        elif kind == 3:
            answer = answer[:end] + answer[start:]
        elif kind == 4:
            answer = answer.replace(*random_.sample(PARTS, 2), random_.randint(1, 4))
        else:
            answer = answer[start:] + answer[:start]
    return answer


def right_answers(text: str, random_: random.Random) -> list[tuple[str, str, int | None]]:
    """Answers about random pieces of the text, with the format and the number of the type asked for."""
    mentions = []
    for _ in range(random_.randint(0, 6)):
        start = random_.randrange(len(text))
        mentions.append((text[start : start + random_.randint(1, 15)], random_.choice(TYPES).name))
    answers = []
    for prompt in PROMPTS:
        for number, answer in enumerate(prompt.answer(mentions, TYPES)):
            if random_.random() < 0.3:
                answer = json.dumps(json.loads(answer), indent=random_.choice([None, 1]))
            answers.append((answer, prompt.format, number if prompt.per_type else None))
    return answers


def check(raw: str, answer: Answer, text: str) -> None:
    assert answer.status in {"valid", "repaired", "unreadable"}
    assert answer.status == "valid" or answer.notes
    assert answer.status != "unreadable" or not answer.mentions
    if answer.status == "valid":
        json.loads(raw.strip())
    for mention in answer.mentions:
        start, end = mention.span
        assert 0 <= start < end <= len(raw)
        assert resolved(raw[start:end]) == joined(mention.text)
        assert mention.label in {t.name for t in TYPES}
    aligned, missing = align(text, answer.mentions)
    for place in aligned:
        assert 0 <= place.start < place.end <= len(text)
        found = text[place.start : place.end]
        assert visible(found) == visible(place.mention.text)
        assert place.how == ("exact" if found == place.mention.text.strip() else "normalised")
        assert place.mention in answer.mentions and place.mention not in missing
    assert set(missing) <= set(answer.mentions)


ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "/": "/", "\\": "\\", '"': '"', "'": "'"}


def resolved(content: str) -> str:
    def one(found: re.Match[str]) -> str:
        return chr(int(found[1][1:], 16)) if len(found[1]) == 5 else ESCAPES.get(found[1], found[0])

    return joined(re.sub(r"\\(u[0-9a-fA-F]{4}|.)", one, content, flags=re.DOTALL))


def joined(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def visible(text: str) -> str:
    folded = unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())
    return re.sub(r"[\s\u200d\0]", "", folded)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_made_up(seed: int):
    random_ = random.Random(seed)
    seen: dict[str, int] = {}
    while sum(seen.values()) < 2_500:
        text = random_.choice(TEXTS)
        for right, prompt_format, number in right_answers(text, random_):
            raw = mutated(right, random_)
            answer = parse(raw, prompt_format, TYPES, None if number is None else TYPES[number])
            check(raw, answer, text)
            seen[answer.status] = seen.get(answer.status, 0) + 1
    assert all(seen[status] > 100 for status in ("valid", "repaired", "unreadable")), seen
