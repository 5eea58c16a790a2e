"""Run the service on a port of its own until it is told to end."""

import errno
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp

PORT = 8000
_TRIED = 20  # ports after the first, where no port was asked for
_CONNECTIONS = 512
_ENDING = (signal.SIGINT, signal.SIGTERM)


def bind(host: str, port: int | None = None) -> socket.socket:
    """Return a socket that listens on a port; None: the first that is free from 8000 on; 0: any.

    Raises:
        ValueError: if the port is taken or none, or the address is none of this machine.
    """
    if port is not None and not 0 <= port <= 65535:
        raise ValueError(f"a port is a number from 0, any that is free, to 65535, got {port}")
    for number in range(PORT, PORT + _TRIED + 1) if port is None else (port,):
        try:
            listening = socket.create_server(
                (host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=256
            )
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ValueError(
                    f"cannot listen on {host} port {number}: {error.strerror or error}"
                ) from None
        else:
            # Connections take this over.  Without it the body of an answer waits 40 ms for the client's
            # confirmation of the head: asyncio sets it only on sockets that name the protocol.
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return listening
    asked = f"port {port}" if port is not None else f"each port from {PORT} to {PORT + _TRIED}"
    raise ValueError(f"{asked} of {host} is taken by another program; give a free one with --port")


def address(listening: socket.socket) -> str:
    """Return where a browser finds the service that listens on a socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(app: ASGIApp, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Answer requests until Ctrl-C or SIGTERM; those under way have five seconds to end.

    Args:
        app: the application.
        listening: of `bind`.
        ready: called when requests are answered.
    """
    config = uvicorn.Config(
        app,
        access_log=False,  # it would hold the queries; `cmh.service.guard` writes one without them
        log_config=None,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=5,
    )
    _Server(config, ready).run([listening])


class _Server(uvicorn.Server):
    """uvicorn, which says when it is ready, and for which a signal to end is an end and no failure."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if not self.should_exit:
            self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in _ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
