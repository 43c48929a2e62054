"""What goes out for each interaction, and what becomes of the answer."""

from __future__ import annotations

import gzip
import logging
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from adapter.clock import Sequence
from adapter.errors import (
    AccessRefused,
    ConfigError,
    Conflict,
    Gone,
    NotFhir,
    NotFound,
    OutcomeUnknown,
    Rejected,
    SettingsError,
)
from adapter.fhir import Limits
from adapter.fhir.auth import BasicSignIn, BearerToken, Secret
from tests.fhir.bench import BASE, START, Script, bundle, client, outcome, reply, task

CANARY = "Quirinius Canarybird"


def test_a_read_says_what_came_and_when() -> None:
    script = Script(
        reply(
            200,
            b'{"resourceType":"Task","id":"1","meta":{"versionId":"7"},"x":1.10}',
            ETag='W/"7"',
            Date="Mon, 23 Nov 2026 11:59:00 GMT",
        )
    )
    answer = client(script, seq=Sequence(40)).read("Task", "1")
    assert answer.resource is not None and answer.resource["x"] == Decimal("1.10")
    assert answer.raw.endswith(b"1.10}")
    assert (answer.version, answer.status) == ("7", 200)
    assert answer.date == START - timedelta(minutes=1)
    assert (answer.sent_seq, answer.received_seq) == (41, 42)
    (asked,) = script.asked
    assert str(asked.url) == f"{BASE}/Task/1"
    assert asked.headers["accept"].startswith("application/fhir+json")
    assert asked.headers["cache-control"] == "no-cache"
    assert asked.headers["user-agent"].startswith("baton-fhir/")
    assert asked.headers["accept-encoding"] == "gzip"
    assert "authorization" not in asked.headers


@pytest.mark.parametrize(
    ("etag", "version"),
    [('W/"3"', "3"), ('"3"', "3"), ("3", "3"), ('W/"3-gzip"', "3"), ('"a-b--gzip"', "a-b"), ("", "9")],
)
def test_a_version_comes_from_the_etag_else_from_the_body(etag: str, version: str) -> None:
    headers = {"ETag": etag} if etag else {}
    script = Script(reply(200, task(meta={"versionId": "9"}), **headers))
    assert client(script).read("Task", "1").version == version


def test_the_server_clock_hears_every_date_but_not_a_caches() -> None:
    script = Script(
        reply(200, task(), Date="Mon, 23 Nov 2020 12:00:00 GMT"),
        reply(200, task(), Date="Mon, 23 Nov 2015 12:00:00 GMT", Age="30"),
        reply(200, task(), Date="nonsense"),
    )
    fhir = client(script)
    for _ in range(2):
        fhir.read("Task", "1")
        assert fhir.clock.now() == datetime(2020, 11, 23, 12, tzinfo=UTC)
    assert fhir.read("Task", "1").date is None


def test_a_run_has_one_request_id() -> None:
    script = Script(reply(200, task()))
    fhir, other = client(script), client(script)
    fhir.read("Task", "1")
    fhir.read("Task", "1")
    assert {asked.headers["x-request-id"] for asked in script.asked} == {fhir.run_id}
    assert fhir.run_id != other.run_id


def test_ids_are_one_segment_of_the_path() -> None:
    script = Script(reply(200, task()))
    fhir = client(script)
    fhir.read("Task", "a_b/../c?d")
    assert script.asked[0].url.raw_path == b"/r4/Task/a_b%2F..%2Fc%3Fd"
    for bad in ("", ".", ".."):
        with pytest.raises(Rejected):
            fhir.read("Task", bad)
    with pytest.raises(ConfigError):
        fhir.read("../Task", "1")
    assert len(script.asked) == 1


def test_search_parameters_are_escaped() -> None:
    script = Script(reply(200, bundle()))
    client(script).search(
        "Task", [("identifier", "a|b c&d"), ("status:not", "x,y"), ("_lastUpdated", "ge1+2")]
    )
    assert script.asked[0].url.raw_path == (
        b"/r4/Task?identifier=a%7Cb%20c%26d&status:not=x%2Cy&_lastUpdated=ge1%2B2"
    )


def test_vread_and_history() -> None:
    script = Script(reply(200, task()), reply(200, bundle(type="history")))
    fhir = client(script)
    fhir.vread("Task", "1", "2")
    since = datetime(2026, 1, 2, 4, 4, 5, 678901, tzinfo=timezone(timedelta(hours=1)))
    list(fhir.history("Task", since=since, count=50))
    assert script.urls == [
        f"{BASE}/Task/1/_history/2",
        f"{BASE}/Task/_history?_count=50&_since=2026-01-02T03:04:05.678Z",
    ]


