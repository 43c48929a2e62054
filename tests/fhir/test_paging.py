"""Walks over pages: links brought home, entries cut out, walks that would never end."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.errors import ForeignOrigin, NotFhir, PageExpired, ServerUnavailable
from adapter.fhir import Limits
from adapter.fhir.paging import address, origin, rebase
from adapter.fhirjson import dumps, loads
from tests.fhir.bench import BASE, Script, bundle, client, outcome, reply, task


@pytest.mark.parametrize(
    ("link", "home"),
    [
        (f"{BASE}/Task?page=2", f"{BASE}/Task?page=2"),
        (f"{BASE}?_getpages=a&_getpagesoffset=20", f"{BASE}?_getpages=a&_getpagesoffset=20"),
        (f"{BASE}/?ct=abc", f"{BASE}?ct=abc"),
        ("Task?page=2", f"{BASE}/Task?page=2"),
        ("?page=2", f"{BASE}/Task?page=2"),
        ("/r4/Task?page=2", f"{BASE}/Task?page=2"),
        ("http://inner:8080/r4/Task?page=2", f"{BASE}/Task?page=2"),
        ("https://ehr.example:443/r4/Task?page=2", f"{BASE}/Task?page=2"),
        ("http://ehr.example/r4/Task?page=2", f"{BASE}/Task?page=2"),
        ("http://inner:8080/fhir-server/api/Task?page=2", f"{BASE}/Task?page=2"),
        ("http://inner:8080/Task?page=2", f"{BASE}/Task?page=2"),
        ("http://inner:8080/fhir?_getpages=a&_count=2", f"{BASE}?_getpages=a&_count=2"),
        ("http://inner:8080/?ct=abc", f"{BASE}?ct=abc"),
        ("http://known/old/base/next/7?x=y", f"{BASE}/next/7?x=y"),
        ("https://user:pw@inner/r4/Task?page=2#frag", f"{BASE}/Task?page=2"),
        (
            f"{BASE}/Task?_lastUpdated=ge2026-01-01T00%3A00%3A00Z&x=a%7Cb",
            f"{BASE}/Task?_lastUpdated=ge2026-01-01T00%3A00%3A00Z&x=a%7Cb",
        ),
    ],
)
def test_links_are_brought_home(link: str, home: str) -> None:
    found = rebase(
        link, base=BASE, current=f"{BASE}/Task?page=1", tail="Task", aliases=["http://known/old/base"]
    )
    assert found == home


@pytest.mark.parametrize(
    "link",
    [
        "https://evil.example/steal?x=1",
        "https://evil.example/fhir/Patient?x=1",
        "https://evil.example/r4x/other",
        "https://ehr.example/admin?x=1",
        "https://evil.example/r4/../admin/Tusk",
        f"{BASE}/../admin",
        f"{BASE}/%2e%2E/admin",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "ftp://ehr.example/r4/Task",
        "http://[",
        "https://:99999999/r4/Task",
    ],
)
def test_links_that_have_no_home_are_refused(link: str) -> None:
    with pytest.raises(ForeignOrigin) as foreign:
        rebase(link, base=BASE, current=f"{BASE}/Task", tail="Task")
    assert "x=1" not in str(foreign.value) and "steal" not in str(foreign.value)


def test_a_base_without_a_path_takes_links_as_they_are() -> None:
    base = "http://127.0.0.1:8211"
    assert (
        rebase(f"{base}/Task?_cursor=x", base=base, current=f"{base}/Task", tail="Task")
        == f"{base}/Task?_cursor=x"
    )
    assert rebase(f"{base}/next/7", base=base, current=f"{base}/Task", tail="Task") == f"{base}/next/7"
    wrong = "http://elsewhere:8299/inner/Task?_cursor=x"
    assert rebase(wrong, base=base, current=f"{base}/Task", tail="Task") == f"{base}/Task?_cursor=x"


@given(st.text(max_size=60))
def test_no_link_ever_leaves_the_origin(text: str) -> None:
    for link in (
        text,
        f"https://{text}",
        f"https://ehr.example{text}",
        f"//{text}/r4/Task",
        f"{BASE}/{text}",
    ):
        try:
            home = rebase(link, base=BASE, current=f"{BASE}/Task?a=b", tail="Task")
        except ForeignOrigin:
            continue
        assert home == BASE or home.startswith((f"{BASE}/", f"{BASE}?"))
        assert origin(home) == ("https", "ehr.example", 443)


def test_addresses_for_messages_hold_no_path_and_no_password() -> None:
    assert address("https://u:p@h.example:8443/a/b?c=d") == "https://h.example:8443"
    assert address("http://h.example:80/") == "http://h.example"
    assert address("http://[::1]:8080/x") == "http://[::1]:8080"
    assert address("nonsense") == "an address that is no http"


# ---- walks ----


def ids(pages: list) -> list[str]:  # type: ignore[type-arg]
    return [entry.resource["id"] for page in pages for entry in page.entries]


def test_all_pages_come_and_are_numbered() -> None:
    script = Script(
        reply(200, bundle(task("1"), task("2"), next=f"{BASE}/Task?p=2", total=3)),
        reply(200, bundle(next=f"{BASE}/Task?p=3")),
        reply(200, bundle(task("3"))),
    )
    pages = list(client(script).pages("Task", [("_count", "2")]))
    assert ids(pages) == ["1", "2", "3"]
    assert [(page.sent_seq, page.received_seq) for page in pages] == [(1, 2), (3, 4), (5, 6)]
    assert pages[0].total == 3 and pages[1].total is None
    assert pages[0].next == f"{BASE}/Task?p=2"
    assert all(asked.headers["cache-control"] == "no-cache" for asked in script.asked)


def test_the_next_page_is_asked_for_only_when_it_is_wanted() -> None:
    script = Script(reply(200, bundle(task("1"), next=f"{BASE}/Task?p=2")))
    next(client(script).pages("Task", []))
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "replies",
    [
        [bundle(task("1"), next=f"{BASE}/Task?p=1")],
        [bundle(task("1"), next=f"{BASE}/Task?p=2"), bundle(task("2"), next=f"{BASE}/Task?p=2")],
        [
            bundle(task("1"), next=f"{BASE}/Task?p=2"),
            bundle(task("2"), next=f"{BASE}/Task?p=3"),
            bundle(task("3"), next="https://other/r4/Task?p=2"),
        ],
        # the server knows the cursor no more and begins again, with a fresh one each time (Helios)
        [
            bundle(task("1"), next=f"{BASE}/Task?p=2"),
            bundle(task("2"), next=f"{BASE}/Task?p=3"),
            bundle(task("1"), next=f"{BASE}/Task?p=4"),
        ],
        [bundle(task("1"), next=f"{BASE}/Task?p=2"), bundle(task("1"))],
    ],
    ids=["itself", "again", "two-before", "begins-anew", "page-twice"],
)
def test_a_walk_that_would_never_end_is_an_error(replies: list[dict[str, object]]) -> None:
    script = Script(*(reply(200, body) for body in replies))
    with pytest.raises(NotFhir):
        list(client(script).pages("Task", [("p", "1")]))
    assert len(script.asked) <= 4


def test_links_in_a_circle_are_an_error_even_with_new_content() -> None:
    number = iter(range(10_000))

    def circle(_: object) -> httpx.Response:
        at = next(number)
        return reply(200, bundle(task(str(at)), next=f"{BASE}/Task?p={at % 3}"))

    script = Script(circle)
    with pytest.raises(NotFhir):
        list(client(script).pages("Task", []))
    assert len(script.asked) == 4


def test_empty_pages_without_end_are_an_error() -> None:
    number = iter(range(10_000))
    script = Script(lambda _: reply(200, bundle(next=f"{BASE}/Task?p={next(number)}")))
    with pytest.raises(NotFhir):
        list(client(script).pages("Task", []))
    assert len(script.asked) < 200


@pytest.mark.parametrize(
    "gone",
    [
        reply(410, outcome("deleted")),
        reply(404, outcome("not-found")),
        reply(404),
        reply(400, outcome("value", details={"coding": [{"system": "urn:oid:1.2", "code": "4113"}]})),
        reply(200, bundle(outcome("value", details={"coding": [{"code": "4113"}]}))),
    ],
    ids=["410", "404", "404-bare", "epic-400", "epic-200"],
)
def test_a_search_that_the_server_forgot(gone: object) -> None:
    script = Script(reply(200, bundle(task("1"), next=f"{BASE}?_getpages=x")), gone)  # type: ignore[arg-type]
    walk = client(script).pages("Task", [])
    next(walk)
    with pytest.raises(PageExpired):
        next(walk)


def test_a_page_that_fails_for_now_is_not_expired() -> None:
    script = Script(reply(200, bundle(task("1"), next=f"{BASE}/Task?p=2")), reply(500))
    with pytest.raises(ServerUnavailable):
        list(client(script, limits=Limits(retries=0)).pages("Task", []))


# ---- what a page holds ----


def page_of(body: object):  # type: ignore[no-untyped-def]
    return client(Script(reply(200, body))).search("Task", [])


def test_entries_keep_their_own_bytes() -> None:
    raw = b'{"resourceType" : "Task","id":"1", "x":1.10 }'
    page = page_of(
        b'{"entry":[{"resource": ' + raw + b' ,"search":{"mode":"include"}}],"resourceType":"Bundle"}'
    )
    (entry,) = page.entries
    assert entry.raw == raw and entry.mode == "include"
    assert page.next is None and page.faults == ()


BAD = {
    "nan": b"NaN",
    "lone-surrogate": b'"\\ud800"',
    "bad-utf8": b'"\xff\xfe"',
    "control-sign": b'"\x01"',
    "leading-zero": b"01",
    "deep": b"[" * 200_000 + b"]" * 200_000,
    "deepish": b"[" * 150 + b"]" * 150,
    "nothing": b"",
    "quoted-brackets": b'"}]}\\"}", x',
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_one_bad_entry_does_not_spoil_its_page(bad: bytes) -> None:
    body = dumps(bundle(task("1"), task("2", x="HERE"), task("3"), next=f"{BASE}/Task?p=2", total=9))
    page = page_of(body.replace(b'"HERE"', bad))
    assert [e.resource["id"] if e.resource else None for e in page.entries] == ["1", None, "3"]
    assert page.entries[1].raw.startswith(b'{"resourceType":"Task","id":"2"') and bad in page.entries[1].raw
    assert len(page.faults) == 1 and page.faults[0].startswith("entry 2 of the page cannot be read")
    assert page.next == f"{BASE}/Task?p=2" and page.total == 9
    assert page.entries[2].mode == "match" and page.entries[2].full_url == f"{BASE}/Task/3"


@pytest.mark.parametrize("entry", ['"text"', "null", "7", "[]"])
def test_entries_that_are_no_objects(entry: str) -> None:
    page = page_of(
        b'{"resourceType":"Bundle","entry":[%s,{"resource":{"resourceType":"Task"}}]}' % entry.encode()
    )
    assert page.entries[0].resource is None and page.entries[0].raw == entry.encode()
    assert page.entries[1].resource == {"resourceType": "Task"}
    assert page.faults == ("entry 1 of the page is no JSON object",)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"",
        b"null",
        b"[]",
        b'{"resourceType":"Task","id":"1"}',
        b'{"resourceType":"Bundle","entry":{}}',
        b'{"resourceType":"Bundle","entry":[',
        b'{"resourceType":"Bundle","entry":[{"resource":{"a":"b}]}',
        b'{"resourceType":"Bundle","link":"x"}',
        b'{"resourceType":"Bundle","link":[7]}',
        b'{"resourceType":"Bundle","link":[{"relation":"next"}]}',
        b'{"resourceType":"Bundle","link":[{"relation":"next","url":7}]}',
        b'{"resourceType":"Bundle","link":[NaN]}',
        b"[" * 1_000_000,
        dumps(outcome("exception")),
    ],
)
def test_what_is_no_page(body: bytes) -> None:
    with pytest.raises(NotFhir):
        page_of(body)


def test_an_outcome_instead_of_a_page_keeps_its_issues() -> None:
    with pytest.raises(NotFhir) as fault:
        page_of(outcome("not-supported", diagnostics="HAPI-0524: what?"))
    assert fault.value.codes() == "error not-supported HAPI-0524"


def test_warnings_inside_a_page_are_heard() -> None:
    ignored = outcome("not-supported", severity="warning", details={"coding": [{"code": "4122"}]})
    none = outcome("processing", severity="warning", details={"coding": [{"code": "4101"}]})
    plain = outcome("informational", severity="information")
    page = page_of(bundle(task("1"), ignored, none, plain))
    assert [issue.server_code for issue in page.warnings] == ["4122"]
    body = bundle(ignored)
    body["entry"] = [{"resource": ignored}]  # Helios: no id, no fullUrl
    assert page_of(body).entries[0].mode == "outcome"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(st.dictionaries(st.text(max_size=8), json_values, max_size=4), max_size=5))
def test_cutting_by_brackets_gives_what_a_parser_gives(parts: list[dict[str, object]]) -> None:
    from adapter.fhir import cut

    resources = [part | {"resourceType": "Task"} for part in parts]
    raw = dumps({"resourceType": "Bundle", "entry": resources, "x": [1, {"y": 2}]})
    members = dict(cut.members(raw))
    assert [loads(piece) for piece in cut.elements(members["entry"])] == resources
    assert members["x"] == b'[1,{"y":2}]'
