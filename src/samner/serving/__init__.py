"""The server: task models and pools behind HTTP, and a page for people.

Saved models and pools come in, an ASGI application goes out (``samner.serving.app.create_app``), which ``samner
serve`` runs. It may import everything but ``cli``; FastAPI, uvicorn and prometheus-client are the extra ``serve``,
Gradio is the extra ``page``.

``schemas`` what is asked and answered; ``catalog`` the models and pools that are served; ``batching`` texts of many
requests in one pass; ``jobs`` adaptations; ``limits`` how much is taken; ``guards`` who is let in; ``metrics`` for
Prometheus; ``errors`` how everything that goes wrong is said; ``page`` for people; ``run`` uvicorn and its end.
"""

from __future__ import annotations