def test_history_tells_deletes_from_what_cannot_be_read() -> None:
    entries = [
        {
            "fullUrl": f"{BASE}/Task/1",
            "request": {"method": "delete", "url": "Task/1/_history/2"},
            "response": {"status": "200 OK", "etag": 'W/"2"'},
        },
        {"fullUrl": f"{BASE}/Task/2", "resource": {"id": "2"}, "request": {"method": "PUT", "url": "Task/2"}},
    ]
    (page,) = client(Script(reply(200, bundle(type="history", entry=entries)))).history("Task")
    deleted, bad = page.entries
    assert (deleted.method, deleted.url, deleted.etag) == ("DELETE", "Task/1/_history/2", "2")
    assert (deleted.resource, deleted.raw) == (None, b"")
    assert bad.resource is None and bad.raw == b'{"id":"2"}'
    assert page.faults == ("entry 2 of the page cannot be read: no resourceType",)


def test_create_is_bound_to_an_identifier() -> None:
    script = Script(reply(201, task("9"), ETag='W/"1"', Location=f"{BASE}/Task/9/_history/1"))
    answer = client(script).create(task(), identifier="urn:a:b|x, y|z$&=é")
    assert (answer.status, answer.location, answer.version) == (201, "Task/9/_history/1", "1")
    (asked,) = script.asked
    assert (asked.method, str(asked.url)) == ("POST", f"{BASE}/Task")
    condition = "identifier=urn%3Aa%3Ab%7Cx%5C%2C%20y%5C%7Cz%5C%24%26%3D%C3%A9"
    assert asked.headers["if-none-exist"] == condition
    assert asked.headers["prefer"] == "return=representation"
    assert asked.headers["content-type"].startswith("application/fhir+json")


@pytest.mark.parametrize("identifier", ["", "|", "a|", "|b", "value"])
def test_create_needs_a_whole_identifier(identifier: str) -> None:
    script = Script(reply(201))
    with pytest.raises(ConfigError):
        client(script).create(task(), identifier=identifier)
    assert not script.asked


def test_put_new_says_whether_it_may_overwrite() -> None:
    script = Script(reply(201, task()))
    fhir = client(script)
    fhir.put_new(task(), only_if_absent=True)
    fhir.put_new(task(), only_if_absent=False)
    careful, plain = script.asked
    assert (careful.method, str(careful.url)) == ("PUT", f"{BASE}/Task/1")
    assert careful.headers["if-match"] == 'W/"0"'
    assert "if-match" not in plain.headers


def test_update_names_its_version() -> None:
    script = Script(reply(200, task(), ETag='W/"4"'))
    fhir = client(script)
    assert fhir.update(task(), version="3").version == "4"
    assert script.asked[0].headers["if-match"] == 'W/"3"'
    for bad in ("", 'x"y', "a\r\nb", "é"):
        with pytest.raises(Rejected):
            fhir.update(task(), version=bad)
    assert len(script.asked) == 1


@pytest.mark.parametrize("status", [409, 412])
def test_a_stale_version_is_a_conflict_by_either_number(status: int) -> None:
    with pytest.raises(Conflict) as stale:
        client(Script(reply(status, outcome("conflict", diagnostics="HAPI-0989: stale")))).update(
            task(), version="1"
        )
    assert stale.value.issues[0].server_code == "HAPI-0989"
    assert "HAPI-0989" in str(stale.value)


def test_an_update_sends_decimals_as_they_were_read() -> None:
    script = Script(reply(200, b'{"resourceType":"Task","id":"1","x":1.10,"y":10.00,"z":0.000000010}'))
    fhir = client(script)
    read = fhir.read("Task", "1").resource
    assert read is not None
    fhir.update(read, version="1")
    assert script.asked[1].content == b'{"resourceType":"Task","id":"1","x":1.10,"y":10.00,"z":1.0E-8}'


def test_delete() -> None:
    script = Script(reply(204))
    fhir = client(script)
    assert fhir.delete("Task", "1").resource is None
    fhir.delete("Task", "1", version="5")
    assert [a.headers.get("if-match") for a in script.asked] == [None, 'W/"5"']
    assert script.asked[0].method == "DELETE"


