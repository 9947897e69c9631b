"""Hold the results of a benchmark against the project's goals.

    python -m studies.goals runs/benchmark/results.json

Prints for each goal whether it is met, on the first average of the file: SaM (the arm ``union``) at least 10 % above
unified, on no target more than a point below it, economy within a point of the union, k chosen by itself at least
level with the best fixed k, and 47.5 by UniversalNER's protocol, which is what is published for ChatGPT.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samner.benchmark.report.view import View
from samner.cli.output import guarded
from samner.files import read_json

GAIN, LOSS, STRING_F1 = 10.0, 1.0, 47.5


def goals(results: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    """Of each goal that can be judged: whether it is met, and by what."""
    view = View(results)
    arms, judged = view.arms, view.judged
    if "union" not in arms:
        return
    union = arms["union"]
    ours = union.average(judged)
    if "unified" in arms:
        unified = arms["unified"]
        theirs = unified.average(judged)
        yield ours >= theirs * (1 + GAIN / 100), f"union {ours:.1f}, unified {theirs:.1f}; to be {GAIN:g} % above it"
        lost = [name for name in judged if union.mean(name) < unified.mean(name) - LOSS]
        yield not lost, f"more than {LOSS:g} point below unified: {', '.join(lost) or 'none'}"
    if "economy" in arms:
        economy = arms["economy"].average(judged)
        yield economy >= ours - LOSS, f"economy {economy:.1f}, union {ours:.1f}; to be within {LOSS:g} point"
    auto = [arm for arm in arms.values() if arm.settings.get("experts") == "auto" and arm.mode == "union"]
    fixed = [arm for arm in arms.values() if arm.group == "k" and arm.mode == "union" and arm.x is not None]
    if auto and fixed and view.comparable(*auto, *fixed):
        best = max(fixed, key=lambda arm: arm.average(judged))
        chosen = max(arm.average(judged) for arm in auto)
        told = f"auto-k {chosen:.1f}, best fixed k ({best.x}) {best.average(judged):.1f}; to be level"
        yield round(chosen - best.average(judged), 1) >= 0, told
    string = union.average(judged, "string")
    yield string >= STRING_F1, f"union {string:.1f} by UniversalNER's protocol; to be {STRING_F1}"


@guarded()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    for met, told in goals(read_json(parser.parse_args().results)):
        print(f"{'met' if met else 'missed'}: {told}")


if __name__ == "__main__":
    main()
