"""Options that several verbs share, and what was given by them, checked before anything slow begins."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from samner.arguments import probability
from samner.cli.output import counted, say
from samner.data import read_examples
from samner.data.lines import STANDARD_STREAM
from samner.display import known_names
from samner.entities import EntityType, Example, LabelsLike, entity_types
from samner.errors import DataError, SamnerError
from samner.settings import plain_value
from samner.thresholds import ThresholdLike

_ADAPTATION = "Adaptation"
_MERGING = "Merging"
_ADAPTERS = "Adapters"

Texts = Annotated[
    Path,
    typer.Argument(
        metavar="TEXTS", help="Texts: JSON Lines, plain text (one a line), CSV, CoNLL, ..., or - for standard input."
    ),
]
DEFAULT_POOL = "default"


def named_pool(pool: str) -> str:
    """The pool that was named; where none was, the best whose model is there."""
    from samner.pools import default_pool

    return default_pool() if pool == DEFAULT_POOL else pool


Pool = Annotated[
    str,
    typer.Option(
        "--pool",
        metavar="POOL",
        help="'smollm2', 'builtin' (smaller and faster), 'smollm2-generation' (answers in JSON), a folder, or the hub "
        "id of a pool (owner/name). By default smollm2 where its language model is there (see 'samner pool fetch'), "
        "else builtin.",
        callback=named_pool,
        show_default=False,
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels",
        metavar="A,B,...",
        help="Entity types to look for, parted by commas. For a name with a comma in it, or descriptions, see "
        "--labels-file.",
    ),
]
LabelsFile = Annotated[
    Path | None,
    typer.Option(
        "--labels-file",
        metavar="FILE",
        help="Entity types from a file. In a .txt, one a line: 'name' or 'name: description'. In a .yaml or .json, a "
        "list of names, or a mapping from name to description.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Of the input: jsonl, conll, csv, text, ... (docs/formats.md), or csv:COLUMN for a text in another "
        "column. By default the content tells.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="'cpu', 'cuda', ..., or 'auto': a GPU if there is one. For a language model that answers in JSON also a "
        "server that has it (vLLM): the URL of its API, as http://host:8000/v1, or a JSON file; see "
        "docs/model_servers.md.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs, on standard output.")]

Mode = Annotated[
    str,
    typer.Option(
        "--mode",
        metavar="MODE",
        help="union: what the merge of either selection finds; intersection: what both find; similarity or sampling: "
        "one of them alone; economy: a single merge of all selected experts, for one pass.",
    ),
]


def _count(value: str | int) -> int | str:
    """A number of experts as given; whether it is a possible one is for the selection to say."""
    try:
        return int(value)
    except ValueError:
        return value


Experts = Annotated[
    Any,
    typer.Option(
        "--experts",
        metavar="N",
        parser=_count,
        help="How many experts each selection picks; auto: its best and those not far below, at most three; in an "
        "expert's own domain that one alone, unmerged.",
        rich_help_panel=_ADAPTATION,
    ),
]
Samples = Annotated[
    int,
    typer.Option(
        "--samples", metavar="N", help="How many texts selection by sampling draws.", rich_help_panel=_ADAPTATION
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of whatever is drawn at random.")]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude", metavar="EXPERT", help="An expert to leave out; may be repeated.", rich_help_panel=_ADAPTATION
    ),
]
Method = Annotated[
    str,
    typer.Option(
        "--method",
        metavar="METHOD",
        help="How experts are merged: ties, linear, magnitude_prune, breadcrumbs, dare_linear, dare_ties, della, "
        "knots, or what an installed package adds.",
        rich_help_panel=_MERGING,
    ),
]
Density = Annotated[
    float | None,
    typer.Option(
        "--density",
        metavar="SHARE",
        help="Share of each expert's changes that the merge keeps; by default the pool's, or the method's own.",
        rich_help_panel=_MERGING,
    ),
]
Lam = Annotated[
    float | None,
    typer.Option(
        "--lam",
        metavar="FACTOR",
        help="Factor on the merged change; by default the pool's, or the method's own.",
        rich_help_panel=_MERGING,
    ),
]
Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="NAME=VALUE",
        help="Any other parameter of the merge method, as gamma=0.01 or scope=tensor; may be repeated.",
        rich_help_panel=_MERGING,
    ),
]
Threshold = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold",
        metavar="[LABEL=]SCORE",
        help="Score from which an entity counts, or an entity of a label (drug=0.3); may be repeated. The model's own "
        "if not given.",
    ),
]

OutFolder = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="FOLDER", help="The folder to write; must not exist.", show_default=False),
]

Force = Annotated[bool, typer.Option("--force", help="Replace the file that is to be written, if there is one.")]

MaxMinutes = Annotated[
    float | None, typer.Option("--max-minutes", metavar="M", help="End the training after so long.")
]
TrainingOptions = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="A training option; repeated. A wrong one lists them all."),
]

Rank = Annotated[
    int | None,
    typer.Option(
        "--rank", metavar="N", help="Of the adapters written; vLLM takes up to 512.", rich_help_panel=_ADAPTERS
    ),
]
MaxError = Annotated[
    float | None,
    typer.Option(
        "--max-error",
        metavar="SHARE",
        help="Instead of a rank: the relative error that an adapter may have, from which its rank follows.",
        rich_help_panel=_ADAPTERS,
    ),
]
DType = Annotated[
    str | None,
    typer.Option(
        "--dtype",
        metavar="TYPE",
        help="Of the adapters written: float32 (the default), float16 or bfloat16.",
        rich_help_panel=_ADAPTERS,
    ),
]
SameBase = Annotated[
    list[str] | None,
    typer.Option(
        "--same-base",
        metavar="A=B",
        help="That two names are of one base model, whose adapters are taken together; or A, if all are of that. May "
        "be repeated.",
    ),
]


_LABEL_FILES = (".txt", ".json", ".yaml", ".yml")


def labels_given(labels: str | None, file: Path | None) -> tuple[EntityType, ...] | None:
    """The entity types of ``--labels`` or ``--labels-file``; None if neither was given.

    Raises:
        SamnerError: If both were given, the file cannot be read, or a name is blank or given twice.
    """
    if labels is not None and file is not None:
        raise SamnerError("give --labels or --labels-file, not both")
    if labels is not None and Path(labels).suffix.lower() in _LABEL_FILES:
        raise SamnerError(f"--labels takes names, not a file; give --labels-file {labels}")
    if labels is not None and _is_json(labels):
        raise SamnerError("--labels takes names parted by commas, not JSON; that goes into a file for --labels-file")
    if labels is not None:
        try:
            return entity_types([name.strip() for name in labels.split(",")])
        except SamnerError as error:
            raise SamnerError(f"--labels: {error}") from error
    return None if file is None else _read_labels(file)


def _is_json(labels: str) -> bool:
    try:
        return isinstance(json.loads(labels), list | dict)
    except (ValueError, RecursionError):
        return False


def labels_needed(labels: str | None, file: Path | None) -> tuple[EntityType, ...]:
    """Like :func:`labels_given`, but there must be some.

    Raises:
        SamnerError: Also if neither was given.
    """
    types = labels_given(labels, file)
    if types is None:
        raise SamnerError("say what to look for: --labels person,organization or --labels-file FILE")
    return types


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What was given by ``--threshold``: one for all labels, and those of some labels."""

    common: float | None
    by_label: Mapping[str, float]

    @classmethod
    def given(cls, values: Sequence[str] | None) -> Thresholds:
        """From the options.

        Raises:
            SamnerError: If one is no number between 0 and 1, or is given twice.
        """
        found: dict[str, float] = {}
        for value in values or ():
            label, equals, number = value.rpartition("=")
            try:
                threshold = probability(float(number), "--threshold")
            except (ValueError, SamnerError) as error:
                raise SamnerError(
                    f"--threshold must be a number between 0 and 1 (exclusive), or LABEL=NUMBER, not {value!r}"
                ) from error
            if label in found or (equals and not label):
                raise SamnerError(f"--threshold {value}: {'is given twice' if label in found else 'names no label'}")
            found[label] = threshold
        return cls(found.pop("", None), found)

    def of(self, names: Sequence[str], *, some: bool = False) -> ThresholdLike | None:
        """As ``predict`` and ``adapt`` take it.

        Args:
            names: Of the labels.
            some: Whether these are only some of the labels that thresholds may be of.

        Raises:
            SamnerError: If one is of no such label.
        """
        unknown = [label for label in self.by_label if label not in names]
        if unknown and not some:
            there = known_names(unknown[0], names)
            raise SamnerError(f"--threshold names the label {unknown[0]!r}; the labels are {there}")
        if not self.by_label:
            return self.common
        common = {} if self.common is None else dict.fromkeys(names, self.common)
        return common | {label: limit for label, limit in self.by_label.items() if label in names}


