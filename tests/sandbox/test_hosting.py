"""The server in a thread: it stops at once, and leaves nothing open."""

from __future__ import annotations

import gc
import socket
import threading
import warnings
from typing import Any

from adapter.sandbox.hosting import Host


async def _silent(_scope: Any, _receive: Any, _send: Any) -> None:
    return


def _knock(port: int, held: list[socket.socket]) -> None:
    """Connect again and again until nobody listens."""
    while True:
        knocking = socket.socket()
        try:
            knocking.connect(("127.0.0.1", port))
        except OSError:
            knocking.close()
            return
        held.append(knocking)


def test_who_knocks_while_the_server_stops_is_let_go() -> None:
    with warnings.catch_warnings(record=True) as left_open:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(10):
            host, held = Host(_silent), []
            host.start()
            knocking = [threading.Thread(target=_knock, args=(host.port, held)) for _ in range(2)]
            for thread in knocking:
                thread.start()
            host.stop()
            for thread in knocking:
                thread.join()
            for connection in held:
                connection.close()
            del host
            gc.collect()
    assert [str(one.message) for one in left_open] == []
