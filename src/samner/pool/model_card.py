"""Model cards (``README.md``) of experts and pools, for people and a model hub: from the cards that programs read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from samner.display import markdown
from samner.references import HUB_ID

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

    from samner.pool.card import DataSource, ExpertCard


def model_card(
    title: str,
    sections: Iterable[str],
    *,
    base: str | None = None,
    library: str | None = None,
    tags: Sequence[str] = (),
) -> ModelCard:
    """A model card with valid metadata.

    Args:
        title: The heading.
        sections: What comes below it, as Markdown; empty ones are left out.
        base: A hub's id of the base model; a folder, which says nothing to others, is left out.
        library: The library that loads the model.
        tags: For a hub's search, beside the usual ones.
    """
    from huggingface_hub import ModelCard, ModelCardData

    data = ModelCardData(
        base_model=base if base and HUB_ID.fullmatch(base) else None,
        library_name=library,
        pipeline_tag="token-classification",
        tags=["samner", *tags],
    )
    text = "\n\n".join([f"# {markdown(title)}", *filter(None, sections)])
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; what stands in its cells means nothing but itself."""
    lines = [columns, ["---"] * len(columns), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def expert_model_card(card: ExpertCard) -> ModelCard:
    """The model card of an expert."""
    outcome = card.training.get("outcome")
    score = outcome.get("best_score") if isinstance(outcome, Mapping) else None
    sections = [
        markdown(card.description),
        f"A LoRA adapter (PEFT) over the base model {markdown(card.base[:16])}, trained to find: "
        f"{markdown(', '.join(card.types))}. It is an expert of a samner pool: `samner pool add POOL FOLDER`, or "
        "as any adapter in PEFT, vLLM and llama.cpp.",
        f"Dev F1 (strict spans): {score:.3f}." if isinstance(score, float) else "",
        _data([("", card)]),
    ]
    return model_card(card.name, sections, library="peft", tags=["lora"])


def pool_model_card(name: str, cards: Mapping[str, ExpertCard]) -> ModelCard:
    """The model card of a pool, by the cards of its experts."""
    rows = [[card.name, ", ".join(card.types), card.description] for card in cards.values()]
    sections = [
        "A pool of experts for named entity recognition: `samner.ExpertPool.load` opens it, `samner.adapt` selects "
        "and merges those that fit some texts.",
        "## Experts\n\n" + (table(("expert", "types", "description"), rows) if rows else "None yet."),
        _data(cards.items()),
    ]
    return model_card(name, sections, tags=["lora", "merge"])


def _data(cards: Iterable[tuple[str, ExpertCard]]) -> str:
    rows: list[Sequence[Any]] = [_source(name, source) for name, card in cards for source in card.data]
    if not rows:
        return "## Data\n\nNothing is stated about the data that went in, nor about its licences."
    columns = ("expert", "data set", "texts", "licence")
    skip = 0 if any(row[0] for row in rows) else 1
    return (
        "## Data\n\nLicences as the sources state them; where none is stated, third parties may hold rights in the "
        f"texts.\n\n{table(columns[skip:], [row[skip:] for row in rows])}"
    )


def _source(name: str, source: DataSource) -> Sequence[object]:
    return name, source.name, source.texts, source.licence


def _cell(value: object) -> str:
    return markdown(f"{value:.3g}" if isinstance(value, float) else str(value))
