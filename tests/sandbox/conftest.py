"""A sandbox of its own for each test, on a clock that stands still, and a plain httpx client on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapter.sandbox import Sandbox

NOW = datetime(2026, 11, 23, 15, 0, 0, 123000, tzinfo=UTC)
Json = dict[str, Any]


class Standing:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return self.at

    def advance(self, **by: float) -> None:
        self.at += timedelta(**by)


@pytest.fixture
def clock() -> Standing:
    return Standing()


@pytest.fixture
def server(clock: Standing) -> Iterator[Sandbox]:
    with Sandbox(clock=clock) as sandbox:
        yield sandbox


@pytest.fixture
def ehr(server: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=server.base_url,
        headers={"Content-Type": "application/fhir+json"},
        transport=httpx.HTTPTransport(verify=False),
        trust_env=False,
        timeout=20,
    ) as client:
        yield client


@pytest.fixture
def put(ehr: httpx.Client) -> Callable[..., httpx.Response]:
    """PUT a resource under its id, with headers such as if_match."""

    def send(resource: Json, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return ehr.put(f"/{resource['resourceType']}/{resource['id']}", json=resource, headers=named)

    return send


def patient(identity: str, **more: Any) -> Json:
    return {"resourceType": "Patient", "id": identity, **more}


def task(identity: str, **more: Any) -> Json:
    return {"resourceType": "Task", "id": identity, "status": "requested", "intent": "order", **more}


def ids(bundle: Json) -> list[str]:
    """The ids of a page's matches, in order."""
    entries = bundle.get("entry", [])
    return [e["resource"]["id"] for e in entries if e.get("search", {}).get("mode") != "outcome"]


def link(bundle: Json, relation: str = "next") -> str:
    return next((found["url"] for found in bundle["link"] if found["relation"] == relation), "")


def walk(ehr: httpx.Client, url: str) -> list[str]:
    """All ids that a search gives, page by page."""
    found: list[str] = []
    while url:
        answer = ehr.get(url)
        assert answer.status_code == 200, answer.text
        found += ids(answer.json())
        url = link(answer.json())
    return found


def text_of(answer: httpx.Response) -> str:
    """What an OperationOutcome says."""
    assert answer.json()["resourceType"] == "OperationOutcome"
    return str(answer.json()["issue"][0]["diagnostics"])
