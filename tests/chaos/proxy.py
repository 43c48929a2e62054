"""A proxy between Baton and a FHIR server that loses, repeats, spoils and delays what passes through it.

It stands on loopback, one thread per connection, and shares no code with the adapter. It numbers requests; what
happens to a request is told by a :class:`~tests.chaos.plan.Plan`, and what somebody does at a certain request
(an edit in the EHR, a kill) by :meth:`Proxy.at`. The server's own addresses are passed on as they are.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from tests.chaos.plan import CALM, Fault, Plan

Moment = Literal[
    "before", "between", "after"
]  # before it is forwarded, with the answer in hand, once it is sent

UPSTREAM_S = 60.0
LATE_AT_MOST_S = 12.0  # nothing stays on its way longer than the client's longest rest allows for
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "te", "trailer"})
_SPOILED = b"\xff\xfe\xff"  # no UTF-8, so that nobody can take it for other content
_PAGE = (
    b"<!DOCTYPE html><html><head><title>Sign in</title></head><body>Sign in to the guest net</body></html>"
)
_STATUSES = (500, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def writes(self) -> bool:
        return self.method in ("PUT", "POST", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Answered:
    """What the server answered; ``headers`` without those of the connection."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(slots=True)
class _Late:
    asked: Asked
    due: int
    since: float


@dataclass(slots=True)
class _Appointment:
    left: int  # so many requests that fit come before it
    moment: Moment
    do: Callable[[Asked], None]
    writes: bool
    met: Asked | None = None

    def comes(self, asked: Asked) -> bool:
        """Count a request; whether it is the one."""
        if self.met is None and (asked.writes or not self.writes):
            self.left -= 1
            self.met = asked if self.left < 1 else None
        return self.met is asked


class Unreachable(Exception):
    """The server does not answer."""


@dataclass(slots=True)
class Proxy:
    """``with Proxy(server_base) as proxy: … proxy.base_url``.

    ``plan`` may be changed at any time. ``log`` has one line per fault: its number, kind and request.
    """

    upstream: str
    plan: Plan = CALM
    slow_s: float = 2.0  # longer than the client waits
    log: list[str] = field(default_factory=list)
    number: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _late: list[_Late] = field(default_factory=list)
    _appointments: list[_Appointment] = field(default_factory=list)
    _http: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None
    _local: threading.local = field(default_factory=threading.local)

    @property
    def base_url(self) -> str:
        """The FHIR root as Baton is told it."""
        assert self._http is not None
        return f"http://127.0.0.1:{self._http.server_address[1]}{urlsplit(self.upstream).path}"

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"proxy": self})
        self._http = _Server(("127.0.0.1", 0), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._http is not None and self._thread is not None
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self.hang_up()

    # --- what a test asks for

    def at(self, count: int, moment: Moment, do: Callable[[Asked], None], *, writes: bool = False) -> None:
        """Do something at the ``count``-th request from now, or the ``count``-th write, while the client waits."""
        with self._lock:
            self._appointments.append(_Appointment(count, moment, do, writes))

    def forget(self) -> int:
        """Drop appointments that have not come; how many there were."""
        with self._lock:
            left = len(self._appointments)
            self._appointments.clear()
            return left

    def flush(self) -> int:
        """Deliver everything that is still on its way; how much that was."""
        with self._lock:
            due, self._late = self._late, []
        for one in due:
            self._deliver(one)
        return len(due)

    # --- what handlers ask for

    def take(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Asked, Fault | None]:
        """Number a request, and say what happens to it."""
        with self._lock:
            self.number += 1
            asked = Asked(self.number, method, path, headers, body)
            for one in self._appointments:
                one.comes(asked)
            fault = self.plan.fault(self.number)
            if fault is not None:
                self.log.append(f"#{asked.number} {fault.kind} {fault.draw:.3f} {method} {path[:120]}")
        self._deliver_due(asked.number)
        return asked, fault

    def keep(self, asked: Asked, moment: Moment) -> None:
        """Keep the appointments of a request."""
        with self._lock:
            due = [one for one in self._appointments if one.moment == moment and one.met is asked]
            for one in due:
                self._appointments.remove(one)
        for one in due:
            one.do(asked)

    def hold(self, asked: Asked, fault: Fault) -> None:
        """Put a request aside, to be delivered after its client has given up."""
        with self._lock:
            due = asked.number + 1 + int(fault.draw * 40)
            self._late.append(_Late(asked, due, time.monotonic()))

    def forward(self, asked: Asked) -> Answered:
        """Send a request on and read the whole answer.

        Raises:
            Unreachable: no answer.
        """
        for fresh in (False, True):
            connection = self._connection(fresh)
            try:
                connection.request(
                    asked.method, asked.path, body=asked.body or None, headers=dict(asked.headers)
                )
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, HTTPException):
                connection.close()
                if fresh or asked.writes:  # a kept connection may have been closed while it rested
                    raise Unreachable from None
                continue
            kept = tuple((name, value) for name, value in answer.getheaders() if name.lower() not in _HOP)
            return Answered(answer.status, kept, body)
        raise Unreachable

    def _connection(self, fresh: bool) -> HTTPConnection:
        place = urlsplit(self.upstream)
        held: HTTPConnection | None = getattr(self._local, "connection", None)
        if held is None or fresh or held.port != place.port or _is_stale(held):
            if held is not None:
                held.close()
            held = HTTPConnection(place.hostname or "", place.port, timeout=UPSTREAM_S)
            self._local.connection = held
        return held

    def hang_up(self) -> None:
        """Close this thread's connection to the server."""
        held: HTTPConnection | None = getattr(self._local, "connection", None)
        if held is not None:
            held.close()

    def _deliver_due(self, number: int) -> None:
        now = time.monotonic()
        with self._lock:
            due = [one for one in self._late if one.due <= number or now - one.since > LATE_AT_MOST_S]
            self._late = [one for one in self._late if one not in due]
        for one in due:
            self._deliver(one)

    def _deliver(self, one: _Late) -> None:
        try:
            status = str(self.forward(one.asked).status)
        except Unreachable:
            status = "no answer"
        self.log.append(f"#{one.asked.number} delivered late, before #{self.number}: {status}")


