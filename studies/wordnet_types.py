"""Annotate text with WordNet's noun hierarchy: thousands of types for teaching a base what a type's name means.

    apt-get install wordnet-base
    python -m studies.wordnet_types ../shared/data/foundation/multiconer2/train.jsonl --out runs/foundation/wordnet

Texts are WordNet's own definitions and usage examples, and the given ones. A mention is a noun, or a phrase of up to
four words, that WordNet lists as the name of something particular (an instance, or a kind without kinds below it) and
whose first sense is its only or by far its most frequent one. Its types are the names of everything above it in the
hierarchy, up to the most general.

Distant supervision: senses are not disambiguated further, so some annotations are wrong.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from samner.cli.output import guarded
from samner.data import read_examples, write_examples
from samner.entities import Entity, Example
from samner.files import write_json

MOST_WORDS = 4
LEAST_BELOW = 5
MOST_BELOW = 12000
"""A type has at least and at most so many things below it: others say too little, or nothing."""

DOMINANT = 4
"""A first sense is trusted where it was tagged this many times as often as all others together."""

FIELDS = {
    4: 0.3,
    5: 0.1,
    6: 1,
    8: 0.3,
    9: 0.5,
    10: 1,
    11: 1,
    13: 1,
    14: 1,
    15: 1,
    17: 0.5,
    18: 1,
    20: 0.05,
    26: 0.5,
    27: 0.5,
}
"""Lexicographer files (lexnames(5WN)) whose nouns are annotated, with the share of their definitions that is used: not
those of attributes, feelings or times, which are seldom asked for, and few of the many plants and animals."""

_WORD = re.compile(r"\w+(?:['-]\w+)*")
FUNCTION = frozenset(
    _WORD.findall(
        "a an and are as at be by do for he her his i if in is it its me no nor of on or our she so the they this to "
        "us was we were who with you"
    )
)
"""Function words, some of which are rare nouns, too."""

_EXAMPLE = re.compile(r'"([^"]{15,200})"')
_INTRODUCTIONS = ("{name}, {gloss}", "{name} ( {gloss} )", "{name} is {gloss}", "{gloss} : {name}", "{name} : {gloss}")


@dataclass
class Synset:
    """A noun sense: its names, what is directly above it, and its definition with examples."""

    names: list[str]
    above: list[str]
    instance: bool
    gloss: str
    field: int
    below: int = 0
    examples: list[str] = field(default_factory=list)


class WordNet:
    """The nouns of WordNet 3.0 as its database files hold them; the format is described in wndb(5)."""

    def __init__(self, folder: Path) -> None:
        self.synsets = dict(_synsets(folder / "data.noun"))
        parents = {above for synset in self.synsets.values() for above in synset.above}
        self.leaves = {key for key in self.synsets if key not in parents}
        for key in self.leaves:
            for above in self.above(key):
                self.synsets[above].below += 1
        counts = _counts(folder / "cntlist.rev")
        others = {word for kind in ("adj", "adv", "verb") for word, _ in _index(folder / f"index.{kind}")} | FUNCTION
        self.first: dict[str, str] = {}
        self.clear: dict[str, str] = {}
        for lemma, senses in _index(folder / "index.noun"):
            self.first[lemma] = senses[0]
            tagged = counts[lemma]
            rest = sum(n for sense, n in tagged.items() if sense > 1)
            if lemma in others:
                continue
            if len(senses) == 1 or tagged[1] >= DOMINANT * max(rest, 1):
                self.clear[lemma] = senses[0]
        self.names = {key: name for key, synset in self.synsets.items() if (name := self._name(key, synset))}

    def above(self, key: str) -> set[str]:
        """Everything above a sense."""
        found: set[str] = set()
        waiting = list(self.synsets[key].above)
        while waiting:
            if (one := waiting.pop()) not in found:
                found.add(one)
                waiting += self.synsets[one].above
        return found

    def types(self, key: str) -> list[str]:
        """Names of the types of what this sense names."""
        return sorted({self.names[one] for one in self.above(key) if one in self.names})

    def definitions(self) -> dict[str, str]:
        """What each type is: its gloss up to the first semicolon."""
        return {name: self.synsets[key].gloss.split(";")[0].strip() for key, name in sorted(self.names.items())}

    def particular(self, key: str) -> bool:
        """Whether it is the sense of a name or of a kind that has no kinds below it."""
        return key in self.leaves and self.synsets[key].field in FIELDS

    def _name(self, key: str, synset: Synset) -> str | None:
        """What a type is called: the first name whose first sense it is."""
        if not LEAST_BELOW <= synset.below <= MOST_BELOW:
            return None
        return next((n for n in synset.names if self.first.get(n.replace(" ", "_").lower()) == key), None)


def _synsets(path: Path) -> Iterator[tuple[str, Synset]]:
    for line in path.read_text(encoding="latin-1").splitlines():
        if line.startswith("  "):  # the licence
            continue
        data, _, gloss = line.partition(" | ")
        fields = data.split()
        count = int(fields[3], 16)
        names = [name.replace("_", " ") for name in fields[4 : 4 + 2 * count : 2]]
        pointers = fields[5 + 2 * count :]
        above = [(symbol, key) for symbol, key in zip(pointers[::4], pointers[1::4], strict=False)]
        examples = _EXAMPLE.findall(gloss)
        definition = gloss.split('; "')[0].strip()
        yield (
            fields[0],
            Synset(
                names,
                [key for symbol, key in above if symbol in ("@", "@i")],
                any(symbol == "@i" for symbol, _ in above),
                definition,
                int(fields[1]),
                examples=examples,
            ),
        )


def _index(path: Path) -> Iterator[tuple[str, list[str]]]:
    for line in path.read_text(encoding="latin-1").splitlines():
        if not line.startswith("  "):
            fields = line.split()
            yield fields[0], fields[-int(fields[2]) :]


def _counts(path: Path) -> dict[str, Counter[int]]:
    """How often each sense of a noun was tagged in the texts that WordNet was made with."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for line in path.read_text(encoding="latin-1").splitlines():
        key, sense, count = line.split()
        lemma, _, rest = key.partition("%")
        if rest.startswith("1"):
            counts[lemma][int(sense)] = int(count)
    return counts


