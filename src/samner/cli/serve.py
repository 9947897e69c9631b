"""``samner serve``: models and pools behind HTTP, and a page for people."""

from __future__ import annotations

import ipaddress
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from samner.cli import options
from samner.cli.output import counted, say, status
from samner.cli.runtime import open_pool, start
from samner.errors import SamnerError
from samner.files import user_path

_LIMITS = "Limits"


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="[NAME=]FOLDER",
            help="A model that 'samner adapt' saved, under the folder's name or another; may be repeated.",
        ),
    ] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(
            "--pool",
            metavar="POOL",
            help="A pool that may be adapted: a name, a folder or a hub id, as of 'samner adapt'; may be repeated. By "
            "default none beside a --model, else the best whose model is there.",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="The address to serve on; 0.0.0.0 is all of this machine's.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="PORT", min=0, max=65535, help="The port; 0 is any that is free.")
    ] = 8000,
    tokens: Annotated[
        Path | None,
        typer.Option(
            "--tokens",
            metavar="FILE",
            help="Let in only who has one of these tokens, one a line. Or give them in SAMNER_TOKENS.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="A name under which the server may be asked besides; may be repeated. By default localhost on a "
            "loopback address, and any on others.",
        ),
    ] = None,
    page: Annotated[
        bool | None,
        typer.Option(
            "--page/--no-page", help="Show a page at /; by default if gradio is installed.", show_default=False
        ),
    ] = None,
    max_body: Annotated[
        int, typer.Option("--max-body", metavar="BYTES", min=1, help="Of a request.", rich_help_panel=_LIMITS)
    ] = 8_000_000,
    max_stream: Annotated[
        int,
        typer.Option(
            "--max-stream", metavar="BYTES", min=1, help="Of a request that is streamed.", rich_help_panel=_LIMITS
        ),
    ] = 64_000_000,
    max_texts: Annotated[
        int, typer.Option("--max-texts", metavar="N", min=1, help="Of a request.", rich_help_panel=_LIMITS)
    ] = 1_000,
    max_characters: Annotated[
        int,
        typer.Option(
            "--max-characters",
            metavar="N",
            min=1,
            help="Of all texts of a request that is not streamed.",
            rich_help_panel=_LIMITS,
        ),
    ] = 1_000_000,
    max_text: Annotated[
        int,
        typer.Option(
            "--max-text",
            metavar="N",
            min=1,
            help="Characters of one text, during which others wait.",
            rich_help_panel=_LIMITS,
        ),
    ] = 100_000,
    max_labels: Annotated[
        int, typer.Option("--max-labels", metavar="N", min=1, help="Of a request.", rich_help_panel=_LIMITS)
    ] = 100,
    max_requests: Annotated[
        int, typer.Option("--max-requests", metavar="N", min=1, help="Under way at a time.", rich_help_panel=_LIMITS)
    ] = 128,
    max_jobs: Annotated[
        int,
        typer.Option("--max-jobs", metavar="N", min=1, help="Adaptations that wait or run.", rich_help_panel=_LIMITS),
    ] = 8,
    keep: Annotated[
        int,
        typer.Option(
            "--keep",
            metavar="N",
            min=1,
            help="Adapted models; of more, the one goes that was not asked for longest.",
            rich_help_panel=_LIMITS,
        ),
    ] = 4,
    timeout: Annotated[
        float,
        typer.Option("--timeout", metavar="SECONDS", min=0.001, help="For an answer.", rich_help_panel=_LIMITS),
    ] = 60.0,
    body_timeout: Annotated[
        float,
        typer.Option(
            "--body-timeout", metavar="SECONDS", min=0.001, help="For a request's body.", rich_help_panel=_LIMITS
        ),
    ] = 60.0,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="Write a line for every request to standard error; texts never.")
    ] = False,
    device: options.Device = "auto",
) -> None:
    """Serve models and pools over HTTP, with a page for people at /.

    Texts of requests that come at the same time are read in one pass. On SIGTERM, or ctrl-c, what was accepted is
    finished. Example: samner serve --model my-domain --pool builtin

    The API is told by /openapi.json and docs/serving.md. It needs pip install 'samner[serve]', the page
    'samner[page]'.
    """
    _check_extras(page)
    from samner.serving.guards import TOKENS, read_tokens
    from samner.serving.limits import Limits
    from samner.serving.run import bind, leave
    from samner.serving.run import serve as run

    limits = Limits(
        body=max_body,
        stream_body=max_stream,
        texts=max_texts,
        characters=max_characters,
        text=max_text,
        labels=max_labels,
        requests=max_requests,
        seconds=timeout,
        body_seconds=body_timeout,
        jobs=max_jobs,
        kept=keep,
    )
    secrets = read_tokens(tokens, os.environ)
    bound = bind(host, port)
    folders = _named_folders(model or [])
    device = start(device)
    from samner.pools import default_pool
    from samner.serving.app import create_app
    from samner.serving.catalog import Catalog
    from samner.task_model import TaskModel

    references = pool or ([] if folders else [default_pool()])
    with status("loading models"):
        models = {name: TaskModel.load(folder, device) for name, folder in folders.items()}
    pools = {name: open_pool(reference, device) for name, reference in _named_pools(references).items()}
    local = _is_loopback(host)
    hosts = [*(["localhost", "127.0.0.1", "::1", host] if local else []), *(allow_host or [])]
    with_page = find_spec("gradio") is not None if page is None else page
    app = create_app(Catalog(models, pools, keep), limits, tokens=secrets, hosts=hosts, page=with_page)
    if not local and not secrets:
        say(f"warning: {host} can be reached from elsewhere, and no token is asked for; see --tokens or {TOKENS}")
    at = f"[{host}]" if ":" in host else host
    what = f"{counted(len(models), 'model')} and {counted(len(pools), 'pool')}"
    url = f"http://{at}:{bound.getsockname()[1]}{' with a page' if with_page else ''}"
    code = 0
    try:
        run(app, bound, limits, lambda: say(f"serving {what} on {url}"), access_log=access_log)
    except KeyboardInterrupt:
        code = 130
    say("interrupted" if code else "stopped")
    leave(code)
    if code:
        raise typer.Exit(code)


