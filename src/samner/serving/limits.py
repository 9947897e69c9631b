"""How much a server takes: of one request, and of all at a time."""

from __future__ import annotations

from pydantic import Field

from samner.settings import Settings


class Limits(Settings):
    """What is refused, and when a caller waits no longer.

    Args:
        body: Bytes of a request.
        stream_body: Bytes of a request whose answer is streamed.
        texts: Texts of a request that is not streamed, and to adapt to.
        characters: Characters of all texts of such a request.
        text: Characters of one text, of which a pass of the model may consist: others wait for its end.
        labels: Entity types of a request.
        requests: Requests under way at a time.
        seconds: For which an answer is waited.
        body_seconds: For which the whole of a body is waited.
        jobs: Adaptations that wait or run.
        kept: Adapted models that are kept; of more, the one that was not asked for longest goes.
    """

    body: int = Field(default=8_000_000, ge=1)
    stream_body: int = Field(default=64_000_000, ge=1)
    texts: int = Field(default=1_000, ge=1)
    characters: int = Field(default=1_000_000, ge=1)
    text: int = Field(default=100_000, ge=1)
    labels: int = Field(default=100, ge=1)
    requests: int = Field(default=128, ge=1)
    seconds: float = Field(default=60.0, gt=0)
    body_seconds: float = Field(default=60.0, gt=0)
    jobs: int = Field(default=8, ge=1)
    kept: int = Field(default=4, ge=1)


def too_long(text: str, limits: Limits) -> str:
    """Why one text is too long to be read; nothing if it is not."""
    if len(text) <= limits.text:
        return ""
    return f"the text has {len(text):,} characters, over {limits.text:,}; cut it at the end of a sentence or paragraph"
