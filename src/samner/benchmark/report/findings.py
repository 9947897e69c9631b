"""What the results say, computed: the goals met or missed and by how much, and where the missing points are."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean
from typing import Any

from samner.benchmark.report.blocks import Finding
from samner.benchmark.report.plots.curves import series
from samner.benchmark.report.view import Arm, View, best, place, pretty, signed

RELATIVE_GAIN = 10.0
"""Percent that SaM should be above unified on average."""

WORST_LOSS = 1.0
"""Points of F1 that SaM may be below unified on any target, and economy below the union on average."""

STRING_F1 = 47.5
"""Average by UniversalNER's protocol that SaM should reach: what is published for ChatGPT."""


def goals(view: View) -> list[Finding]:
    """The goals that can be judged by the arms that were measured."""
    return [finding for rule in (_gain, _worst, _economy, _auto, _string) if (finding := rule(view))]


def facts(view: View) -> list[Finding]:
    """Where the points are lost or won."""
    return [
        finding
        for rule in (_tests, _ceilings, _choice, _signals, _warnings, _parts, _rivals)
        for finding in rule(view)
    ]


def _gain(view: View) -> Finding | None:
    sam, unified = view.sam, view.arms.get("unified")
    if not sam or not unified:
        return None
    ours, theirs = sam.average(view.judged), unified.average(view.judged)
    relative = f": {signed(100 * (ours / theirs - 1))} % relative" if theirs else ""
    needed = theirs * (1 + RELATIVE_GAIN / 100)
    missed = f" {needed:.1f} would be needed, {needed - ours:.1f} points more." if ours < needed else ""
    return Finding(
        f"{sam.title} averages {ours:.1f} strict F1, unified {theirs:.1f}{relative}.",
        ours >= needed,
        f"Goal: at least {RELATIVE_GAIN:.0f} % above, mean of {_over(view)}.{missed}",
    )


def _worst(view: View) -> Finding | None:
    sam, unified = view.sam, view.arms.get("unified")
    if not sam or not unified:
        return None
    lost = view.wins(unified, sam, view.judged, WORST_LOSS)
    named = ", ".join(f"{pretty(t)} ({signed(sam.mean(t) - unified.mean(t))})" for t in lost)
    text = f"more than {WORST_LOSS:.0f} point below unified: {named}." if lost else (
        f"No target is more than {WORST_LOSS:.0f} point below unified."
    )  # fmt: skip
    ahead = view.wins(sam, unified, view.judged)
    return Finding(
        f"{len(lost)} of {len(view.judged)} targets {'is' if len(lost) == 1 else 'are'} {text}" if lost else text,
        not lost,
        f"Goal: none. {sam.title} is ahead of unified on {len(ahead)} of {len(view.judged)}.",
    )


def _economy(view: View) -> Finding | None:
    sam, economy = view.sam, view.arms.get("economy")
    if not sam or not economy:
        return None
    gap = economy.average(view.judged) - sam.average(view.judged)
    return Finding(
        f"Economy is {place(gap)} the union ({economy.average(view.judged):.1f} against "
        f"{sam.average(view.judged):.1f}).",
        gap >= -WORST_LOSS,
        f"Goal: within {WORST_LOSS:.0f} point, with one model in the place of two.",
    )


def _auto(view: View) -> Finding | None:
    auto = [arm for arm in view.arms.values() if arm.settings.get("experts") == "auto" and arm.mode == "union"]
    fixed = [arm for name, arms in series(view, "k") if name == "union" for arm in arms]
    if not auto or not fixed:
        return None
    top, chosen = best(fixed, _average(view)), best(auto, _average(view))
    if not view.comparable(top, chosen):
        return Finding(f"{chosen.title} and the fixed k were measured on different texts and are not compared.")
    gap = chosen.average(view.judged) - top.average(view.judged)
    return Finding(
        f"{chosen.title} averages {chosen.average(view.judged):.1f}, the best fixed k ({top.x:g}) "
        f"{top.average(view.judged):.1f}: it is {place(gap)} that.",
        round(gap, 1) >= 0,
        "Goal: at least level. The best fixed k is known only by the test labels.",
    )


def _string(view: View) -> Finding | None:
    sam = view.sam
    if not sam:
        return None
    ours = sam.average(view.judged, "string")
    missed = f" {STRING_F1 - ours:.1f} points are missing." if ours < STRING_F1 else ""
    return Finding(
        f"{sam.title} averages {ours:.1f} by UniversalNER's protocol.",
        ours >= STRING_F1,
        f"Goal: {STRING_F1}, mean of {_over(view)}.{missed}",
    )


