"""``samner train --dry-run``: what a training would be."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samner.cli.output import console, say, write_json
from samner.cli.recipes import Arguments, RecipeFile
from samner.cli.runtime import start
from samner.cli.training import find_sources, read_sources, training_data
from samner.errors import SamnerError

if TYPE_CHECKING:
    from samner.backbones.language_model.training.dry_run import DryRun


def show_dry_run(given: Arguments, recipe: RecipeFile, format: str | None, *, json: bool) -> None:
    """Rehearse a training of a language model on a tiny random model of the same architecture, and say how it went.

    Args:
        given: Data, pool and options.
        recipe: Names the model, if no pool of language models was named.
        format: Of the data.
        json: Whether the result is for a program.

    Raises:
        SamnerError: If anything will not do, or the pool's base is no language model.
    """
    sources = find_sources(given.data, given.dev)
    read = read_sources(sources, format)
    start("cpu")
    from samner.backbones.language_model.generation.prompt import load_prompt
    from samner.backbones.language_model.training.dry_run import SAMPLE, dry_run
    from samner.backbones.language_model.training.recipe import Recipe

    model, prompt = _model(given.pool, recipe)
    settings = given.settings(recipe, asdict(Recipe()))
    if read:
        data = training_data(read, int(settings.get("seed", 0)), [])
    else:
        say("no data was named: two sentences that come with samner take its place")
        data = SAMPLE
    result = dry_run(model, load_prompt(prompt), data, Recipe.of(settings), architecture=recipe.architecture)
    if json:
        write_json({"model": model, **_plain(result)})
    else:
        _show(model, result)


def _model(pool: str, recipe: RecipeFile) -> tuple[str, str | Path]:
    """The language model to rehearse with and its prompt: the recipe's, or those of the pool's base."""
    if recipe.model:
        return recipe.model, recipe.prompt
    from samner.backbones.language_model.base_card import FAMILY, BaseCard
    from samner.files import read_json
    from samner.pool import ExpertPool

    folder = ExpertPool.load(pool).base_folder
    if read_json(folder / "base.json").get("family") != FAMILY:
        raise SamnerError(f"--dry-run is for language models; the base of {pool} is none, and no recipe names one")
    card = BaseCard.read(folder)
    return card.model_reference(folder), card.prompt_reference(folder)


def _plain(result: DryRun) -> dict[str, Any]:
    plan = result.plan
    return {
        "architecture": result.architecture,
        "model_parameters": result.model_parameters,
        "adapter_parameters": result.adapter_parameters,
        "estimate": result.estimate,
        "question": result.example.prompt,
        "answer": result.example.completion,
        "steps": plan.steps,
        "questions": plan.examples,
        "left_out": plan.left_out,
        "tokens": plan.tokens,
        "packed": plan.packed,
        "own_tokenizer": result.own_tokenizer,
    }


def _show(model: str, result: DryRun) -> None:
    from samner.backbones.language_model.training import size

    to = console()
    to.print(f"{model} ({result.architecture}): {result.model_parameters:,} parameters")
    to.print(size.describe(result.adapter_parameters, result.estimate))
    to.print(f"\nthe first question:\n{result.example.prompt}\n\nits answer:\n{result.example.completion}\n")
    to.print(result.plan.describe())
    if not result.own_tokenizer:
        to.print("tokens are those of a stand-in: the model's own tokenizer is not on this machine")
    to.print("nothing was trained")
