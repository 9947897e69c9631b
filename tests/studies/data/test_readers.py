"""Each reader on the smallest file of its source's shape."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from samner.errors import SamnerError
from studies.data.readers import READERS, TYPES
from studies.data.repositories import Repositories
from studies.data.sources import Files, read_table
from tests.studies.data.repository import commit

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def sheet(*rows: list[str]) -> str:
    cells = "".join(
        f'<row r="{n}">'
        + "".join(f'<c r="{"ABCDEF"[i]}{n}" t="str"><v>{c}</v></c>' for i, c in enumerate(row) if c)
        + "</row>"
        for n, row in enumerate(rows, start=1)
    )
    namespace = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    return f'<worksheet xmlns="{namespace}"><sheetData>{cells}</sheetData></worksheet>'


def workbook() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as book:
        book.writestr("xl/sharedStrings.xml", "<sst/>")
        said = ["Manual Annotations", "", "kpi_1", "kpi_1", "unknown"]
        book.writestr(
            "xl/worksheets/sheet1.xml", sheet(["", "train"], ["Sentence", "the", "net", "sales", "grew"], said)
        )
        book.writestr(
            "xl/worksheets/sheet2.xml", sheet(["", "test"], ["Sentence", "no"], ["Manual Annotations", "kpi"])
        )
    return content.getvalue()


SGD = {
    "domains": {"Hotels": "hotel"},
    "of_a_domain": ["rating"],
    "labels": {"to": "train destination"},
}
ATTACK = {
    "objects": [
        {
            "id": "x--1",
            "type": "malware",
            "description": "[Foo](https://attack.mitre.org/software/S1) runs `cmd` (Citation: B). Foo is [G](https://attack.mitre.org/groups/G1).",
        }
    ]
}
STAR = {
    "Events": [
        {
            "Agent": "Wizard",
            "Action": "query",
            "APIName": "hotel_book",
            "Constraints": [{"Name": 'api.is_equal_to("Old Inn")'}],
        },
        {"Agent": "User", "Action": "utter", "Text": "Is the old inn free?"},
        {"Agent": "Wizard", "Action": "pick_suggestion", "ActionLabel": "cost", "Text": "It costs a lot."},
    ]
}
PHEE = {
    "Trigger": {"text": [["caused"]], "start": [[5]]},
    "Treatment": {"text": [["Drug X"]], "start": [[12]], "Drug": {"text": [["X"]], "start": [[17]]}},
    "event_type": "Potential_therapeutic_event",
}
ARGUMENT = {"id": "e", "start": 1, "end": 3}
GENEVA = {
    "wnd_id": "w",
    "tokens": ["the", "old", "king", "died"],
    "entity_mentions": [ARGUMENT],
    "event_mentions": [{"id": "m", "event_type": "Death", "arguments": [{"entity_id": "e", "role": "Protagonist"}]}],
}
SOFC = {
    "c/meta.csv": "name\tset\nA\ttrain\nB\ttest\n",
    "c/texts/A.txt": "Title. A cell of Ni.",
    "c/annotations/sentences/A.csv": "1\t0\t0\t6\n2\t0\t7\t20\n",
    "c/annotations/entity_types_and_slots/A.csv": "2\t1\t0\t1\tO\n2\t2\t2\t6\tB-DEVICE\n2\t3\t10\t12\tB-MATERIAL\n",
}
CASES: dict[str, tuple[str, Mapping[str, str | bytes], dict[str, Any], list[tuple[str, ...]]]] = {
    "columns": (
        "columns",
        {"f": "Rome\tB-LOC\nis\tO\n\nhttp://x\tO\n"},
        {"format": "conll", "leave_out": "http.*"},
        [("Rome is", "Rome/loc")],
    ),
    "columns, verbatim": (
        "columns",
        {"f": "Ro\u200bme\tB-LOC\n"},
        {"format": "iob1", "verbatim": True},
        [("Ro\u200bme", "Ro\u200bme/loc")],
    ),
    "columns, mended": (
        "columns",
        {"f": "New\tx\tB-LOC\nYork\tx\tE-LOC\nRome\tI-LOC\nodd\n\tO\n,it\tS-X\nis\t_\n"},
        {"format": "iob1", "mend": "tabs", "trim": True},
        [("New York Rome", "New York/loc", "Rome/loc"), (",it is", "it/x")],
    ),
    "layers": (
        "layers",
        {"f": "a\tB-X\nb\tO\nc\tO\nd\tO\n\nno\tO\n", "g": "a\tB-Y\nb\tI-Y\nc\tO\nd\tO\n\nno\tO\n"},
        {},
        [("a b c d", "a/x", "a b/y")],
    ),
    "questions": (
        "questions",
        {"f": "Question_ID\tO\n7\tO\n\nuse\tO\nnumpy\tB-Library\n\t\nCODE_BLOCK\tB-Code\n:\tI-Code\n\nsolo\tO\n"},
        {},
        [("use numpy", "numpy/library")],
    ),
    "sentences": (
        "sentences",
        {"f": "BOS to Rome EOS\tO O B-toloc.city O\nBOS a EOS\tO\n"},
        {"labels": {"toloc.city": "arrival city"}},
        [("to Rome", "Rome/arrival city")],
    ),
    "paired": (
        "paired",
        {"f": json.dumps({"labels": ["O", "B-brand"]}), "g": json.dumps({"examples": [{"tokens": ["red", "acme"]}]})},
        {},
        [("red acme", "acme/brand")],
    ),
    "indian_legal": (
        "indian_legal",
        {
            "f": json.dumps(
                [
                    {"text": "Before Judge Roy", "entities": [[7, 16, "JUDGE"]]},
                    {"text": "Roy  said", "entities": [[0, 3, "JUDGE"]]},
                ]
            ),
            "g": json.dumps([{"data": {"text": "Before Judge Roy"}}]),
        },
        {"wanted": "judgments", "part": "test"},
        [("Roy said", "Roy/judge")],
    ),
    "spans": (
        "spans",
        {"f": json.dumps({"t": "In Rome", "s": [{"b": 3, "e": 7, "k": "City/town"}]})},
        {"text": "t", "spans": ["s", "b", "e", "k"]},
        [("In Rome", "Rome/city town")],
    ),
    "spans of tokens": (
        "spans",
        {"f": json.dumps([{"w": ["In", "New", "Rome"], "s": [{"b": 1, "e": 3, "k": "City"}]}])},
        {"tokens": "w", "spans": ["s", "b", "e", "k"]},
        [("In New Rome", "New Rome/city")],
    ),
    "work_orders": (
        "work_orders",
        {
            "f": json.dumps(
                [
                    {
                        "tokens": ["fix", "pump"],
                        "entities": [
                            {"start": 1, "end": 2, "type": "PhysicalObject/Pump"},
                            {"start": 0, "end": 1, "type": "Activity/Repair/Weld"},
                        ],
                    }
                ]
            )
        },
        {},
        [("fix pump", "fix/repair activity", "pump/physical object")],
    ),
    "events": (
        "events",
        {"f": json.dumps(GENEVA)},
        {"files": {"train": "f", "dev": [], "test": []}},
        [("the old king died", "old king/death protagonist")],
    ),
    "events, held out": ("events", {"f": json.dumps(GENEVA)}, {"files": {"train": "f", "dev": "f", "test": []}}, []),
    "trials": (
        "trials",
        {"f": json.dumps({"tokens": ["Stroke", "|", "No", "pain"], "ner_tags": ["B-COND", "O", "O", "B-COND"]})},
        {},
        [("Stroke", "Stroke/cond"), ("No pain", "pain/cond")],
    ),
    "drug_safety": (
        "drug_safety",
        {"f": json.dumps({"context": "What caused Drug X?", "annotations": [{"events": [PHEE]}]})},
        {"closed": True, "labels": {"Treatment.Drug": "drug", "Trigger of therapeutic event": "trigger"}},
        [("What caused Drug X?", "caused/trigger", "X/drug")],
    ),
    "products": (
        "products",
        {"f": json.dumps({"input": "Acme Red Shoe", "target_scores": {"Brand": {"acme": 1}, "Color": {"n/a": 1}}})},
        {},
        [("Acme Red Shoe", "Acme/brand")],
    ),
    "ingredients": (
        "ingredients",
        {"f": 'input,name,qty,range_end,unit,comment\n"1 1/2 cups flour, sifted",flour,1.5,0.0,cup,sifted\n'},
        {"labels": {"qty": "quantity"}},
        [
            (
                "1 1/2 cups flour, sifted",
                "1 1/2/quantity",
                "cups/unit",
                "flour/ingredient name",
                "sifted/ingredient comment",
            )
        ],
    ),
    "workbook": (
        "workbook",
        {"f": workbook()},
        {"parts": {"train": "train"}, "labels": {"kpi": "indicator"}},
        [("the net sales grew", "net sales/indicator")],
    ),
    "parse_trees": (
        "parse_trees",
        {"f": "h\th\nx\t[IN:GO To [SL:PLACE the [IN:AT [SL:KIND park ] ] ] now ]\nx\t[IN:UNSUPPORTED a ]\n"},
        {},
        [("To the park now", "the park/place")],
    ),
    "turns": (
        "turns",
        {
            "f": json.dumps(
                [
                    {
                        "turns": [
                            {
                                "utterance": "4 stars to Rome",
                                "frames": [
                                    {
                                        "service": "Hotels_1",
                                        "slots": [
                                            {"slot": "rating", "start": 0, "exclusive_end": 1},
                                            {"slot": "to", "start": 11, "exclusive_end": 15},
                                            {"slot": "x"},
                                        ],
                                    }
                                ],
                            }
                        ]
                    }
                ]
            )
        },
        SGD,
        [("4 stars to Rome", "4/hotel rating", "Rome/train destination")],
    ),
    "suggestions": (
        "suggestions",
        {
            "tasks/hotel_book/responses.json": json.dumps({"cost": "It costs {price:s}."}),
            "dialogues/1.json": json.dumps(STAR),
        },
        {
            "files": {"train": ["tasks/", "dialogues/"]},
            "names": {"hotel": "hotel name"},
            "not_looked_up": [],
            "not_said": [],
        },
        [("Is the old inn free?", "old inn/hotel name"), ("It costs a lot.", "lot/price")],
    ),
    "meaning_representations": (
        "meaning_representations",
        {
            "f": 'mr,ref\n"inform(name[Foo], genres[puzzle, shooter], esrb[T (for Teen)])",'
            '"Foo is rated T, for shooters."\n'
        },
        {"several": ["genres"], "labels": {"name": "title", "genres": "genre", "esrb": "rating"}},
        [("Foo is rated T, for shooters.", "Foo/title", "T/rating", "shooters/genre")],
    ),
    "annotated_queries": (
        "annotated_queries",
        {"f": "answer_annotation\nwake me at [time : five am]\n"},
        {},
        [("wake me at five am", "five am/time")],
    ),
    "utterances": (
        "utterances",
        {
            "f": "# Intent\n- book {@Room=the {Kind=big} one} now\n- book {Room} now\n* plain\n"
            "- book the big one {When=now}\n"
        },
        {"files": {"train": [{"path": "f", "draw": 5}]}},
        [("book the big one now", "the big one/room", "big/kind")],
    ),
    "lines": (
        "lines",
        {
            "d/a.txt": "Add water\nStop\nMix it well",
            "d/a.ann": "T1\tAction 0 3\tAdd\nT2\tAction 15 18;22 26\tMix well\nE1\tx\n",
            "d/b.txt": "no annotation",
        },
        {"files": {"train": "d/"}},
        [("Add water", "Add/action"), ("Mix it well",)],
    ),
    "mentions": (
        "mentions",
        {
            "d/a.txt": "We used R.",
            "d/a.ann": "T1\tApplication_Usage 8 9\tR\n",
            "d/b.txt": "Other.",
            "split.json": '{"devel": ["b"]}',
        },
        {
            "files": {"train": {"path": "d/", "only": "txt|ann"}},
            "parts": "split.json",
            "called": {"train": "train"},
            "annotated": False,
        },
        [("We used R.", "R/application usage")],
    ),
    "procedures": (
        "procedures",
        {"d/a.txt": "10.1016/j.x\nHeat TiO2 slowly.", "d/a.ann": "T1\tMaterial 17 21\tTiO2\n"},
        {"files": {"train": "d/"}},
        [("Heat TiO2 slowly.", "TiO2/material")],
    ),
    "experiments": (
        "experiments",
        SOFC,
        {"files": {"train": "c/meta.csv"}, "folder": "c"},
        [("A cell of Ni.", "cell/device", "Ni/material")],
    ),
    "tagged_strings": (
        "tagged_strings",
        {"f": "<A><Street>Main</Street> <Street>St.,</Street> <City>Rome</City></A><A><b></A>"},
        {"element": "A"},
        [("Main St., Rome", "Main St./street", "Rome/city")],
    ),
    "references": (
        "references",
        {"f": "<sequence><author>A. B.</author><editor>In: C</editor><title>Work.</title></sequence>"},
        {},
        [("A. B. In: C Work.", "A. B./author", "C/editor", "Work/title")],
    ),
    "sentences_with_names": (
        "sentences_with_names",
        {
            "f": '<p><sentence>In <ENAMEX type="LOCATION">New <ENAMEX type="LOCATION">Rome</ENAMEX></ENAMEX> '
            "&amp; so</sentence></p>"
        },
        {},
        [("In New Rome & so", "New Rome/location", "Rome/location")],
    ),
    "threat_descriptions": (
        "threat_descriptions",
        {"f": json.dumps(ATTACK)},
        {"labels": {"software": "malware", "groups": "group", "code": "code", "tool": "tool"}},
        [("Foo runs cmd . Foo is G.", "Foo/malware", "cmd/code", "Foo/malware", "G/group")],
    ),
}


@pytest.fixture(scope="session")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A mirror with the files of all cases, each below a folder of its own."""
    mirrors = tmp_path_factory.mktemp("mirrors")
    number = {name: str(index) for index, name in enumerate(CASES)}
    files = {f"{number[name]}/{path}": content for name, case in CASES.items() for path, content in case[1].items()}
    return mirrors, commit(mirrors / "owner+name", files)