def _read_labels(file: Path) -> tuple[EntityType, ...]:
    suffix = file.suffix.lower()
    if suffix not in _LABEL_FILES:
        raise DataError(f"{file}: a file of labels is a .txt, a .yaml or a .json")
    try:
        content = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: not UTF-8 (at byte {error.start + 1}); convert the file to UTF-8 first") from error
    try:
        return entity_types(_from_lines(content) if suffix == ".txt" else _from_values(content, suffix == ".json"))
    except SamnerError as error:
        raise DataError(f"{file}: {error}") from error


def _from_lines(content: str) -> list[EntityType]:
    parts = [line.partition(": ") for line in content.splitlines() if line.strip()]
    return [EntityType(name.strip(), description.strip()) for name, _, description in parts]


def _from_values(content: str, json_only: bool) -> LabelsLike:
    try:
        value = json.loads(content) if json_only else plain_value(content, "labels")
    except (ValueError, RecursionError) as error:
        raise DataError(f"not valid JSON ({error})") from error
    names, descriptions = (list(value), value.values()) if isinstance(value, Mapping) else (value, ())
    if (
        not isinstance(names, list)
        or not all(isinstance(name, str) for name in names)
        or not all(text is None or isinstance(text, str) for text in descriptions)
    ):
        raise DataError("must hold a list of names, or a mapping from name to description")
    labels: LabelsLike = value
    return labels


