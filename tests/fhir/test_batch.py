"""A batch of reads: what it tells beyond doubt, and what it leaves to single reads."""

from __future__ import annotations

from typing import Any

import pytest

from adapter.errors import NotFhir, Rejected
from adapter.fhirjson import dumps, loads
from tests.fhir.bench import BASE, Script, client, reply, task

MISSING = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "not-found"}]}


def found(id: str, version: str = "3") -> dict[str, Any]:
    return {"resource": task(id), "response": {"status": "200 OK", "etag": f'W/"{version}"'}}


def absent(status: str = "404 Not Found", **more: Any) -> dict[str, Any]:
    return {"response": {"status": status, "outcome": MISSING, **more}}


def batch(*entries: dict[str, Any], type: str = "batch-response") -> dict[str, Any]:
    return {"resourceType": "Bundle", "type": type, "entry": list(entries)}


def test_each_is_asked_for_in_one_request_past_every_cache() -> None:
    script = Script(reply(200, batch(found("a"), absent())))
    client(script).read_each("Task", ["a", "b/c"])
    (asked,) = script.asked
    assert (asked.method, str(asked.url), asked.headers["Cache-Control"]) == ("POST", BASE, "no-cache")
    sent = loads(asked.content)
    assert sent["type"] == "batch"
    assert [one["request"] for one in sent["entry"]] == [
        {"method": "GET", "url": "Task/a"},
        {"method": "GET", "url": "Task/b%2Fc"},
    ]


def test_what_stands_and_what_never_stood() -> None:
    script = Script(reply(200, batch(found("a", "7"), absent())))
    told = client(script).read_each("Task", ["a", "b"])
    assert set(told) == {"a", "b"} and told["b"] is None
    answer = told["a"]
    assert answer is not None
    assert (answer.resource, answer.version, answer.raw) == (task("a"), "7", dumps(task("a")))
    assert answer.sent_seq < answer.received_seq


@pytest.mark.parametrize(
    "entry",
    [
        absent("410 Gone"),
        absent("403 Forbidden"),
        absent("500 Internal Server Error"),
        absent("404 Not Found", outcome=None),  # a wrong route says nothing (F18)
        {"response": {"status": "404"}},
        {"response": {"status": "200 OK"}},
        {"response": {"status": "200 OK"}, "resource": {"id": "b"}},
        {"response": {}, "resource": task("b")},
    ],
    ids=["gone", "refused", "failed", "no outcome", "bare", "empty", "no type", "no status"],
)
def test_what_is_in_doubt_is_left_out(entry: dict[str, Any]) -> None:
    script = Script(reply(200, batch(found("a"), entry, absent())))
    assert set(client(script).read_each("Task", ["a", "b", "c"])) == {"a", "c"}


def test_an_outcome_may_stand_where_the_resource_would() -> None:
    entry = {"resource": MISSING, "response": {"status": "404 Not Found"}}
    assert client(Script(reply(200, batch(entry)))).read_each("Task", ["a"]) == {"a": None}


@pytest.mark.parametrize(
    "body",
    [
        batch(found("b"), absent()),
        batch(absent(), {**found("b"), "resource": {**task("b"), "resourceType": "Basic"}}),
        batch(found("a")),
        batch(found("a"), absent(), absent()),
        batch(found("a"), absent(), type="searchset"),
        {"resourceType": "Bundle", "type": "batch-response"},
        {"resourceType": "OperationOutcome"},
        b"<html>",
        b'{"resourceType":"Bundle","type":"batch-response","entry":[{"resource":{"resourceType":"Task"',
    ],
    ids=["order", "type", "few", "many", "search", "empty", "outcome", "html", "cut"],
)
def test_an_answer_to_something_else_is_not_believed_at_all(body: Any) -> None:
    with pytest.raises(NotFhir):
        client(Script(reply(200, body))).read_each("Task", ["a", "b"])


def test_a_server_without_batches_says_so() -> None:
    with pytest.raises(Rejected):
        client(Script(reply(405, MISSING))).read_each("Task", ["a"])
