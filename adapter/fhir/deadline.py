"""A transport whose every wait ends at a deadline.

httpx bounds single steps: a server that sends one byte now and then keeps each of them, and a request for
ever.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterable
from typing import Any

import httpcore
import httpx

from adapter.errors import SettingsError


class Deadline:
    """When the present request of this thread has to be over; requests of several threads do not meet."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._own = threading.local()

    def start(self, seconds: float) -> None:
        """Begin anew."""
        self._own.at = self._monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left; negative where it is over, infinite where none was started."""
        at: float | None = getattr(self._own, "at", None)
        return float("inf") if at is None else at - self._monotonic()

    def bound(self, timeout: float | None) -> float | None:
        """A step's own time-out, cut to what is left."""
        left = self.left()
        return (
            timeout if left == float("inf") else max(0.001, left if timeout is None else min(timeout, left))
        )


def transport(deadline: Deadline, *, verify: bool | str) -> httpx.BaseTransport:
    """HTTP/1.1 over TCP and TLS, without proxies from the environment."""
    context = _tls(verify)
    made = httpx.HTTPTransport(verify=context, trust_env=False)
    made._pool.close()
    # The one way to give httpx a network of one's own: it has no parameter for it.
    made._pool = httpcore.ConnectionPool(
        ssl_context=context, max_connections=20, keepalive_expiry=5.0, network_backend=_Network(deadline)
    )
    return made


def _tls(verify: bool | str) -> ssl.SSLContext:
    if isinstance(verify, str):
        try:
            return ssl.create_default_context(cafile=verify)
        except (ssl.SSLError, OSError):
            raise SettingsError(
                f"the ca_file {verify} holds no certificate that can be read",
                remedy="name a file of certificates, in PEM",
            ) from None
    return httpx.create_ssl_context(verify=verify, trust_env=False)


class _Network(httpcore.NetworkBackend):
    def __init__(self, deadline: Deadline) -> None:
        self._inner = httpcore.SyncBackend()
        self._deadline = deadline

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        bound = self._deadline.bound(timeout)
        stream = self._inner.connect_tcp(host, port, bound, local_address, socket_options)
        return _Stream(stream, self._deadline)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._inner = inner
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._deadline.left() <= 0:
            raise httpcore.ReadTimeout("the request took too long")
        return self._inner.read(max_bytes, self._deadline.bound(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if self._deadline.left() <= 0:
            raise httpcore.WriteTimeout("the request took too long")
        self._inner.write(buffer, self._deadline.bound(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        secured = self._inner.start_tls(ssl_context, server_hostname, self._deadline.bound(timeout))
        return _Stream(secured, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
