"""The sandbox: a small FHIR R4 server in this process, for the demo and for tests of what servers do wrong.

It speaks real HTTP on the loopback interface and keeps everything in memory. It is no EHR and says so: in
/metadata, and in the Server header of every answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from adapter import __version__
from adapter.sandbox.api import Api
from adapter.sandbox.chart import Chart
from adapter.sandbox.core import Clock, Core, MachineClock
from adapter.sandbox.faults import Fault, Faults
from adapter.sandbox.habits import Habits
from adapter.sandbox.hosting import Host
from adapter.sandbox.messages import Incoming, Recorded, Reply
from adapter.sandbox.tampering import body, instead, tampered

SERVER_HEADER = f"baton-sandbox/{__version__}"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
_BEFORE = frozenset({"drop", "late"})
_CUT = frozenset({"drop", "late", "lost-response"})


@dataclass(frozen=True, slots=True)
class _Late:
    """A request whose client has given up, still on its way through somebody's gateway."""

    incoming: Incoming
    due_at: datetime | None
    due_after: int | None


class Sandbox(Chart):
    """A FHIR server in a thread.

    >>> with Sandbox() as server:
    ...     server.put({"resourceType": "Patient", "id": "p1"})
    ...     client = FhirClient(server.base_url, ...)

    ``clock`` gives lastUpdated and the Date header. ``habits`` and ``faults`` may be changed while it runs.
    ``requests`` is what came over HTTP, in order.
    """

    def __init__(self, *, clock: Clock | None = None, habits: Habits | None = None, port: int = 0) -> None:
        self._host = Host(self._application(), port=port)
        base_url = f"http://127.0.0.1:{self._host.port}/fhir"
        super().__init__(Core(clock or MachineClock(), base_url, habits or Habits()))
        self.faults = Faults()
        self.api = Api(self.core)
        self._requests: list[Recorded] = []
        self._received = 0
        self._late_ones: list[_Late] = []

    @property
    def base_url(self) -> str:
        """The server's base, without a slash at the end."""
        return self.core.base_url

    @property
    def habits(self) -> Habits:
        """How the server behaves; its switches may be turned at any time."""
        return self.core.habits

    @habits.setter
    def habits(self, habits: Habits) -> None:
        with self.lock:
            self.core.habits = habits

    @property
    def requests(self) -> list[Recorded]:
        """What was asked so far, in order, with the status of each answer."""
        with self.lock:
            return list(self._requests)

    def sent(self, method: str = "", kind: str = "") -> list[Recorded]:
        """The requests of one method, or on one type."""
        return [r for r in self.requests if method in ("", r.method) and kind in ("", r.type)]

    def clear_requests(self) -> None:
        """Forget what was asked so far."""
        with self.lock:
            self._requests.clear()

    def forget_pages(self) -> None:
        """Let every paging link and cached search expire now."""
        with self.lock:
            self.api.pages.forget()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to answer."""
        self._host.start()

    def stop(self) -> None:
        """Cut all connections and stop."""
        self._host.stop()

    # --- late delivery

    def deliver_late(self) -> int:
        """Carry out now the writes whose clients gave up; how many there were."""
        with self.lock:
            return self._deliver(list(self._late_ones))

    def _deliver_due(self) -> None:
        now, number = self.core.now(), self._received
        due = [
            late
            for late in self._late_ones
            if (late.due_at is not None and now >= late.due_at)
            or (late.due_after is not None and number > late.due_after)
        ]
        self._deliver(due)

    def _deliver(self, due: list[_Late]) -> int:
        for late in due:
            self._late_ones.remove(late)
            self.api.answer(late.incoming)
        return len(due)

    def _keep_for_later(self, incoming: Incoming, fault: Fault) -> None:
        due_at = self.core.now() + timedelta(seconds=fault.seconds) if fault.seconds else None
        due_after = incoming.number + fault.requests if fault.requests is not None else None
        self._late_ones.append(_Late(incoming, due_at, due_after))

    # --- answering

    def _application(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self._answer, methods=_METHODS)])

    async def _answer(self, request: Request) -> Response:
        sent = await request.body()
        fault, reply, date = self._decided(request, sent)
        if fault is not None and fault.kind in ("slow", "drip"):
            return await self._slowly(fault, reply, date)
        if fault is not None and fault.kind in _CUT:
            return _Cut(self._host, request)
        head = request.method == "HEAD"
        response = _response(reply, b"" if head else body(reply), date)
        return _CutShort(self._host, request, response) if fault and fault.kind == "cut" else response

    def _decided(self, request: Request, sent: bytes) -> tuple[Fault | None, Reply, str]:
        """Carry the request out, under the lock, and write it down."""
        with self.lock:
            self._received += 1
            incoming = _incoming(self._received, request, sent)
            self.core.served = incoming.number
            self.settle()
            self._deliver_due()
            fault = self.faults.take(incoming)
            reply = self._reply(incoming, fault)
            self._record(incoming, fault, reply)
            return fault, reply, self.core.date()

    def _reply(self, incoming: Incoming, fault: Fault | None) -> Reply:
        if fault is None:
            return self.api.answer(incoming)
        if fault.kind in _BEFORE:
            if fault.kind == "late":
                self._keep_for_later(incoming, fault)
            return Reply(0)
        replaced = instead(fault)
        if replaced is not None:
            if fault.executed:
                self.api.answer(incoming)
            return replaced
        return tampered(fault, self.api.answer(incoming))

    def _record(self, incoming: Incoming, fault: Fault | None, reply: Reply) -> None:
        status = 0 if fault is not None and fault.kind in _CUT else reply.status
        row = Recorded(
            incoming.number,
            incoming.method,
            incoming.path,
            incoming.query,
            incoming.headers,
            incoming.body,
            status,
            fault.kind if fault else "",
        )
        self._requests.append(row)

    async def _slowly(self, fault: Fault, reply: Reply, date: str) -> Response:
        if fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            return _response(reply, body(reply), date)
        return StreamingResponse(
            _drops(body(reply), fault.seconds), status_code=reply.status, headers=_headers(reply, date)
        )


def _incoming(number: int, request: Request, sent: bytes) -> Incoming:
    path = request.url.path
    outside = path != "/fhir" and not path.startswith("/fhir/")
    return Incoming(
        number=number,
        method="GET" if request.method == "HEAD" else request.method,
        path=path.removeprefix("/fhir").strip("/"),
        query=request.url.query,
        headers={name.lower(): value for name, value in request.headers.items()},
        body=sent,
        outside=outside,
    )


def _headers(reply: Reply, date: str) -> dict[str, str]:
    kind = {"content-type": reply.content_type} if reply.content_type else {}
    return {**kind, **reply.headers, "date": date, "server": SERVER_HEADER}


def _response(reply: Reply, content: bytes, date: str) -> Response:
    return Response(content, status_code=reply.status, headers=_headers(reply, date))


async def _drops(content: bytes, seconds: float) -> AsyncIterator[bytes]:
    size = max(1, len(content) // 20)
    for start in range(0, len(content), size):
        yield content[start : start + size]
        await asyncio.sleep(seconds / 20)


class _Cut(Response):
    """No answer at all: the connection is reset."""

    def __init__(self, host: Host, request: Request) -> None:
        super().__init__()
        self._host = host
        self._peer = _peer(request)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._host.cut(self._peer)
        await _until_gone(receive)


class _CutShort(Response):
    """The head and half of the body, then the connection is reset."""

    def __init__(self, host: Host, request: Request, whole: Response) -> None:
        super().__init__()
        self._host = host
        self._peer = _peer(request)
        self._whole = whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        content = bytes(self._whole.body)
        await send(
            {
                "type": "http.response.start",
                "status": self._whole.status_code,
                "headers": self._whole.raw_headers,
            }
        )
        await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
        await asyncio.sleep(0.005)  # lets the half leave before the reset overtakes it
        self._host.cut(self._peer)
        await _until_gone(receive)


def _peer(request: Request) -> tuple[str, int]:
    assert request.client is not None
    return request.client.host, request.client.port


async def _until_gone(receive: Receive) -> None:
    """Wait until the framework has noticed that the client is gone, so that it adds no answer of its own."""
    while (await receive())["type"] != "http.disconnect":
        pass