def _tests(view: View) -> Iterator[Finding]:
    rows = [row for row in view.results.get("comparisons", []) if row["score"] == "strict"]
    for a, b in dict.fromkeys((row["a"], row["b"]) for row in rows):
        mine = {row["target"]: row for row in rows if (row["a"], row["b"]) == (a, b)}
        sure = [mine[t] for t in view.targets if t in mine and mine[t]["p"] < 0.05]
        overall = mine.get(view.headline)
        if overall is None:
            continue
        up, down = ([pretty(row["target"]) for row in sure if sign * row["difference"] > 0] for sign in (1, -1))
        low, high = overall["ci95"]
        yield Finding(
            f"{a} \N{MINUS SIGN} {b}: {signed(overall['difference'])} points on average, 95 % interval "
            f"[{signed(low)}, {signed(high)}], p = {overall['p']:.3f}.",
            detail=f"Target by target, p < 0.05: better on {_list(up)}; worse on {_list(down)}.",
        )


def _ceilings(view: View) -> Iterator[Finding]:
    sam, single, oracles = view.sam, view.best_single(), view.oracles()
    merges = [arm for arm in view.named("similarity", "sampling")]
    same = oracles.get(view.k)
    if same and merges:
        chosen = best(merges, _average(view))
        loss = same.average(view.judged) - chosen.average(view.judged)
        loses = f"loses {loss:.1f} points" if loss > 0 else "loses nothing"
        yield Finding(
            f"Selection {loses}: the best {view.k} experts by test labels, merged, reach "
            f"{same.average(view.judged):.1f}, those by {chosen.title} {chosen.average(view.judged):.1f}.",
            detail=_told(view),
        )
    if same and sam:
        gap = same.average(view.judged) - sam.average(view.judged)
        yield Finding(
            f"The union of two merges is {place(-gap)} that one best merge of {view.k} "
            f"({sam.average(view.judged):.1f} against {same.average(view.judged):.1f})."
        )
    if same and single:
        gap = single.average(view.judged) - same.average(view.judged)
        yield Finding(
            f"With perfect selection the best merge of {view.k} is {place(-gap)} the best single expert "
            f"({same.average(view.judged):.1f} against {single.average(view.judged):.1f}): what merging "
            f"{'loses' if gap > 0 else 'gains'}."
        )
    every = [*oracles.values(), *filter(None, [single])]
    unified = view.arms.get("unified")
    if every and unified:
        top = fmean(max(arm.mean(target) for arm in every) for target in view.judged)
        needed = unified.average(view.judged) * (1 + RELATIVE_GAIN / 100)
        verdict = (
            "so the experts themselves have to know more" if top < needed else "so better selection could reach it"
        )
        yield Finding(
            f"The ceiling of this pool, the best oracle arm of each target, is {top:.1f}; {RELATIVE_GAIN:.0f} % above "
            f"unified is {needed:.1f}, {verdict}."
        )


def _choice(view: View) -> Iterator[Finding]:
    """Where the strategies' choices stand among all subsets of their size."""
    subsets = (view.results.get("oracle") or {}).get("subsets", {})
    arm = view.oracles().get(view.k)
    if arm is None or arm.name not in subsets:
        return
    for strategy in view.named("similarity", "sampling"):
        places, shares = [], []
        for target in view.judged:
            scores: dict[str, float] = subsets[arm.name][target]
            taken = strategy.runs[target][0]["experts"].get(strategy.name, {})
            mine = scores.get("+".join(sorted(taken)))
            if mine is None:
                continue
            places.append(1 + sum(score > mine for score in scores.values()))
            shares.append((mine, fmean(scores.values()), max(scores.values())))
        if not places:
            continue
        count = len(next(iter(subsets[arm.name].values())))
        chosen, chance, top = (100 * fmean(column) for column in zip(*shares, strict=True))
        gained = f"{100 * (chosen - chance) / (top - chance):.0f} %" if top > chance else "nothing"
        yield Finding(
            f"{strategy.title} picks, on average, number {fmean(places):.1f} of the {count} subsets of {view.k} "
            f"experts (chance: {(count + 1) / 2:.1f}).",
            detail=f"It gains {gained} of what there is between a subset at random ({chance:.1f}) and the best "
            f"({top:.1f}), "
            "on the texts the oracle searches.",
        )