def test_transaction_goes_to_the_base_and_must_be_answered_by_a_bundle() -> None:
    done = {
        "resourceType": "Bundle",
        "type": "transaction-response",
        "entry": [{"response": {"status": "201"}}],
    }
    script = Script(reply(200, done), reply(200, task()))
    fhir = client(script)
    assert fhir.transaction([{"resource": task()}]).resource == done
    assert str(script.asked[0].url) == BASE
    assert b'"type":"transaction"' in script.asked[0].content
    with pytest.raises(OutcomeUnknown):
        fhir.transaction([])


@pytest.mark.parametrize("status", [200, 400, 412, 422])
def test_validation_gives_issues_whatever_the_status(status: int) -> None:
    script = Script(reply(status, outcome("required", expression=["Task.status"])))
    (issue,) = client(script).validate(task())
    assert (issue.code, issue.expression) == ("required", "Task.status")
    assert str(script.asked[0].url) == f"{BASE}/Task/$validate"


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_validation_that_is_not_offered_is_no_finding(status: int) -> None:
    with pytest.raises((Rejected, NotFound)):
        client(Script(reply(status, outcome("not-supported")))).validate(task())


def test_gone_and_not_found_carry_only_what_fhir_said() -> None:
    with pytest.raises(Gone) as gone:
        client(Script(reply(410, outcome("deleted")))).read("Task", "1")
    assert gone.value.issues[0].code == "deleted"
    with pytest.raises(NotFound) as bare:
        client(Script(reply(404, b"<html>Not here</html>"))).read("Task", "1")
    assert bare.value.issues == ()
    with pytest.raises(NotFound) as said:
        client(Script(reply(404, outcome("not-found")))).read("Task", "1")
    assert said.value.issues[0].code == "not-found"


DEEP = b"[" * 1_000_000


@pytest.mark.parametrize(
    "body",
    [
        b"<html><body>Sign in</body></html>",
        b"",
        b"   ",
        b"not json",
        b"[1]",
        b'{"id":"1"}',
        b'{"resourceType":"Patient","id":"1"}',
        b'{"resourceType":"Task"',
        b'{"resourceType":"Task","a":' + DEEP,
        b'{"resourceType":"Task","a":' + b"[" * 300 + b"]" * 300 + b"}",
        DEEP,
    ],
    ids=[
        "html",
        "empty",
        "blank",
        "text",
        "array",
        "no-type",
        "other-type",
        "cut",
        "deep",
        "deepish",
        "deepest",
    ],
)
def test_what_is_no_fhir_is_told_so(body: bytes) -> None:
    with pytest.raises(NotFhir):
        client(Script(reply(200, body))).read("Task", "1")


@pytest.mark.parametrize("body", [b"<html>Sign in</html>", b'{"a":1}', b"{"])
def test_a_write_answered_without_fhir_may_have_been_done(body: bytes) -> None:
    script = Script(reply(200, body))
    with pytest.raises(OutcomeUnknown):
        client(script).update(task(), version="1")
    assert len(script.asked) == 1


def test_an_empty_answer_to_a_write_is_one() -> None:
    answer = client(Script(reply(201, None, ETag='W/"1"', Location="Task/1/_history/1"))).put_new(
        task(), only_if_absent=True
    )
    assert (answer.resource, answer.version, answer.location) == (None, "1", "Task/1/_history/1")


def test_gzip_is_unpacked_and_bounded_after_unpacking() -> None:
    packed = gzip.compress(b'{"resourceType":"Task","id":"1","a":"' + b"x" * 100_000 + b'"}')
    assert len(packed) < 1000
    script = Script(reply(200, packed, Content_Encoding="gzip"))
    assert client(script).read("Task", "1").status == 200
    with pytest.raises(NotFhir, match="larger than 50000 bytes"):
        client(script, limits=Limits(max_bytes=50_000)).read("Task", "1")
    with pytest.raises(OutcomeUnknown):
        client(script, limits=Limits(max_bytes=50_000)).update(task(), version="1")


def test_gzip_that_is_none_is_no_fhir() -> None:
    with pytest.raises(NotFhir):
        client(
            Script(lambda _: httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=Bytes(b"abc")))
        ).read("Task", "1")


class Bytes(httpx.SyncByteStream):
    def __init__(self, *parts: bytes) -> None:
        self.parts = parts

    def __iter__(self):  # type: ignore[no-untyped-def]
        yield from self.parts


