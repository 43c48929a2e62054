"""A client on a scripted server, without a network or a wall clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx

from adapter.clock import FixedClock, Sequence
from adapter.fhir import FhirClient, Limits
from adapter.fhirjson import dumps

BASE = "https://ehr.example/r4"
START = datetime(2026, 11, 23, 12, tzinfo=UTC)
Reply = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Script:
    """A transport that gives its replies in turn (the last for ever) and keeps what it was asked."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[httpx.Request] = []
        self.clock = FixedClock(START)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        # A response object can be streamed once: a repeated one is made anew.
        made = reply(request) if callable(reply) else reply
        return httpx.Response(made.status_code, headers=made.headers, stream=made.stream)

    @property
    def urls(self) -> list[str]:
        return [str(request.url) for request in self.asked]


def client(script: Script, **settings: Any) -> FhirClient:
    settings.setdefault("limits", Limits())
    return FhirClient(
        settings.pop("base_url", BASE),
        clock=settings.pop("clock", script.clock),
        seq=settings.pop("seq", Sequence()),
        transport=httpx.MockTransport(script),
        **settings,
    )


def reply(status: int = 200, body: Any = None, **headers: str) -> httpx.Response:
    content = b"" if body is None else body if isinstance(body, bytes) else dumps(body)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, content=content, headers=named)


def task(id: str = "1", **more: Any) -> dict[str, Any]:
    return {"resourceType": "Task", "id": id, "status": "requested", "intent": "order", **more}


def outcome(code: str = "processing", *, severity: str = "error", **more: Any) -> dict[str, Any]:
    return {"resourceType": "OperationOutcome", "issue": [{"severity": severity, "code": code, **more}]}


def bundle(*resources: Any, next: str | None = None, **more: Any) -> dict[str, Any]:
    links = [] if next is None else [{"relation": "next", "url": next}]
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "link": [{"relation": "self", "url": f"{BASE}/Task"}, *links],
        "entry": [
            {"fullUrl": f"{BASE}/Task/{r.get('id')}", "resource": r, "search": {"mode": "match"}}
            for r in resources
        ],
        **more,
    }