def annotate(wordnet: WordNet, text: str, own: dict[str, str]) -> list[Entity]:
    """The mentions of a text, longest first, each once for every type.

    Args:
        wordnet: The hierarchy.
        text: Any text.
        own: Names, in lower case, whose sense is known here.
    """
    words = list(_WORD.finditer(text))
    entities: list[Entity] = []
    i = 0
    while i < len(words):
        for size in range(min(MOST_WORDS, len(words) - i), 0, -1):
            start, end = words[i].start(), words[i + size - 1].end()
            key = _sense(wordnet, text[start:end].lower(), own)
            if key is not None:
                entities += [Entity(start, end, name) for name in wordnet.types(key)]
                i += size - 1
                break
        i += 1
    return entities


def _sense(wordnet: WordNet, phrase: str, own: dict[str, str]) -> str | None:
    for form in (phrase, phrase.removesuffix("s")):
        if form in own:
            return own[form]
        key = wordnet.clear.get(form.replace(" ", "_"))
        if key and len(form) > 2 and wordnet.particular(key):
            return key
    return None


def texts(wordnet: WordNet, rng: np.random.Generator) -> Iterator[tuple[str, dict[str, str]]]:
    """Definitions and examples, each with the names whose sense is known in it."""
    for key, synset in wordnet.synsets.items():
        if not wordnet.particular(key) or not wordnet.types(key):
            continue
        own = {name.lower(): key for name in synset.names}
        for example in synset.examples:
            yield example, own
        if rng.random() < FIELDS[synset.field]:
            name = synset.names[int(rng.integers(len(synset.names)))]
            pattern = _INTRODUCTIONS[int(rng.integers(len(_INTRODUCTIONS)))]
            gloss = " ".join(re.sub(r"[();]", " , ", synset.gloss).split()[:30]).strip(" ,")
            yield pattern.format(name=name, gloss=gloss), own


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", type=Path, nargs="*", help="texts to annotate besides; their labels are not read")
    parser.add_argument(
        "--wordnet", type=Path, default=Path("/usr/share/wordnet"), help="folder of its database files"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write train.jsonl and dev.jsonl to")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    wordnet = WordNet(arguments.wordnet)
    given = [(e.text, {}) for path in arguments.texts for e in read_examples(path)]
    seen: dict[str, Example] = {}
    for text, own in [*texts(wordnet, rng), *given]:
        if text not in seen and (entities := annotate(wordnet, text, own)):
            seen[text] = Example(text, tuple(entities))
    examples = [list(seen.values())[i] for i in rng.permutation(len(seen))]
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_examples(examples[:500], arguments.out / "dev.jsonl")
    write_examples(examples[500:], arguments.out / "train.jsonl")
    write_json(arguments.out / "definitions.json", wordnet.definitions())
    types = Counter(e.label for example in examples for e in example.entities)
    print(
        f"{len(examples)} texts, {len(types)} types; most frequent: {', '.join(t for t, _ in types.most_common(40))}"
    )


if __name__ == "__main__":
    main()
