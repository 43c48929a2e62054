from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from adapter.references import Bases
from adapter.writeback.normalise import diff_text, differs, same

BASES = Bases("https://ehr.example/fhir")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"reference": "Task/1"}, {"reference": "Task/1/_history/3", "display": "x", "type": "Task"}),
        ({"reference": "Task/1"}, {"reference": "https://ehr.example/fhir/Task/1"}),
        ("2025-12-05T17:00:00-05:00", "2025-12-05T22:00:00.000Z"),
        (
            [{"system": "a", "value": "1"}, {"system": "b", "value": "2"}],
            [{"system": "b", "value": "2"}, {"value": "1", "system": "a", "id": "e1"}],
        ),
        (
            {"coding": [{"system": "a", "code": "b"}]},
            {"coding": [{"system": "a", "code": "b", "display": "B"}]},
        ),
        (Decimal("1.10"), Decimal("1.1")),
        (1, Decimal("1.0")),
        ({"div": "<div><p>a</p><p>b</p></div>"}, {"div": "<div><p>a</p>\n  <p>b</p></div>\n"}),
        ({"a": 1}, {"a": 1, "b": [], "c": {}, "d": ""}),
    ],
)
def test_same(ours: Any, theirs: Any) -> None:
    assert same(ours, theirs, BASES)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"reference": "Task/1"}, {"reference": "https://other.example/fhir/Task/1"}),
        ({"reference": "Task/1"}, {"reference": "Task/2"}),
        ("2025-12-05", "2025-12-05T00:00:00Z"),
        ("requested", "Requested"),
        ([1, 1], [1]),
        (True, 1),
        ({"coding": [{"system": "a", "code": "b"}]}, {"coding": [{"system": "a", "code": "c"}]}),
    ],
)
def test_different(ours: Any, theirs: Any) -> None:
    assert not same(ours, theirs, BASES)


def test_differs_by_path() -> None:
    ours = {
        "resourceType": "Task",
        "id": "1",
        "status": "requested",
        "lastModified": "2025-12-05T00:00:00Z",
        "restriction": {"period": {"end": "2025-12-05"}},
        "meta": {"tag": [{"system": "t", "code": "baton"}]},
    }
    theirs = {
        **ours,
        "status": "completed",
        "lastModified": "2026-01-01T00:00:00Z",
        "note": [{"text": "n"}],
        "meta": {"versionId": "7", "tag": [{"system": "x", "code": "y"}, {"system": "t", "code": "baton"}]},
    }
    assert differs(ours, theirs) == ["note", "status"]
    assert differs(ours, theirs, ["status", "restriction.period.end", "meta.tag"]) == ["status"]
    assert differs(ours, {**theirs, "meta": {}}, ["meta.tag"]) == ["meta.tag"]


def test_diff_text() -> None:
    before = {"resourceType": "Task", "id": "1", "status": "requested"}
    assert (
        diff_text(before, {**before, "status": "completed"}) == "~ Task/1\n    status: requested → completed"
    )
    assert diff_text(None, before) == "+ Task/1\n    status: requested"
