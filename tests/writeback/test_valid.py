"""The shapes that the strict models have taken: two of one shape are both taken, or both refused."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.writeback import valid
from adapter.writeback.valid import NotRenderable, check_valid, shape_of

TASK: dict[str, Any] = {
    "resourceType": "Task",
    "id": "b-k1-1",
    "identifier": [{"system": "urn:baton:one", "value": "k1"}, {"system": "urn:baton:two", "value": "k1-1"}],
    "status": "requested",
    "intent": "order",
    "priority": "routine",
    "code": {"coding": [{"system": "urn:baton:codes", "code": "schedule-referral"}], "text": "Schedule"},
    "description": "Call the patient.",
    "focus": {"reference": "ServiceRequest/s1"},
    "for": {"reference": "Patient/p1"},
    "authoredOn": "2026-01-02T03:04:05Z",
    "lastModified": "2026-01-02T03:04:05.123456+01:00",
    "restriction": {"repetitions": 1, "period": {"end": "2026-01-09"}},
    "input": [
        {"type": {"text": "Need"}, "valueString": "visit-for:ServiceRequest/s1"},
        {"type": {"text": "Since"}, "valueDateTime": "2026-01-02"},
        {"type": {"text": "Because of"}, "valueReference": {"reference": "ServiceRequest/s1"}},
        {"type": {"text": "More"}, "valueUrl": "https://ehr.example/x"},
    ],
    "note": [{"text": "one", "authorString": "Baton"}],
    "text": {"status": "generated", "div": '<div xmlns="http://www.w3.org/1999/xhtml">Schedule</div>'},
}

# Words, ids, codes, moments and days, and what only resembles them.
TEXTS = st.one_of(
    st.text(max_size=6),
    st.text(alphabet="aZ09-._: /T\n\t\u00a0\u3000", max_size=10),
    st.sampled_from(
        [
            "",
            " ",
            "a",
            "a b",
            "a  b",
            " a",
            "a ",
            "a\nb",
            "a" * 64,
            "a" * 65,
            "2026-01-02",
            "2026-02-30",
            "0000-01-01",
            "2026-13-01",
            "2026",
            "2026-01",
            "2026-01-02T03:04:05Z",
            "2026-01-02T24:00:00Z",
            "2026-01-02T03:04:60Z",
            "2026-01-02T03:04Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05.1234567Z",
            "2026-01-02T03:04:05+25:00",
            "٢٠٢٦-٠١-٠٢",
            "https://x.example/y",
            "/a b",
            "true",
            "null",
        ]
    ),
)
ODD: st.SearchStrategy[Any] = st.one_of(
    TEXTS, st.none(), st.booleans(), st.integers(-2, 3), st.floats(allow_nan=False), st.just([]), st.just({})
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a resource at which a text stands."""
    if isinstance(value, dict):
        return [place for name, part in value.items() for place in places(part, (*path, name))]
    if isinstance(value, list):
        return [place for number, part in enumerate(value) for place in places(part, (*path, number))]
    return [path] if isinstance(value, str) and path != ("resourceType",) else []


def with_value(path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(TASK)
    at: Any = made
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return made


def taken_by_models(resource: dict[str, Any]) -> bool:
    valid._taken.clear()
    try:
        check_valid(resource)
    except NotRenderable:
        return False
    return True


taken_by_models(TASK)  # loads the models: the first one that needs them would take longer than an example may


@given(place=st.sampled_from(places(TASK)), one=TEXTS, other=TEXTS)
def test_of_one_shape_both_are_taken_or_both_refused(place: tuple[Any, ...], one: str, other: str) -> None:
    first, second = with_value(place, one), with_value(place, other)
    if shape_of(first) == shape_of(second):
        assert taken_by_models(first) == taken_by_models(second)


@given(place=st.sampled_from(places(TASK)), value=ODD)
def test_what_the_models_refuse_is_refused_after_one_of_another_shape_was_taken(
    place: tuple[Any, ...], value: Any
) -> None:
    changed = with_value(place, value)
    alone = taken_by_models(changed)
    assert taken_by_models(TASK)
    if alone:
        check_valid(changed)
    else:
        with pytest.raises(NotRenderable):
            check_valid(changed)


def test_tasks_that_differ_in_words_ids_and_moments_share_a_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    plain = valid._model

    def model(type: str) -> Any:
        asked.append(type)
        return plain(type)

    monkeypatch.setattr(valid, "_model", model)
    valid._taken.clear()
    for number in range(5):
        one = with_value(("id",), f"b-k{number}-1")
        one["description"] = f"Call the patient about visit {number}."
        one["authoredOn"] = f"2026-01-0{number + 1}T03:04:05Z"
        one["note"] = one["note"] * (number + 1)
        check_valid(one)
    assert asked == ["Task"]


def test_a_refused_shape_is_asked_about_again_and_a_missing_element_is_seen() -> None:
    assert taken_by_models(TASK)
    broken = {name: part for name, part in TASK.items() if name != "intent"}
    for _ in range(2):
        with pytest.raises(NotRenderable, match="intent"):
            check_valid(broken)


def test_what_is_remembered_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(valid, "MOST_SHAPES", 2)
    valid._taken.clear()
    for number in range(5):
        check_valid(with_value(("restriction", "repetitions"), number + 1))
        assert len(valid._taken) <= 2
