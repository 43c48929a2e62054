"""A uvicorn server in a thread, on a free port of the loopback interface, that starts and stops at once."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

Peer = tuple[str, int]
# Of the loop: a connection that is being accepted when the server stops is made two later, and ends one after. asyncio
# drops what it accepts for a server that was closed meanwhile, without closing it.
_ROUNDS = 8


class Host:
    """Runs an ASGI application until it is stopped; knows each client's connection, to be able to cut it."""

    def __init__(self, app: Any, *, port: int = 0) -> None:
        self._socket = _listening(port)
        self.port: int = self._socket.getsockname()[1]
        self._transports: dict[Peer, asyncio.Transport] = {}
        self._server = _Server(self._config(app))
        self._thread = threading.Thread(target=self._run, name="baton-sandbox", daemon=True)

    def _config(self, app: Any) -> uvicorn.Config:
        return uvicorn.Config(
            app,
            http=_protocol(self._transports),
            ws="none",
            lifespan="off",
            loop="asyncio",
            log_config=None,
            access_log=False,
            log_level="critical",
            date_header=False,
            server_header=False,
            timeout_keep_alive=600,
        )

    def _run(self) -> None:
        self._server.run(sockets=[self._socket])

    def start(self) -> None:
        """Start, and return when the server takes connections."""
        self._thread.start()
        self._server.ready.wait(timeout=30)

    def stop(self) -> None:
        """Cut all connections and stop. A host that never started gives its port back."""
        if not self._thread.is_alive():
            self._socket.close()
            return
        self._server.leave()
        self._thread.join(timeout=30)

    def cut(self, peer: Peer) -> None:
        """Reset a client's connection. Called in the server's own thread."""
        transport = self._transports.get(peer)
        if transport is not None:
            transport.abort()


def _listening(port: int) -> socket.socket:
    # asyncio turns Nagle's algorithm off only where the protocol is named: else an answer takes 40 ms.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen(128)
    return listening


def _protocol(transports: dict[Peer, asyncio.Transport]) -> type[H11Protocol]:
    class Protocol(H11Protocol):
        """uvicorn's own protocol; it writes down the connection of each peer."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            self._peer: Peer = transport.get_extra_info("peername")[:2]
            transports[self._peer] = transport
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            transports.pop(self._peer, None)
            super().connection_lost(exc)

    return Protocol


class _Server(uvicorn.Server):
    """uvicorn without its tenth-of-a-second ticks, so that a test may start a server for itself."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._leaving: asyncio.Event | None = None

    async def main_loop(self) -> None:
        self._loop, self._leaving = asyncio.get_running_loop(), asyncio.Event()
        self.ready.set()
        await self._leaving.wait()

    def leave(self) -> None:
        """End the main loop, from any thread."""
        if self._loop is not None and self._leaving is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._leaving.set)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listening in sockets or ():
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(_ROUNDS):
            for connection in list(self.server_state.connections):
                if connection.transport is not None:
                    connection.transport.abort()
            await asyncio.sleep(0)
        for server in self.servers:
            server.close()
        for running in list(self.server_state.tasks):
            running.cancel()
        await asyncio.gather(*self.server_state.tasks, return_exceptions=True)
        for listening in sockets or ():
            listening.close()
