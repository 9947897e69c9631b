"""An application behind uvicorn on a port, until it is told to stop."""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from samner.errors import SamnerError
from samner.serving.errors import ApiError
from samner.serving.limits import Limits

_GRACE = 5
"""Seconds that requests have for the end of their answers beyond the time that they may take."""


def bind(host: str, port: int) -> socket.socket:
    """A socket on a port, which does not listen yet; port 0 is any that is free.

    Raises:
        SamnerError: If the host is none of this machine's, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        raise SamnerError(f"cannot serve on {host}, port {port}: {error.strerror or error}") from error
    return bound


def serve(
    app: FastAPI, bound: socket.socket, limits: Limits, on_ready: Callable[[], None], *, access_log: bool = False
) -> None:
    """Answer until a signal comes (SIGTERM, or SIGINT or SIGHUP from a terminal), then finish what was accepted.

    Args:
        app: The application.
        bound: Of ``bind``.
        limits: How long a request may take, and so an end.
        on_ready: Called once requests are taken.
        access_log: Write a line for every request to standard error: address, method, path and status.
    """

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if self.started:
                on_ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.state.patience.end()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        Told(app),
        log_level="info" if access_log else "warning",
        access_log=access_log,
        timeout_graceful_shutdown=int(limits.seconds) + _GRACE,
        server_header=False,
        proxy_headers=False,
    )
    # uvicorn raises the signal again at the end: one that it has answered in good order is no failure
    signal.signal(signal.SIGTERM, lambda *_: None)
    hangup = getattr(signal, "SIGHUP", None)  # of a terminal that is closed; not everywhere, and not under nohup
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:
        signal.signal(hangup, lambda *_: signal.raise_signal(signal.SIGTERM))
    Server(config).run(sockets=[bound])


def leave(status: int) -> None:
    """End the process here if a thread was given up, with a pass or a job; else return, for it to end as any other.

    Python ends such threads where they are, and one in the midst of torch then aborts the process.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        atexit._run_exitfuncs()
        sys.stderr.flush()
        os._exit(status)


class Told:
    """Tells of the end who is still waiting when uvicorn cancels, which is no fault to be logged with a traceback.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, noted)
        except asyncio.CancelledError:
            if scope["type"] == "lifespan":
                raise
            if not begun:
                await ApiError(503, "the server has stopped").response()(scope, receive, send)
