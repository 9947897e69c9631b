"""Names of base models, of their modules and of adapters' tensors: what they stand for, and which mean the same."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import combinations, pairwise, product
from pathlib import PurePath
from typing import NamedTuple

from samner.display import cut, printable
from samner.errors import ModelError

# What compiling, sharding and checkpointing put between the parts of a module's name.
_WRAPPERS = {"_forward_module", "_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "base_layer"}
_WRAPPERS |= {"_checkpoint_wrapped_module"}
# What stands before a layer's name only because of the class that held the model: a text model by itself, with its
# head, or within a multimodal model, in the two orders that transformers 4 and 5 have.
_HOLDERS = {"model", "language_model", "transformer", "auto_model", "bert", "roberta", "distilbert", "deberta"}
_HOLDERS |= {"electra", "albert", "mpnet", "gpt_neox"}
# Parts of a model beside its text model, whose layers may be called alike.
_OTHER_PARTS = ("vision", "visual", "audio", "image", "speech")
_FACTORS = {"lora_A": "A", "lora_down": "A", "lora_B": "B", "lora_up": "B"}
_BUFFERS = {"inv_freq", "original_inv_freq", "position_ids", "token_type_ids", "cos_cached", "sin_cached"}
_VOCABULARY = {"embed_tokens", "embed_out", "lm_head", "shared", "tok_embeddings", "word_embeddings", "wte"}

# ends of names under which the same weights are published in another type or layout
_REPACKED = {"unsloth", "bnb", "4bit", "8bit", "awq", "gptq", "gguf", "nf4", "hqq", "mlx", "hf", "quantized", "marlin"}
_REPACKED |= {"int4", "int8", "fp8", "fp16", "bf16", "w4a16", "w8a8", "w8a16"}
# names of folders that say nothing of what is in them
_ANYTHING = {"base", "best", "checkpoint", "final", "latest", "llm", "merged", "model", "out", "output", "weights"}


class Key(NamedTuple):
    """What a tensor's key stands for.

    Args:
        kind: ``"A"`` or ``"B"``, a factor; ``"alpha"``, the module's own; ``"copy"``, of the base's weight.
        module: Name of the module in the base model.
        stored: The name that PEFT would match with patterns.
        adapter: The adapter's name within the file; mostly there is none.
    """

    kind: str
    module: str
    stored: str
    adapter: str = ""


def read_key(name: str) -> Key | None:
    """What a key means; none if the tensor under it changes nothing.

    Raises:
        ModelError: If it is more than LoRA on a linear layer.
    """
    parts = name.replace(".lora.down.", ".lora_down.").replace(".lora.up.", ".lora_up.").split(".")
    place = next((i for i in reversed(range(len(parts))) if parts[i] in _FACTORS), None)
    if place is not None and parts[-1] == "weight" and len(parts) - place in (2, 3) and (key := _plain(parts[:place])):
        return Key(_FACTORS[parts[place]], *key, adapter=parts[place + 1] if len(parts) - place == 3 else "")
    if "base_layer" in parts or "original_module" in parts:
        key = _plain(parts[:-1])
        return Key("copy", *key) if key and parts[-1] == "weight" else None
    if parts[-1] in _BUFFERS:
        return None
    if parts[-1] == "alpha" and (key := _plain(parts[:-1])):
        return Key("alpha", *key)
    raise ModelError(f"holds the tensor {shown(name)}{_reason(parts, place)}")


def _reason(parts: Sequence[str], place: int | None) -> str:
    """Why a tensor cannot be merged."""
    if "lora_magnitude_vector" in parts:
        return " of DoRA, which cannot be merged"
    if "lora_embedding_A" in parts or "lora_embedding_B" in parts:
        return " of an embedding's LoRA, which cannot be merged"
    if place is not None and parts[-1] == "bias":
        return " of a LoRA bias, which cannot be merged"
    if any("lora" in part.lower() for part in parts):
        return ", LoRA under a key that is not known; save the adapter by PEFT"
    if is_vocabulary(".".join(parts[:-1])):
        return (
            ", which is not a LoRA matrix: embeddings or a head saved whole, as they are when trained or resized for "
            "new tokens, which cannot be merged; if neither, save the adapter with save_embedding_layers=False"
        )
    return ", which is not a LoRA matrix; a module saved whole cannot be merged"


def _plain(parts: list[str]) -> tuple[str, str] | None:
    """A module's name in the base model, and the one that PEFT would know it by."""
    stored = ".".join(parts[2:] if parts[:2] == ["base_model", "model"] else parts)
    parts = [part for part in parts if part not in _WRAPPERS]
    # what stands before PEFT's own wrapper held the adapted model: a trainer's model, a value head's
    if peft := [i for i, pair in enumerate(pairwise(parts)) if pair == ("base_model", "model")]:
        del parts[: peft[-1] + 2]
    while parts[:1] == ["module"]:
        del parts[0]
    return (".".join(parts), stored) if parts else None


