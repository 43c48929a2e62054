"""Templates in words and for identity."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.facts.times import When
from adapter.mapping.fhirpath import Value
from adapter.mapping.template import TemplateFault, canonical, parse_template, shorten, words
from adapter.mapping.values import Chain

ZONE = ZoneInfo("America/New_York")
NIGHT = When(datetime(2025, 12, 6, 2, 0, tzinfo=UTC), False, "2025-12-06T02:00:00Z")
Names = Mapping[str, Any]


def filled(text: str, values: Names) -> str:
    template = parse_template(text, lambda inner, _: Chain(inner, ()))
    return words(template, lambda chain: Value(values.get(chain.text, [])), ZONE)


def identity(text: str, values: Names) -> tuple[str | None, frozenset[str]]:
    template = parse_template(text, lambda inner, _: Chain(inner, ()))
    found = canonical(template, lambda chain: values.get(chain.text, Value([])))
    return found.text, found.gaps


@pytest.mark.parametrize(
    ("text", "values", "said"),
    [
        ("Confirm the {a}[ on {b}]", {"a": ["visit"], "b": [NIGHT]}, "Confirm the visit on Fri 5 Dec"),
        ("Confirm the {a}[ on {b}]", {"a": ["visit"]}, "Confirm the visit"),
        ("Ordered[ on {a}][ for {b}] and no visit.", {"b": ["pain"]}, "Ordered for pain and no visit."),
        ("Obtain {a} of {b}.", {"b": ["it"]}, "Obtain of it."),
        ("Call {a}.", {}, "Call."),
        ("{a}", {"a": ["2025-12-05"]}, "Fri 5 Dec"),
        ("{a}", {"a": ["first", "second"]}, "first"),
        ("{a}", {"a": ["two\nlines\x07"]}, "two lines"),
        ("{a}", {"a": [{"code": "x"}]}, ""),
        ("{a.where(b = '}]')}", {"a.where(b = '}]')": ["x"]}, "x"),
        ("{a[0]}", {"a[0]": ["x"]}, "x"),
        ("{iif(a, {}, b)}", {"iif(a, {}, b)": ["x"]}, "x"),
    ],
)
def test_words(text: str, values: Names, said: str) -> None:
    assert filled(text, values) == said


def test_identity_is_canonical() -> None:
    day = When(datetime(2025, 12, 5, 5, tzinfo=UTC), True, "2025-12-05")
    assert identity("x:{a}:{b}", {"a": Value(["O/1"]), "b": Value([day])}) == (
        "x:O/1:2025-12-05",
        frozenset(),
    )
    assert identity("x:{a}", {"a": Value(["O/1", "O/1"])})[0] == "x:O/1"
    assert identity("x[:{a}]", {})[0] == "x"


def test_an_identity_is_unknown_without_one_value() -> None:
    assert identity("x:{a}", {}) == (None, frozenset())
    assert identity("x:{a}", {"a": Value(["1", "2"])}) == (None, frozenset())
    assert identity("x:{a}", {"a": Value([], frozenset({"T"}))}) == (None, frozenset({"T"}))
    assert identity("x[:{a}]", {"a": Value([], frozenset({"T"}))}) == (None, frozenset({"T"}))


@pytest.mark.parametrize(
    ("text", "offset"), [("a {b", 2), ("a b}", 3), ("[a [b]]", 3), ("a {} b", 2), ("[a", 0)]
)
def test_broken_templates_say_where(text: str, offset: int) -> None:
    with pytest.raises(TemplateFault) as caught:
        parse_template(text, lambda inner, _: Chain(inner, ()))
    assert caught.value.offset == offset


def test_shortening_cuts_between_words() -> None:
    assert shorten("Schedule Cardiology consultation", 22) == "Schedule Cardiology…"
    assert shorten("Schedule", 8) == "Schedule"
    assert shorten("Donaudampfschifffahrt", 10) == "Donaudamp…"


@given(st.text(max_size=60), st.integers(0, 60))
def test_shortened_texts_fit(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short) <= max(limit, 0)
    assert short == text or len(text) > limit