def given(context: typer.Context) -> set[str]:
    """Names of the parameters that were given on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def check_output_file(path: Path, source: Path | None = None, *, force: bool = False) -> None:
    """Check that a file can be written there later on.

    Raises:
        SamnerError: If its folder is missing, there is something already and it is not to be replaced by ``force``, or
            is no file, or it is what is read.
    """
    _check_parent(path)
    if path.is_dir():
        raise SamnerError(f"{path} is a folder; name a file to write")
    if path.exists() and not path.is_file():
        raise SamnerError(f"{path} is not a plain file; leave out -o to write to standard output")
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        raise SamnerError(f"{path} is what is read; write to another file")
    if os.path.lexists(path) and not force:  # a link that leads nowhere is there, too
        raise SamnerError(f"{path} exists already; name another file, remove it, or replace it with --force")


def check_replaceable(path: Path) -> None:
    """Check that a file that is there can be written anew later on.

    Raises:
        SamnerError: If its folder is not to be written to, in which what replaces it is made.
    """
    if path.exists():
        _check_parent(path)


def check_output_folder(path: Path) -> None:
    """Check that a folder can be made there later on.

    Raises:
        SamnerError: If its parent is missing or it exists.
    """
    if os.path.lexists(path):
        raise SamnerError(f"{path} exists already; choose another name or remove it first")
    _check_parent(path)


def _check_parent(path: Path) -> None:
    if not path.parent.is_dir():
        raise SamnerError(f"there is no folder {path.parent} to write {path.name} to; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise SamnerError(f"{path}: cannot be written, as its folder {path.parent} is not to be written to")


def read_all(path: Path, format: str | None) -> list[Example]:
    """Read texts with what else is known of them, and say how many there are; labels are not looked at.

    Raises:
        DataError: If they cannot be read.
    """
    examples = read_examples(path, format, labelled=False)
    say(f"read {counted(len(examples), 'text')} from {'standard input' if path == STANDARD_STREAM else path}")
    return examples


def texts_of(path: Path, format: str | None) -> list[str]:
    """As :func:`read_all`, the texts alone."""
    return [example.text for example in read_all(path, format)]


def given_parameters(density: float | None, lam: float | None, params: Sequence[str]) -> dict[str, float | str]:
    """The parameters of a merge method that were given, each ``NAME=VALUE`` of ``params`` among them.

    Raises:
        SamnerError: If one is not of that form or is given twice, or it is the seed, which has an option of its own.
    """
    options = {"density": density, "lam": lam}
    parameters: dict[str, float | str] = {name: value for name, value in options.items() if value is not None}
    for param in params:
        name, equals, text = param.partition("=")
        if not name or not equals:
            raise SamnerError(f"--param must be NAME=VALUE, not {param!r}")
        if name == "seed":
            raise SamnerError("the seed is set by --seed, not by --param")
        if name in parameters:
            raise SamnerError(f"the parameter {name!r} is given twice")
        parameters[name] = _value(text)
    return parameters


def training_options(pairs: Sequence[str]) -> dict[str, Any]:
    """What was given by ``--option``, each ``KEY=VALUE``, the values as in a YAML file.

    Raises:
        SamnerError: If one is not of that form or given twice.
    """
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise SamnerError(f"--option {pair}: write key=value, for instance --option epochs=5")
        if key in options:
            raise SamnerError(f"the training option {key!r} is given twice")
        options[key] = None if value.lower() == "none" else plain_value(value, f"--option {pair}")
    return options


def _value(text: str) -> float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