def layer_of(module: str) -> str:
    """A module's name without what stands before it only because of the class that held the model.

    ``model.language_model.layers.0.mlp.up_proj`` and ``model.layers.0.mlp.up_proj`` are ``layers.0.mlp.up_proj``.
    """
    parts = module.split(".")
    start = 1 if parts[0].isdecimal() and len(parts) > 2 else 0  # a part of a sentence-transformers model
    while start < len(parts) - 1 and parts[start] in _HOLDERS:
        start += 1
    return module if start == 1 and parts[0].isdecimal() else ".".join(parts[start:])


def match_modules(modules: Collection[str], known: Collection[str]) -> dict[str, str]:
    """For each module the known one that is it: of the same name, or else the only one that is the same layer."""
    layers: dict[str, list[str]] = {}
    for name in known:
        layers.setdefault(layer_of(name), []).append(name)
    found = {module: [module] if module in known else layers.get(layer_of(module), []) for module in modules}
    return {module: names[0] for module, names in found.items() if len(names) == 1}


def is_vocabulary(module: str) -> bool:
    """Whether a module has a row for each token: embeddings, or the head of a language model."""
    return module.rpartition(".")[2] in _VOCABULARY


def common_names(adapters: Sequence[tuple[str, Collection[str]]]) -> list[dict[str, str]]:
    """One name for each layer that several adapters of one base name in different ways.

    Of the ways that are known the one most adapters have is taken.

    Args:
        adapters: Each adapter's name and those of its modules.

    Returns:
        For each adapter its modules' names to the common ones.

    Raises:
        ModelError: If layers of two adapters seem to be the same, but for something before their names that is not
            known to be without meaning.
    """
    ways = [_prefixes(modules) for _, modules in adapters]
    votes = Counter(item for way in ways for item in way.items())
    main: dict[str, str] = {}
    for way in sorted(filter(None, ways), key=lambda way: _rank(way, votes)):
        main = {stack: _translated(stack, way, main) for stack in way} | main
    names, seen = [], {}
    for (name, modules), way in zip(adapters, ways, strict=True):
        names.append({m: main[_stack(m)] + layer_of(m) if _stack(m) in way else m for m in modules})
        # stacks of layers only: a module that is in none may be called as it likes
        found = {_stack(m): m for m in sorted(modules, reverse=True) if _stack(m) != layer_of(m)}
        seen[frozenset(found)] = name, found
    for (a, mine), (b, others) in combinations(seen.values(), 2):
        for one, two in product(mine.keys() - others.keys(), others.keys() - mine.keys()):
            if _is_wrapped(one, two):
                raise ModelError(
                    f"{a!r} adapts {shown(mine[one])} but {b!r} {shown(others[two])}: these may be two names of the "
                    "same layers of one base, and would be merged past each other; rename the modules of one"
                )
    return names


