"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

_ADAPTATION = "Adaptation"
_MERGING = "Merging"
_ADAPTERS = "Adapters"

Texts = Annotated[
    Path,
    typer.Argument(
        metavar="TEXTS", help="Texts: .jsonl, .txt (one a line), CoNLL, a saved dataset, or - for standard input."
    ),
]
Pool = Annotated[
    str, typer.Option("--pool", metavar="POOL", help="'builtin', a folder, or the hub id of a pool (owner/name).")
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
        help="Entity types from a file. In a .txt, one a line: 'name' or 'name: description'. In a .json, a list of "
        "names, or an object from name to description.",
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Of the input: jsonl, conll, iob1, text or datasets. By default the suffix tells; standard input is "
        "jsonl.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="'cpu', 'cuda', ..., or 'auto': a GPU if there is one. For a language model also a server that has it "
        "(vLLM): the URL of its API, as http://host:8000/v1, or a JSON file; see docs/serving.md.",
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
        help="How many experts each selection picks; auto: its best and those not far below, at most three.",
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
    float | None,
    typer.Option(
        "--threshold", metavar="SCORE", help="Score from which an entity counts; the model's own if not given."
    ),
]

OutFolder = Annotated[
    Path,
    typer.Option("--out", "-o", metavar="FOLDER", help="The folder to write; must not exist.", show_default=False),
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
