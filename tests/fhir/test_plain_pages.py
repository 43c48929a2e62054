"""A page cut in one go holds the same entries as one that is cut step by step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.fhir import bundle
from adapter.fhir.bundle import MAX_DEPTH, Decoded, decode_bundle, decode_resource
from adapter.fhirjson import NotJson, dumps

RESOURCES = st.sampled_from(
    [
        {"resourceType": "Task", "id": "1", "status": "requested"},
        {"resourceType": "Patient", "id": "2", "name": [{"family": "Müller"}], "x": [0.10, -0, 1e3]},
        {"id": "3", "resourceType": "Task"},
        {"resourceType": "no word", "id": "4"},
        {"resourceType": 5},
        {"resourceType": "OperationOutcome", "issue": [{"severity": "warning", "code": "processing"}]},
        {"id": "no type"},
        None,
        [1],
    ]
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "resource": RESOURCES,
        "fullUrl": st.sampled_from(["https://x/Task/1", "", 7, None]),
        "search": st.sampled_from([{"mode": "match"}, {"mode": "include"}, {"score": 1}, "x", None]),
        "request": st.sampled_from([{"method": "delete", "url": "Task/1"}, None, []]),
        "response": st.sampled_from([{"etag": 'W/"3"'}, {"status": "200"}, None]),
        "extra": st.integers(),
    },
)
BUNDLES = st.fixed_dictionaries(
    {"resourceType": st.just("Bundle"), "entry": st.lists(ENTRIES, max_size=4)},
    optional={"type": st.just("searchset"), "total": st.integers(0, 9)},
)


def the_long_way(raw: bytes) -> Decoded:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "_plainly", lambda _raw: None)
        return decode_bundle(raw)


@given(BUNDLES)
def test_both_ways_read_the_same(page: dict[str, Any]) -> None:
    raw = dumps(page)
    assert decode_bundle(raw) == the_long_way(raw)


def page_of(resource: bytes) -> bytes:
    entry = b'{"fullUrl":"https://x/Task/1","resource":' + resource + b',"search":{"mode":"match"}}'
    return b'{"resourceType":"Bundle","entry":[' + entry + b"]}"


TASK = b'{"resourceType":"Task","id":"1","description":%s}'
DEEP = b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1)


@pytest.mark.parametrize(
    "value",
    [b'"\xff"', b'"\xc3"', b'"\xed\xa0\x80"', b'"\\ud800"', b"NaN", b"01", DEEP, b'{"\xff":1}', b'"a\nb"'],
)
def test_what_cannot_be_read_is_found_when_the_page_is_cut(value: bytes) -> None:
    raw = page_of(TASK % value)
    found = decode_bundle(raw)
    assert found == the_long_way(raw)
    assert found.faults and found.entries[0].resource is None and found.entries[0].raw == TASK % value


def test_a_sound_resource_is_parsed_when_it_is_asked_for() -> None:
    [entry] = decode_bundle(page_of(TASK % '"Überweisung"'.encode())).entries
    assert entry.is_unread
    assert entry.resource == {"resourceType": "Task", "id": "1", "description": "Überweisung"}


def test_a_number_that_no_decimal_holds_is_no_resource() -> None:
    raw = page_of(TASK % b"1e99999999999999999999")
    [entry] = decode_bundle(raw).entries
    assert entry.resource is None and entry.raw
    with pytest.raises(NotJson):
        decode_resource(entry.raw)


def test_a_resource_of_many_brackets_is_measured_and_a_deep_one_refused() -> None:
    wide = {"resourceType": "Task", "id": "1", "input": [{"a": [{}]} for _ in range(MAX_DEPTH)]}
    assert decode_resource(dumps(wide)) == wide
    deep: Any = {}
    for _ in range(MAX_DEPTH):
        deep = {"a": deep}
    with pytest.raises(NotJson):
        decode_resource(dumps({"resourceType": "Task", "a": deep}))


def test_an_outcome_among_the_matches_is_heard() -> None:
    outcome = b'{"resourceType":"OperationOutcome","issue":[{"severity":"warning","code":"not-supported"}]}'
    raw = page_of(outcome)
    assert decode_bundle(raw) == the_long_way(raw)
    assert [issue.code for issue in decode_bundle(raw).warnings] == ["not-supported"]