def _check_extras(page: bool | None) -> None:
    if missing := [name for name in ("fastapi", "uvicorn", "prometheus_client") if find_spec(name) is None]:
        raise SamnerError(f"a server needs {', '.join(missing)}: pip install 'samner[serve]'")
    if page and find_spec("gradio") is None:
        raise SamnerError("the page needs gradio: pip install 'samner[page]'")


def _named_folders(given: list[str]) -> dict[str, Path]:
    """Folders of models by the names under which they are served."""
    from samner.serving.catalog import NAME
    from samner.task_model import MANIFEST

    folders: dict[str, Path] = {}
    for one in given:
        name, equals, rest = one.partition("=")
        folder = user_path(rest if equals and not user_path(one).is_dir() else one)
        if not equals or user_path(one).is_dir():
            name = folder.absolute().name
        if not NAME.fullmatch(name):
            raise SamnerError(f"{name!r} cannot name a model: give --model NAME={folder}, of letters, digits, '.-_'")
        if name in folders:
            raise SamnerError(f"two models are called {name!r}: give one another name by --model NAME={folder}")
        if not (folder / MANIFEST).is_file():
            raise SamnerError(f"--model {one}: {folder} is no model that 'samner adapt' saved, it has no {MANIFEST}")
        folders[name] = folder
    return folders


def _named_pools(references: list[str]) -> dict[str, str]:
    named = {Path(reference).name or reference: reference for reference in references}
    if len(named) < len(references):
        raise SamnerError("two pools have the same name; rename the folder of one")
    return named


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
