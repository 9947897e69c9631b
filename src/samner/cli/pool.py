"""Make, look at, change, check and share pools of experts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samner.cli import options
from samner.cli.options import check_output_folder
from samner.cli.output import console, counted, say, status, table, write_json
from samner.cli.runtime import start
from samner.errors import PoolError, SamnerError
from samner.files import read_json, user_path
from samner.hub import is_reference

if TYPE_CHECKING:
    from samner.pool import ExpertCard, ExpertPool

Changed = Annotated[str, typer.Argument(metavar="POOL", help="The folder of the pool.")]


_OVER = "Over a model"


def create(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The pool to make; must not exist.")],
    source: Annotated[
        str | None, typer.Option("--from", metavar="POOL", help="The pool to copy; 'builtin' if not given.")
    ] = None,
    empty: Annotated[bool, typer.Option("--empty", help="Copy its base model only, no experts.")] = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Instead of copying a pool, make an empty one over this language model: a hub id, a GGUF file, or a "
            "folder, which is copied. Code that comes with a model is run only with SAMNER_TRUST_REMOTE_CODE=1.",
            rich_help_panel=_OVER,
        ),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option(
            "--family",
            metavar="NAME",
            help="The family of base models it becomes one of; language models if not given.",
            rich_help_panel=_OVER,
        ),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(
            "--prompt",
            metavar="PROMPT",
            help="How it is asked: a name that 'samner prompts list' shows, or a YAML file.",
            rich_help_panel=_OVER,
        ),
    ] = None,
    four_bit: Annotated[
        bool,
        typer.Option(
            "--four-bit",
            help="Hold the model in 4 bits where there is a GPU; needs bitsandbytes.",
            rich_help_panel=_OVER,
        ),
    ] = False,
) -> None:
    """Make a pool of your own: a copy of another, or an empty one over a language model.

    Example: samner pool create my-pool --from builtin

    Example: samner pool create my-pool --model Qwen/Qwen2.5-7B
    """
    check_output_folder(folder)
    if model is None and (family is not None or prompt is not None or four_bit):
        raise SamnerError("--family, --prompt and --four-bit are of a pool over a model: give --model")
    if model is not None and (source is not None or empty):
        raise SamnerError("--model makes a new pool, --from and --empty copy one: give one or the other")
    start("cpu")
    if model is not None:
        _create_over(folder, model, family, prompt=prompt, four_bit=four_bit)
        return
    copied = _open(source or "builtin")
    from samner.pool import ExpertPool

    names = [] if empty else list(copied.experts)
    # made beside its place and moved there whole, so that an interrupted copy leaves no half a pool
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        made = ExpertPool.create(Path(temporary) / "pool", copied.base_folder, copied.merge)
        with status("copying experts"):
            for name in names:
                made.add(copied.expert_folder(name))
            made.write_model_card(folder.name)
        os.rename(made.folder, folder)
    say(f"made {folder} with {counted(len(names), 'expert')}")


def _create_over(folder: Path, model: str, name: str | None, **settings: Any) -> None:
    from samner.backbones.families import family, family_over_models
    from samner.pool import ExpertPool

    kind = family_over_models() if name is None else family(name)

    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        base = Path(temporary) / "base"
        base.mkdir()
        with status("copying the model"):
            kind.create_base(base, model, **settings)
            made = ExpertPool.create(Path(temporary) / "pool", base)
            made.write_model_card(folder.name)
        os.rename(made.folder, folder)
    say(f"made {folder} over {model}; next: samner train DATA --pool {folder} --name NAME -o EXPERT")


def list_(pool: options.Pool = options.DEFAULT_POOL, json: options.Json = False) -> None:
    """List the experts of a pool."""
    cards = list(_open(pool).experts.values())
    if json:
        write_json([_summary(card) for card in cards])
    elif not cards:
        say(f"{pool} has no experts; 'samner train' makes one, 'samner pool add' adds it")
    else:
        _print_experts(cards)


def _print_experts(cards: Sequence[ExpertCard]) -> None:
    rows = [
        [card.name, len(card.types), ", ".join(source.name for source in card.data), card.description]
        for card in cards
    ]
    console().print(table(["expert", "types", "data sets", "description"], rows, right=("types",)))


def show(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="Of an expert, or of a pool; if not given, that of --pool.")
    ] = None,
    pool: options.Pool = options.DEFAULT_POOL,
    json: options.Json = False,
) -> None:
    """Show the card of an expert: its types, data, licences and training; or what a pool is made of.

    Example: samner pool show biomedical

    Example: samner pool show smollm2-generation
    """
    opened = _open(pool)
    from samner.pool import ExpertCard

    if name is None or (name not in opened.names and _is_pool(name)):
        _show_pool(name or pool, opened if name is None else _open(name), json)
        return
    card = ExpertCard.read(opened.expert_folder(name))
    if json:
        training = {"training": dict(card.training), "files": dict(card.files), "embedding": list(card.embedding)}
        write_json({**_summary(card), "base": card.base, "embedding_model": card.embedding_model, **training})
        return
    to = console()
    to.print(f"{card.name}: {card.description}" if card.description else card.name)
    to.print(f"types: {', '.join(card.types)}")
    to.print(
        table(["data set", "texts", "licence"], [[s.name, s.texts, s.licence] for s in card.data], right=("texts",))
    )
    for part, values in card.training.items():
        shown = values.items() if isinstance(values, dict) else [("", values)]
        said = ", ".join(
            f"{key} {_short(value)}".strip() for key, value in shown if not isinstance(value, list | dict)
        )
        to.print(f"{part}: {said}")


def _is_pool(name: str) -> bool:
    from samner.pool.card import POOL_CARD
    from samner.pools import SHIPPED

    # what has a slash is the path or hub id of a pool: no expert can be named so
    return name in SHIPPED or "/" in name or (user_path(name) / POOL_CARD).is_file()


def _show_pool(name: str, pool: ExpertPool, json: bool) -> None:
    from samner.backbones.families import family_of

    family = family_of(pool.base_folder)
    base = read_json(pool.base_folder / "base.json")
    model, encoder = base.get("model"), base.get("sentence_encoder")
    if model is None and isinstance(encoder, dict):
        model = encoder.get("reference")
    if json:
        summary = {"family": family, "model": model, "taught": sorted(pool.base_types), "merge": dict(pool.merge)}
        write_json({"name": name, **summary, "experts": list(pool.names)})
        return
    to = console()
    to.print(f"{name}: a pool of {counted(len(pool.names), 'expert')}")
    to.print(
        f"base: of the family {family}{f', over {model}' if model else ''}; was taught "
        f"{counted(len(pool.base_types), 'type')}"
    )
    to.print(f"merge: {', '.join(f'{key} {_short(value)}' for key, value in pool.merge.items()) or 'by default'}")
    _print_experts(list(pool.experts.values()))


def add(
    pool: Changed,
    expert: Annotated[Path, typer.Argument(metavar="EXPERT", help="The folder that 'samner train' wrote.")],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Another name for it in the pool than its own.")
    ] = None,
    same_base: options.SameBase = None,
) -> None:
    """Copy an expert into a pool.

    Example: samner pool add my-pool invoices
    """
    opened = _open_to_change(pool)
    if not expert.is_dir():
        raise PoolError(f"{expert}: no such folder; name the one that 'samner train' wrote")
    start("cpu")
    with status("checking the expert against the base model"):
        card = opened.add(expert, name, same_base=same_base or ())
    say(f"added {card.name} to {pool}, which has {counted(len(opened.names), 'expert')} now")


def remove(pool: Changed, name: Annotated[str, typer.Argument(metavar="NAME", help="Of the expert.")]) -> None:
    """Delete an expert from a pool."""
    opened = _open_to_change(pool)
    opened.remove(name)
    say(f"removed {name} from {pool}, which has {counted(len(opened.names), 'expert')} now")


def fetch(
    name: Annotated[
        str | None, typer.Argument(metavar="POOL", help="A pool that comes with samner; each, if not given.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="SOURCE", help="Get the model from a GGUF file, a folder, or a hub id."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Say whether the models are there that pools need which are too large to come with samner; exit with 1 if not.

    Without --from nothing is fetched: it says where the model is, or the line that gets it.

    Example: samner pool fetch builtin
    """
    from samner.pools import SHIPPED
    from samner.references import KNOWN, find, how_to_get
    from samner.references import fetch as get

    if name is not None and name not in SHIPPED:
        raise PoolError(f"no pool {name!r} comes with samner; there are: {', '.join(SHIPPED)}")
    pools = {pool: SHIPPED[pool].needs for pool in ([name] if name else SHIPPED)}
    if source is not None:
        needed = pools[name] if name else None
        if needed is None:
            raise SamnerError("--from is for a pool that needs a model: samner pool fetch POOL --from SOURCE")
        with status(f"fetching {needed}"):
            get(needed, source)
    found = {needed: find(needed) for needed in pools.values() if needed}
    if json:
        write_json(
            [
                {"pool": pool, "needs": needed, "found": str(found[needed]) if needed and found[needed] else None}
                for pool, needed in pools.items()
            ]
        )
    else:
        for pool, needed in pools.items():
            if needed is None:
                console().print(f"{pool}: needs nothing else")
            elif found[needed]:
                console().print(f"{pool}: needs the model {needed}, which is there: {found[needed]}")
            else:
                file, hub = Path(KNOWN[needed].file), KNOWN[needed].hub
                sources = [*([file.name] if file.suffix else []), "FOLDER", *([hub] if hub else [])]
                console().print(
                    f"{pool}: needs the model {needed}, which is missing; get it by: {how_to_get(needed)}\n"
                    f"or by: samner pool fetch {pool} --from {'|'.join(sources)}"
                )
    if not all(found.values()):
        raise typer.Exit(1)


