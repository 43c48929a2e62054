"""A page cut in one go holds the same entries as one that is cut step by step."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.fhir import bundle
from adapter.fhir.bundle import MAX_DEPTH, decode_bundle, decode_resource
from adapter.fhirjson import NotJson, dumps

RESOURCES = st.sampled_from(
    [
        {"resourceType": "Task", "id": "1", "status": "requested"},
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


@given(BUNDLES)
def test_both_ways_read_the_same(page: dict[str, Any]) -> None:
    raw = dumps(page)
    plain = decode_bundle(raw)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle, "_plainly", lambda _raw: None)
        assert decode_bundle(raw) == plain


def test_a_resource_of_many_brackets_is_measured_and_a_deep_one_refused() -> None:
    wide = {"resourceType": "Task", "id": "1", "input": [{"a": [{}]} for _ in range(MAX_DEPTH)]}
    assert decode_resource(dumps(wide)) == wide
    deep: Any = {}
    for _ in range(MAX_DEPTH):
        deep = {"a": deep}
    with pytest.raises(NotJson):
        decode_resource(dumps({"resourceType": "Task", "a": deep}))