def _is_stale(connection: HTTPConnection) -> bool:
    """Whether the server has closed a connection that rested: a write must not be lost to that."""
    if connection.sock is None:
        return False
    try:
        connection.sock.setblocking(False)
        try:
            return connection.sock.recv(1, socket.MSG_PEEK) == b""
        finally:
            connection.sock.settimeout(UPSTREAM_S)
    except BlockingIOError:
        return False
    except OSError:
        return True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no news."""


class _Cut(Exception):
    """The client's connection ends here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one packet
    proxy: Proxy

    def log_message(self, format: str, *args: Any) -> None:
        """The proxy keeps a log of its own."""

    def _any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        asked, fault = self.proxy.take(self.command, self.path, headers, body)
        try:
            self.proxy.keep(asked, "before")
            if fault is None:
                self._answer(asked, self.proxy.forward(asked))
            else:
                _FAULTS[fault.kind](self, asked, fault)
            self.proxy.keep(asked, "after")
        except (_Cut, Unreachable, OSError):
            self._hang_up()

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.proxy.hang_up()

    do_GET = do_PUT = do_POST = do_DELETE = do_PATCH = _any

    def _answer(
        self, asked: Asked, answer: Answered, *, body: bytes | None = None, most: int | None = None
    ) -> None:
        """Send an answer on; ``most`` bytes of its body, whatever length it is said to have."""
        self.proxy.keep(asked, "between")
        content = answer.body if body is None else body
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if most is None else content[:most])
        self.wfile.flush()

    def _hang_up(self) -> None:
        """Cut the connection so that the client sees a reset."""
        self.close_connection = True
        try:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        except OSError:
            return

    # --- faults

    def _drop(self, asked: Asked, fault: Fault) -> None:
        raise _Cut

    def _lost(self, asked: Asked, fault: Fault) -> None:
        self.proxy.forward(asked)
        raise _Cut

    def _cut(self, asked: Asked, fault: Fault) -> None:
        answer = self.proxy.forward(asked)
        self._answer(asked, answer, most=int(len(answer.body) * fault.draw))
        raise _Cut

    def _garble(self, asked: Asked, fault: Fault) -> None:
        answer = self.proxy.forward(asked)
        at = int(len(answer.body) * fault.draw)
        spoiled = answer.body[:at] + _SPOILED + answer.body[at + len(_SPOILED) :]
        self._answer(asked, answer, body=spoiled if answer.body else b"")

    def _repeat(self, asked: Asked, fault: Fault) -> None:
        first = self.proxy.forward(asked)
        second = self.proxy.forward(asked)
        self._answer(asked, first if fault.flip() else second)

    def _delay(self, asked: Asked, fault: Fault) -> None:
        time.sleep(fault.draw * 0.2)
        self._answer(asked, self.proxy.forward(asked))

    def _slow(self, asked: Asked, fault: Fault) -> None:
        if fault.flip():
            self.proxy.forward(asked)
        elif asked.writes:
            self.proxy.hold(asked, fault)
        time.sleep(self.proxy.slow_s)
        raise _Cut

    def _held(self, asked: Asked, fault: Fault) -> None:
        if asked.writes:
            self.proxy.hold(asked, fault)
        raise _Cut

    def _too_many(self, asked: Asked, fault: Fault) -> None:
        wait = ("Retry-After", str(int(fault.draw * 3)))
        self._answer(asked, Answered(429, (wait, _date()), b""))

    def _broken(self, asked: Asked, fault: Fault) -> None:
        if fault.flip():
            self.proxy.forward(asked)
        headers = [_date()]
        status = _STATUSES[int(fault.draw * len(_STATUSES))]
        if status == 503 and int(fault.draw * 100) % 2:
            headers.append(("Retry-After", "1"))
        self._answer(asked, Answered(status, tuple(headers), b"upstream error"))

    def _html(self, asked: Asked, fault: Fault) -> None:
        if fault.flip():
            self.proxy.forward(asked)
        self._answer(asked, Answered(200, (("Content-Type", "text/html"), _date()), _PAGE))


def _date() -> tuple[str, str]:
    return "Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())


_FAULTS: Mapping[str, Callable[[_Handler, Asked, Fault], None]] = {
    "drop": _Handler._drop,
    "lost": _Handler._lost,
    "cut": _Handler._cut,
    "garble": _Handler._garble,
    "repeat": _Handler._repeat,
    "delay": _Handler._delay,
    "slow": _Handler._slow,
    "late": _Handler._held,
    "429": _Handler._too_many,
    "5xx": _Handler._broken,
    "html": _Handler._html,
}
