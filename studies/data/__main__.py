"""The command line: build, check, table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import studies.data
from samner.cli.output import guarded
from samner.errors import SamnerError
from samner.files import exclusive
from studies.data.building import Builder
from studies.data.repositories import Repositories
from studies.data.sources import Source, read_table

ORDER = ("target", "train", "foundation", "wide", "types")


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="studies.data", description=studies.data.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, what in (("build", "write sets that are not there yet"), ("check", "compare sets with what is built")):
        command = verbs.add_parser(verb, help=what)
        command.add_argument("folder", type=Path, help="of the sets: target/, train/, foundation/, wide/, types/")
        command.add_argument("--only", nargs="+", metavar="NAME", help="these sets, or all below a name")
        command.add_argument("--cache", type=Path, default=Path("runs/sources"), help="where what is fetched is kept")
        command.add_argument("--mirrors", type=Path, help="git directories owner+name to read, instead of fetching")
    verbs.add_parser("table", help="sources and licences as a Markdown table")
    given = parser.parse_args(arguments)
    commits, sources = read_table()
    if given.verb == "table":
        print(table(commits, sources))
        return 0
    builder = Builder(sources, Repositories(commits, given.cache, given.mirrors), given.folder)
    names = _chosen(sources, given.only)
    return _build(builder, names) if given.verb == "build" else _check(builder, names)


def _chosen(sources: dict[str, Source], only: Sequence[str] | None) -> list[str]:
    """The sets that are meant, those first that others need."""
    wanted = [name.strip("/") for name in only or ORDER]
    for name in wanted:
        if not any(known == name or known.startswith(f"{name}/") for known in sources):
            raise SamnerError(f"there is no set {name!r}; 'python -m studies.data table' lists them")
    chosen = [known for known in sources if any(f"{known}/".startswith(f"{name}/") for name in wanted)]
    return sorted(chosen, key=lambda name: ORDER.index(sources[name].kind))


def _build(builder: Builder, names: Sequence[str]) -> int:
    with exclusive(builder.folder):
        for number, name in enumerate(names, start=1):
            said = "is there already (remove it to build it anew)"
            if not builder.path(name).exists():
                _say(f"{number} of {len(names)}: {name} ...")
                said = builder.write(name)
            print(f"{name}: {said}", flush=True)
    return 0


def _check(builder: Builder, names: Sequence[str]) -> int:
    """Compare each set; one that cannot be built, or is not there, is no reason to leave out the others."""
    equal = 0
    for number, name in enumerate(names, start=1):
        _say(f"{number} of {len(names)}: {name} ...")
        try:
            differences = builder.check(name)
        except SamnerError as error:
            print(f"{name}: not compared ({error})", flush=True)
            continue
        equal += not differences
        print(f"{name}: {'; '.join(differences) or 'equal'}", flush=True)
    _say(f"{equal} of {len(names)} sets are equal")
    return 0 if equal == len(names) else 1


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def table(commits: dict[str, str], sources: dict[str, Source]) -> str:
    """Sources and licences in Markdown."""
    rows = ["| data set | source repositories at commit | licence as stated there | notes |", "|---|---|---|---|"]
    for name, source in sources.items():
        places = ", ".join(
            f"[{one}](https://github.com/{one}/tree/{commit}) `{commit[:12]}`"
            for one, commit in ((one, commits[one]) for one in source.repositories)
        )
        rows.append(f"| {name} | {places} | {source.licence} | {source.note} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