def files_of(pinned: tuple[Path, str], tmp_path: Path, entry: dict[str, Any]) -> Files:
    table = tmp_path / "table.yaml"
    entry = {"from": "owner/name", "licence": "", **entry}
    table.write_text(json.dumps({"commits": {"owner/name": pinned[1]}, "sets": {"train/test": entry}}))
    commits, sources = read_table(table)
    return Files(sources["train/test"], Repositories(commits, tmp_path, pinned[0]))


@pytest.mark.parametrize("name", CASES)
def test_a_reader_reads_its_source(name: str, pinned: tuple[Path, str], tmp_path: Path) -> None:
    reader, held, options, expected = CASES[name]
    folder = f"{list(CASES).index(name)}/"

    def moved(value: Any) -> Any:
        if isinstance(value, str):
            return folder + value
        if isinstance(value, list):
            return [moved(one) for one in value]
        return {
            key: folder + one if key == "path" else moved(one) if key in parts else one for key, one in value.items()
        }

    part = options.get("part", "train")
    parts = ("train", "dev", "test")
    files = moved(options.get("files", {part: list(held)}))
    own = {key: value for key, value in options.items() if key not in ("files", "part")}
    if name in ("mentions", "experiments"):
        own |= {key: folder + own[key] for key in ("parts", "folder") if key in own}
    entry = {"reader": reader, "files": files, **own}
    rows = chain.from_iterable(READERS[reader](files_of(pinned, tmp_path, entry), part))
    found = [(row.text, *(f"{row.text[e.start : e.end]}/{e.label}" for e in row.entities)) for row in rows]
    assert found == expected