@pytest.mark.parametrize("version", ["4.0.1", "4.0.0", "4.0", "4.3.0"])
def test_r4_and_r4b_are_taken(version: str) -> None:
    statement = {"resourceType": "CapabilityStatement", "fhirVersion": version}
    script = Script(reply(200, statement))
    assert client(script).capability() == statement
    assert script.urls == [f"{BASE}/metadata"]


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ({"resourceType": "CapabilityStatement", "fhirVersion": "5.0.0"}, "5.0.0"),
        ({"resourceType": "CapabilityStatement", "fhirVersion": "3.0.2"}, "3.0.2"),
        ({"resourceType": "CapabilityStatement", "fhirVersion": "4.1.0"}, "4.1.0"),
        ({"resourceType": "CapabilityStatement"}, "no FHIR version"),
        ({"resourceType": "Conformance", "fhirVersion": "1.0.2"}, "DSTU2"),
        ({"resourceType": "Patient"}, "no CapabilityStatement"),
    ],
)
def test_another_version_is_named(statement: dict[str, str], named: str) -> None:
    with pytest.raises(NotFhir, match=named):
        client(Script(reply(200, statement))).capability()


@pytest.mark.parametrize(
    "url", ["ftp://x/", "x", "", "https://u:p@x/fhir", "https://x/fhir?a=b", "https://x/fhir#a", "http://["]
)
def test_a_base_url_that_cannot_be_used(url: str) -> None:
    with pytest.raises(SettingsError) as wrong:
        client(Script(reply()), base_url=url)
    assert "u:p" not in str(wrong.value)


# ---- signing in ----


def test_a_token_goes_out_and_is_read_again_once_after_401(tmp_path: Path) -> None:
    held = tmp_path / "token"
    held.write_text("old\n")
    token = BearerToken(file=held)

    def server(request: httpx.Request) -> httpx.Response:
        good = request.headers["authorization"] == "Bearer new"
        return reply(200, task()) if good else reply(401, outcome("login"))

    script = Script(server)
    fhir = client(script, token=token)
    with pytest.raises(AccessRefused) as refused:  # the file still holds the old one
        fhir.read("Task", "1")
    assert len(script.asked) == 1 and "old" not in str(refused.value)
    held.write_text("new\n")
    assert fhir.update(task(), version="1").status == 200
    assert [asked.headers["authorization"] for asked in script.asked[1:]] == ["Bearer old", "Bearer new"]


def test_basic_sign_in_and_a_token_from_the_environment() -> None:
    script = Script(reply(200, task()))
    secret = Secret(env="EHR_PASSWORD", environ={"EHR_PASSWORD": "open sesame"})
    client(script, token=BasicSignIn("emp$me", secret)).read("Task", "1")
    client(script, token=BearerToken(env="T", environ={"T": " abc "})).read("Task", "1")
    assert [a.headers["authorization"] for a in script.asked] == [
        "Basic ZW1wJG1lOm9wZW4gc2VzYW1l",
        "Bearer abc",
    ]


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\x00b", "é"])
def test_a_secret_that_cannot_be_used_is_not_shown(text: str, tmp_path: Path) -> None:
    held = tmp_path / "token"
    held.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as wrong:
        client(Script(reply()), token=BearerToken(file=held)).read("Task", "1")
    assert "é" not in str(wrong.value) and "a\nb" not in str(wrong.value)
    with pytest.raises(SettingsError):
        BearerToken(file=tmp_path / "none")()


# ---- nothing of a patient in what is printed ----


@pytest.mark.parametrize("status", [400, 401, 404, 409, 410, 422, 429, 500])
def test_no_patient_data_in_messages_or_logs(status: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said = outcome(
        diagnostics=f"HAPI-1234: no {CANARY}",
        details={"text": CANARY, "coding": [{"code": CANARY}]},
        expression=[f"Patient.name.where(family='{CANARY}')"],
        location=[f"Task/*Task/{CANARY}*/.status"],
    )
    script = Script(reply(status, said))
    fhir = client(script, name="clinic")
    for ask in (
        lambda: fhir.search("Patient", [("family", CANARY)]),
        lambda: fhir.read("Patient", "secret-id"),
        lambda: fhir.update(task("secret-id", note=[{"text": CANARY}]), version="1"),
    ):
        with pytest.raises(Exception) as wrong:
            ask()
        printed = f"{wrong.value} {wrong.value!r} {wrong.value.codes()}"  # type: ignore[attr-defined]
        assert "Canarybird" not in printed and "secret-id" not in printed and "family" not in printed
        assert "HAPI-1234" in printed and "Task.status" in printed and "clinic" in str(wrong.value)
        assert wrong.value.issues[0].text.count(CANARY) == 2  # type: ignore[attr-defined]
    assert "Canarybird" not in caplog.text and "secret-id" not in caplog.text