def _rank(way: dict[str, str], votes: Counter[tuple[str, str]]) -> tuple[float, int, list[tuple[str, str]]]:
    """Sorts ways: first those with most votes, then the shorter, then anyhow but always alike."""
    return -sum(votes[item] for item in way.items()) / len(way), len("".join(way.values())), sorted(way.items())


def _prefixes(modules: Collection[str]) -> dict[str, str]:
    """What one adapter has before the layers of each of its stacks."""
    if len({layer_of(module) for module in modules}) < len(modules):
        return {}  # two stacks that only their holders tell apart
    return {_stack(module): module.removesuffix(layer_of(module)) for module in sorted(modules)}


def _translated(stack: str, way: dict[str, str], main: dict[str, str]) -> str:
    """What the main way would have before a stack that it does not name, judging by what both do."""
    prefix = way[stack]
    for shared in sorted(way.keys() & main.keys()):
        mine, theirs = way[shared], main[shared]
        if mine != theirs and mine.endswith(theirs):
            return prefix.removeprefix(mine.removesuffix(theirs))
        if mine and mine != theirs and theirs.endswith(mine):
            return theirs.removesuffix(mine) + prefix
        if mine and mine != theirs and prefix.startswith(mine):
            return theirs + prefix.removeprefix(mine)
    return prefix


def _stack(module: str) -> str:
    """The list that a layer is in, ``layers`` for example, as ``layer_of`` names it; or a module that is in none."""
    parts = layer_of(module).split(".")
    place = next((i for i, part in enumerate(parts) if i and part.isdecimal()), len(parts))
    return ".".join(parts[:place])


def _is_wrapped(one: str, other: str) -> bool:
    """Whether two stacks are called the same but for what one has before it."""
    short, long = sorted((one, other), key=len)
    before = long.removesuffix(f".{short}")
    return before != long and not any(part in before for part in _OTHER_PARTS)


def base_key(base: str) -> str:
    """What names of one base have in common, wherever it lies (an owner, a folder, a cache), however it is packed."""
    whole = PurePath(base)
    cached = next((part for part in whole.parts if part.startswith("models--")), None)  # <cache>/<this>/snapshots/...
    last = (cached.rpartition("--")[2] if cached else whole.name).lower()
    if last.partition("-")[0] in _ANYTHING or last.isdecimal():
        return whole.as_posix()
    return "".join(_words(last))


def _words(name: str) -> list[str]:
    """The words of a name and what parts them, without those that say how it is packed."""
    words = re.split(r"([-_.])", name.lower())
    while len(words) > 2 and words[-1] in _REPACKED:
        del words[-2:]
    return words


def is_repacked(base: str) -> bool:
    """Whether a base's name says that it is packed in another way than it was published first."""
    last = PurePath(base).name
    return "".join(_words(last)) != last.lower()


def statement(same_base: Iterable[str], named: Collection[str]) -> tuple[str | None, list[set[str]]]:
    """What was said of bases: the one that all are of, or else groups of ``base_key`` that are of one.

    Args:
        same_base: Each ``"A=B"``, or ``"A"`` if all are of that.
        named: Names of bases that there are.

    Raises:
        ModelError: If a name is none of those.
    """
    known = {base_key(name) for name in named}
    groups: list[set[str]] = []
    for text in same_base:
        if "=" not in text:
            return text, []
        pair = next((pair for pair in _splits(text) if pair <= known), None)
        if pair is None:
            bases = ", ".join(sorted(map(shown, named))) or "none"
            raise ModelError(f"--same-base {text}: give two names of bases as A=B; the adapters name {bases}")
        joined = pair.union(*(group for group in groups if group & pair))
        groups = [group for group in groups if not group & joined] + [joined]
    return None, groups


def _splits(text: str) -> Iterator[set[str]]:
    """Both sides of every equals sign, of which there may be some in a folder's name."""
    for match in re.finditer("=", text):
        yield {base_key(text[: match.start()]), base_key(text[match.end() :])}


def shown(name: str) -> str:
    """A name from a file, fit for a line of a message."""
    return printable(cut(name, 300), lines=False)