def push(
    pool: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder of the pool.")],
    repository: Annotated[str, typer.Argument(metavar="ORG/POOL", help="The repository; made if there is none.")],
    private: Annotated[bool, typer.Option("--private", help="Nobody else may see it.")] = False,
    expert: Annotated[
        str | None,
        typer.Option("--expert", metavar="NAME", help="Push this expert alone, as an adapter that PEFT loads."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Give a pool, or one expert, to the model hub: one commit, with a model card, after all was checked.

    Log in first, by 'hf auth login', or set HF_TOKEN. After an interruption, push again: it goes on.

    Example: samner pool push my-pool acme/clinic
    """
    start("cpu")
    opened = _open(pool)
    with status(f"pushing to {repository}"):
        pushed = opened.push_to_hub(repository, expert=expert, private=private)
    if json:
        write_json({"pushed": pushed})
    else:
        say(f"pushed {pushed}; others get it by: samner pool pull {pushed}")


def pull(
    repository: Annotated[
        str, typer.Argument(metavar="ORG/POOL", help="The repository of a pool or an expert; ORG/POOL@REVISION, too.")
    ],
    out: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", help="The folder to make; the hub's cache, if not given.", show_default=False),
    ] = None,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="REV", help="A commit, tag or branch; main, if not given.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Get a pool, or an expert, from the model hub, and check every file of it.

    Without OUT it is in the hub's cache, where --pool ORG/POOL finds it, without the network too. After an
    interruption, pull again: files that arrived are kept.

    Example: samner pool pull acme/clinic my-pool
    """
    if out is not None:
        check_output_folder(out)
    start("cpu")
    with status(f"pulling {repository}"):
        from samner.pool import pull as get

        got = get(repository, revision=revision, out=out)
    if json:
        write_json(
            {
                "source": got.source,
                "folder": str(got.folder),
                "kind": "pool" if got.is_pool else "expert",
                "experts": list(got.experts),
            }
        )
    elif got.is_pool:
        say(f"pulled {got.source} with {counted(len(got.experts), 'expert')}; use it by --pool {out or got.source}")
    else:
        say(f"pulled the expert {got.experts[0]} of {got.source}; next: samner pool add POOL {got.folder}")


def verify(
    pool: Annotated[
        str,
        typer.Argument(
            metavar="POOL",
            help="'smollm2', 'builtin', 'smollm2-generation', a folder, or a hub id.",
            callback=options.named_pool,
            show_default=False,
        ),
    ] = options.DEFAULT_POOL,
    json: options.Json = False,
) -> None:
    """Check the checksums of all files, and that every expert fits the base; exit with 1 if not."""
    start("cpu")
    opened = _open(pool)
    with status("checking"):
        problems = opened.verify()
    folder, baselines = opened.folder / "experts", opened.folder / "baselines"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    if not all(_is_about(problem, folder) or _is_about(problem, baselines) for problem in problems):
        names = []  # without its base an expert is of no use
    sound = [name for name in names if not any(_is_about(problem, folder / name) for problem in problems)]
    if json:
        write_json({"ok": not problems, "sound": sound, "problems": problems})
    else:
        to = console()
        for name in sound:
            to.print(f"OK       {name}")
        for problem in problems:
            to.print(f"PROBLEM  {problem}")
    if problems:
        raise typer.Exit(1)


VERBS = {
    "create": create,
    "list": list_,
    "show": show,
    "add": add,
    "remove": remove,
    "fetch": fetch,
    "push": push,
    "pull": pull,
    "verify": verify,
}


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_about(problem: str, folder: Path) -> bool:
    return problem.startswith((f"{folder}:", f"{folder}{os.sep}"))


def _open(reference: str) -> ExpertPool:
    with status("opening the pool"):
        from samner.pool import ExpertPool

        return ExpertPool.load(reference)


def _open_to_change(reference: str) -> ExpertPool:
    from samner.pools import SHIPPED, shipped

    for name in SHIPPED:
        if reference == name or Path(reference).resolve() == shipped(name).resolve():
            raise PoolError(
                f"the pool {name} comes with samner and cannot be changed; make your own first: "
                f"samner pool create my-pool --from {name}"
            )
    if not Path(reference).is_dir():
        pull = f"; one of the hub is changed in a copy: samner pool pull {reference} FOLDER"
        raise PoolError(
            f"{reference}: no such folder; 'samner pool create {reference}' makes a pool there"
            f"{pull if is_reference(reference) else ''}"
        )
    return _open(reference)


def _summary(card: ExpertCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "description": card.description,
        "types": list(card.types),
        "data": [{"name": s.name, "licence": s.licence, "texts": s.texts} for s in card.data],
    }