def _signals(view: View) -> Iterator[Finding]:
    """How often the best experts are among the chosen."""
    singles = {arm.settings.get("name", arm.name): arm for arm in view.group("main") if arm.mode == "expert"}
    if len(singles) <= view.k:
        return
    for key in ("similarity", "sampling"):
        hits, places = 0, []
        known = [t for t in view.judged if view.target(t).get(key)]
        for target in known:
            truth = max(singles, key=lambda expert, target=target: singles[expert].mean(target))  # type: ignore[misc]
            order = view.ranking(target, key)
            places.append(order.index(truth) + 1 if truth in order else len(singles))
            hits += places[-1] <= view.k
        if known:
            chance = len(known) * view.k / len(singles)
            yield Finding(
                f"By {key}, the best expert of a target is among the first {view.k} on {hits} of {len(known)} targets "
                f"(chance: {chance:.1f}), at place {fmean(places):.1f} on average (chance: "
                f"{(len(singles) + 1) / 2:.1f})."
            )


def _warnings(view: View) -> Iterator[Finding]:
    """Whether targets with a warning are those where SaM fails."""
    sam = view.sam
    warned = [name for name in view.targets if view.target(name).get("warning")]
    others = [name for name in view.targets if name not in warned]
    if sam and warned:
        elsewhere = f", {sam.average(others):.1f} on the others" if others else ""
        yield Finding(
            f"A warning was given for {_list([pretty(name) for name in warned])}: {sam.title} averages "
            f"{sam.average(warned):.1f} there{elsewhere}."
        )


def _parts(view: View) -> Iterator[Finding]:
    found = {name: one for name, one in view.complementarity.items() if name in view.judged}
    if not found:
        return
    gold = {
        key: sum(one["gold"][key] for one in found.values()) for key in ("both", "similarity", "sampling", "neither")
    }
    false = {key: sum(one["false"][key] for one in found.values()) for key in ("both", "similarity", "sampling")}
    total = sum(gold.values()) or 1
    alone = gold["similarity"] + gold["sampling"]
    wrong = false["similarity"] + false["sampling"]
    right = alone / max(alone + wrong, 1)
    agreed = gold["both"] / max(gold["both"] + false["both"], 1)
    yield Finding(
        f"Of the gold entities both strategies find {100 * gold['both'] / total:.1f} %, similarity alone "
        f"{100 * gold['similarity'] / total:.1f} %, sampling alone {100 * gold['sampling'] / total:.1f} %, neither "
        f"{100 * gold['neither'] / total:.1f} %.",
        detail=f"What one strategy alone claims is right in {100 * right:.0f} % of cases, what both claim in "
        f"{100 * agreed:.0f} %. Sums over {_over(view)}, not means.",
    )


def _rivals(view: View) -> Iterator[Finding]:
    sam = view.sam
    if not sam:
        return
    ensembles = [arm for arm in view.methods() if arm.mode.startswith("ensemble")]
    for arm in ensembles:
        gap = sam.average(view.judged) - arm.average(view.judged)
        models = fmean(run["models"] for t in view.judged for run in arm.runs[t])
        yield Finding(
            f"{sam.title} is {place(gap)} {arm.title}, which runs {models:.1f} models instead of "
            f"{fmean(run['models'] for t in view.judged for run in sam.runs[t]):.1f}."
        )
    top = best(view.methods(), _average(view))
    if top.average(view.judged) > sam.average(view.judged):
        gap = top.average(view.judged) - sam.average(view.judged)
        yield Finding(
            f"The highest average of all arms that need no labels is {top.title}'s: {top.average(view.judged):.1f}, "
            f"{place(gap)} {sam.title}.",
            detail="Picked by test scores among many, so partly by luck.",
        )


def _average(view: View) -> Any:
    def value(arm: Arm) -> float:
        return arm.average(view.judged)

    return value


def _over(view: View) -> str:
    return f"{len(view.judged)} target{'' if len(view.judged) == 1 else 's'} ({view.headline})"


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"


def _told(view: View) -> str:
    texts = (view.results.get("oracle") or {}).get("texts")
    on = f" on the first {texts} test texts of each target" if texts else ""
    return f"The oracle chooses by strict F1{on}, so its own score is a little too good to be true."