def test_every_reader_is_used_and_tested() -> None:
    _, sources = read_table()
    assert {source.reader for source in sources.values()} == READERS.keys() | TYPES.keys()
    assert {case[0] for case in CASES.values()} == READERS.keys()


def test_definitions_are_of_answers_in_json(pinned: tuple[Path, str], tmp_path: Path) -> None:
    asked = {"city": {"gpt_answer": '{"Definition": "a town "}'}, "x": {"gpt_answer": "I cannot"}}
    mirrors = tmp_path / "mirrors"
    head = commit(mirrors / "owner+name", {"f": json.dumps(asked)})
    files = files_of((mirrors, head), tmp_path, {"reader": "definitions", "files": {"all": "f"}})
    assert TYPES["definitions"](files) == {"city": "a town"}


def test_other_names_are_those_of_variants(tmp_path: Path) -> None:
    def schema(name: str, said: str) -> str:
        return json.dumps([{"service_name": "Hotels_1", "slots": [{"name": name, "description": said}]}])

    mirrors = tmp_path / "mirrors"
    variants = {
        "train/schema.json": schema("rating", "stars"),
        "sgd_x/data/v1/train/schema.json": schema("star_count", "How good"),
    }
    head = commit(mirrors / "owner+name", variants)
    entry = {"reader": "other_names", "files": {"all": {"path": "", "only": r"schema\.json$"}}, **SGD}
    said = TYPES["other_names"](files_of((mirrors, head), tmp_path, entry))
    assert said == {"hotel rating": {"names": ["rating", "star count"], "descriptions": ["How good", "stars"]}}


def test_errors_of_samners_own_readers_name_the_set_and_the_file(pinned: tuple[Path, str], tmp_path: Path) -> None:
    entry = {"reader": "columns", "format": "conll", "files": {"train": f"{list(CASES).index('columns, mended')}/f"}}
    with pytest.raises(SamnerError, match="^train/test: f:"):
        list(READERS["columns"](files_of(pinned, tmp_path, entry), "train"))


def test_a_folder_without_files_is_an_error(pinned: tuple[Path, str], tmp_path: Path) -> None:
    entry = {"reader": "lines", "files": {"train": {"path": "nowhere/", "only": "x"}}}
    with pytest.raises(SamnerError, match="owner/name: has no file in nowhere/ like x at commit"):
        list(READERS["lines"](files_of(pinned, tmp_path, entry), "train"))
