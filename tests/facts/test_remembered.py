"""What facts remember equals what is worked out anew, and short ways equal the long ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from adapter import references
from adapter.facts import coverage, keep, times
from adapter.facts.codes import Codebook
from adapter.facts.coverage import Statement, newest
from adapter.facts.keep import Keeper
from adapter.facts.times import When, at
from adapter.fhirjson import canonical, digest
from adapter.references import NO_BASES, Bases, parse_reference
from tests.facts.making import BASES, NOW, order, snap

TEXTS = st.one_of(
    st.text(max_size=80),
    st.datetimes(timezones=st.just(UTC)).map(lambda one: one.isoformat()),
    st.sampled_from(["2025", "2025-12", " 2025-12-10 ", "2025-12-10T24:00:00Z", "2025-12-10T10:00"]),
)
ZONES = st.sampled_from([UTC, ZoneInfo("America/New_York"), ZoneInfo("Europe/Berlin")])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["display", "reference", "actor", "coding", "a"]), inner, max_size=4),
    ),
    max_leaves=25,
)


MOMENTS = st.datetimes(timezones=st.just(UTC)).map(lambda one: one.replace(tzinfo=None))


@given(TEXTS, ZONES)
def test_a_time_is_the_same_whenever_it_is_read(text: str, zone: Any) -> None:
    assert times.parse_when(text, zone) == times.parse_when(text, zone) == times._read(text, zone)


@given(
    MOMENTS,
    st.sampled_from([0, 3, 6]),
    ZONES,
)
def test_an_instant_is_read_as_by_the_long_way(moment: datetime, digits: int, zone: Any) -> None:
    text = moment.isoformat(timespec={0: "seconds", 3: "milliseconds", 6: "microseconds"}[digits]) + "Z"
    found = times._FORM.fullmatch(text)
    assert found is not None
    assert times._read(text, zone) == times._typed(found, zone, text)
    for odd in (text.replace("T", "T24"), text[:11] + "24:00:00Z", text[:17] + "60Z"):
        again = times._FORM.fullmatch(odd)
        try:
            long = times._typed(again, zone, odd) if again else None
        except (ValueError, OverflowError):
            long = None
        assert times._read(odd, zone) == long


def test_an_instant_is_told_as_it_was() -> None:
    assert at(NOW) == at(NOW) == When(NOW, False, "2025-12-10T15:00:00Z")


@given(
    st.one_of(TEXTS, st.sampled_from(["Patient/1", "https://ehr.example/fhir/Patient/1/_history/2", "#p"]))
)
def test_a_reference_is_the_same_whenever_it_is_read(text: str) -> None:
    anew = references._parsed(text, "", "", BASES)
    assert parse_reference({"reference": text}, BASES) == parse_reference({"reference": text}, BASES) == anew
    assert parse_reference({"reference": text}, NO_BASES) == references._parsed(text, "", "", NO_BASES)


def test_two_sources_do_not_share_what_they_remember() -> None:
    one, other = Bases("https://one.example/fhir"), Bases("https://other.example/fhir")
    said = {"reference": "https://one.example/fhir/Patient/1"}
    assert parse_reference(said, one).local == "Patient/1"
    assert parse_reference(said, other).foreign == "https://one.example/fhir/Patient/1"


def test_codes_are_remembered_by_system_and_code() -> None:
    own = {"order-kind": {"s|1": "imaging", "t|1": "referral"}, "benefit-class": {"s|30": "imaging referral"}}
    book = Codebook(maps=own)
    for _ in range(2):
        for system, kind in (("s", "imaging"), ("t", "referral"), ("u", None)):
            body = order(code={"coding": [{"system": system, "code": "1"}]})
            assert book.kind(body) == Codebook(maps=own).kind(body) == kind
        assert book.benefit_kinds([{"coding": [{"system": "s", "code": "30"}]}]) == {"imaging", "referral"}
        assert book.benefit_kinds([{"coding": [{"system": "x", "code": "30"}]}]) == frozenset()
    assert ("benefit-class", "x|30") in book.unmapped


def test_a_sources_maps_are_laid_over_once_and_anew_for_other_maps() -> None:
    book = Codebook(maps={"order-kind": {"s|1": "imaging"}})
    mine, theirs = {"order-kind": {"s|1": "referral"}}, {"order-kind": {"s|2": "procedure"}}
    body = order(code={"coding": [{"system": "s", "code": "1"}]})
    assert book.at(mine) is book.at(mine)
    assert [book.at(mine).kind(body), book.at(theirs).kind(body), book.at(mine).kind(body)] == [
        "referral",
        "imaging",
        "referral",
    ]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(0, 2)), st.booleans()), max_size=6)
)
def test_the_newest_statements_are_those_of_the_long_way(said: list[tuple[int, int | None, bool]]) -> None:
    source = snap(order())
    found = [
        Statement(
            str(n),
            source,
            When(NOW + timedelta(days=day), day_only, f"2025-12-{10 + day}"),
            None if updated is None else NOW + timedelta(hours=updated),
        )
        for n, (day, updated, day_only) in enumerate(said)
    ]
    beaten = {i: {j for j, b in enumerate(found) if coverage._newer(b, a, UTC)} for i, a in enumerate(found)}
    reach = {i: coverage._closure(i, beaten) for i in beaten}
    long = tuple(found[i] for i in beaten if all(i in reach[j] for j in reach[i]))
    assert newest(found, UTC) == long


def naive(value: Any, key: str = "") -> Any:
    """Displays of references left out, everything copied."""
    if isinstance(value, dict):
        named = key in keep._PEOPLE or isinstance(value.get("reference"), str)
        return {n: naive(v, n) for n, v in value.items() if not (named and n == "display")}
    return [naive(part, key) for part in value] if isinstance(value, list) else value


@given(JSON, st.sampled_from(["actor", "code", ""]))
def test_displays_of_references_go_and_nothing_else(value: Any, key: str) -> None:
    before = canonical(value)
    assert keep._without_display(value, key) == naive(value, key)
    assert canonical(value) == before, "what was received is not changed"


def test_what_is_written_is_the_body() -> None:
    keeper = Keeper({}, bases=BASES)
    for more in ({}, {"meta": {"tag": [{"system": "s", "code": "c"}]}}, {"note": [{"text": "x"}]}):
        kept = keeper.keep(order(**more))
        counted = {name: value for name, value in kept.body.items() if name not in ("meta", "text")}
        assert kept.kept_digest == digest(counted)
        assert kept.packed in (b"", canonical(kept.body))
        assert bool(kept.packed) is ("meta" not in kept.body)


@given(st.integers(-400, 400), st.integers(0, 40))
def test_a_member_is_kept_the_same_way_every_time(day: int, number: int) -> None:
    keeper = Keeper({"ServiceRequest": frozenset({"note"})}, bases=BASES)
    body = order(note=[{"text": str(number)}], authoredOn=(NOW + timedelta(days=day)).isoformat(), x=number)
    assert (
        keeper.keep(body).body
        == keeper.keep(body).body
        == Keeper({"ServiceRequest": frozenset({"note"})}, bases=BASES).keep(body).body
    )
    assert "x" not in keeper.keep(body).body and datetime.fromisoformat(body["authoredOn"])
