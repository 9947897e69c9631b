"""An application behind uvicorn on a port, until it is told to stop."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from samner.errors import SamnerError
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
    """Answer until a signal comes (SIGTERM, or SIGINT from a terminal), then finish what was accepted.

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

    config = uvicorn.Config(
        app,
        log_level="info" if access_log else "warning",
        access_log=access_log,
        timeout_graceful_shutdown=int(limits.seconds) + _GRACE,
        server_header=False,
        proxy_headers=False,
    )
    # uvicorn raises the signal again at the end: one that it has answered in good order is no failure
    signal.signal(signal.SIGTERM, lambda *_: None)
    Server(config).run(sockets=[bound])
