"""Whose a resource is that names its patient by an identifier: the same whatever came first (F47)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from adapter.clock import FixedClock
from adapter.fhirjson import dumps
from adapter.ledger import Arrival, Ledger, Named, SourceRow
from adapter.model import SnapshotState
from tests.ledger.making import START, arrival, at, charts, persons, result, tombstone

WHY = "patient-by-identifier"


def patient(who: str, *identifiers: str, seq: int, **elements: object) -> Arrival:
    made = arrival(f"Patient/{who}", f"Patient/{who}", seq=seq, version=str(seq), **elements)
    return replace(made, identifiers=frozenset(identifiers))


def order(number: str, *named: frozenset[str], seq: int) -> Arrival:
    made = arrival(f"ServiceRequest/{number}", seq=seq, version=str(seq), status="active")
    return replace(made, named=Named(named, WHY, "ServiceRequest.subject", b"{}"))


def store(ledger: Ledger, *arrivals: Arrival) -> None:
    ledger.store("ehr", arrivals, cause="resource")


def whose(ledger: Ledger, number: str) -> tuple[str, ...] | None:
    """The patients of an order; None where it is set aside."""
    held = ledger.snapshot("ehr", f"ServiceRequest/{number}")
    assert held is not None
    return held.patients if held.state is SnapshotState.LIVE else None


def woken(ledger: Ledger) -> set[str]:
    return persons(ledger.requests("ehr"))


def looked(ledger: Ledger) -> None:
    """Everybody who waited for a look had it."""
    ledger.commit_looks([result(chart) for chart in charts(ledger)])


def one(*identifiers: str) -> frozenset[str]:
    return frozenset(identifiers)


def test_a_patient_wakes_for_what_has_waited(ledger: Ledger) -> None:
    store(ledger, order("1", one("s|1"), seq=1))
    assert whose(ledger, "1") is None and woken(ledger) == set()
    (entry,) = ledger.quarantine("ehr")
    assert (entry.reason, entry.place, entry.raw) == (WHY, "ServiceRequest.subject", b"{}")
    store(ledger, patient("a", "s|1", seq=3))
    assert whose(ledger, "1") == ("Patient/a",)
    assert woken(ledger) == {"Patient/a"} and ledger.quarantine("ehr") == []
    assert ledger.check() == []


def test_a_version_that_came_after_the_first_is_the_one_that_is_linked(ledger: Ledger) -> None:
    """It was set aside with its content: no other poll brings it."""
    store(ledger, order("1", one("s|1"), seq=1))
    later = order("1", one("s|1"), seq=3)
    revoked = dumps({**later.body, "status": "revoked"})
    store(ledger, replace(later, status="revoked", packed=revoked, kept_digest="k3", digest="d3"))
    store(ledger, patient("a", "s|1", seq=5))
    held = ledger.snapshot("ehr", "ServiceRequest/1")
    assert held is not None and (held.body["status"], held.version) == ("revoked", "3")


def test_what_names_its_patient_otherwise_by_now_waits_no_more(ledger: Ledger) -> None:
    store(ledger, order("1", one("s|1"), seq=1))
    store(ledger, arrival("ServiceRequest/1", "Patient/b", seq=3, version="3", status="active"))
    store(ledger, patient("a", "s|1", seq=5))
    assert whose(ledger, "1") == ("Patient/b",)
    assert ledger.identifiers_to_ask("ehr", at(0), 9) == []


def test_what_cannot_be_read_any_more_is_not_linked(ledger: Ledger) -> None:
    """Its newest version is set aside for another reason: the older one's identifier says nothing."""
    store(ledger, order("1", one("s|1"), seq=1))
    unread = replace(order("1", seq=3), state=SnapshotState.QUARANTINED, named=None, digest="d3")
    store(ledger, unread)
    store(ledger, patient("a", "s|1", seq=5))
    assert whose(ledger, "1") is None


def test_the_same_poll_again_changes_nothing(ledger: Ledger) -> None:
    store(ledger, patient("a", "s|1", seq=1), order("1", one("s|1"), seq=1), order("2", one("s|2"), seq=1))
    before = [ledger.quarantine("ehr"), whose(ledger, "1"), whose(ledger, "2")]
    again = [order("1", one("s|1"), seq=1), order("2", one("s|2"), seq=1)]
    moved = [replace(a, sent_seq=9, received_seq=10, walk_seq=9) for a in again]
    stored = ledger.store("ehr", moved, cause="resource")
    assert (stored.changed, stored.woken, stored.set_aside) == (0, 0, 0)
    assert stored.waiting == ("ServiceRequest/2",), "still not to be used"
    assert [ledger.quarantine("ehr"), whose(ledger, "1"), whose(ledger, "2")] == before


def test_a_person_who_loses_it_is_looked_at_too(ledger: Ledger) -> None:
    store(ledger, patient("a", "s|1", seq=1), order("1", one("s|1"), seq=1))
    looked(ledger)
    store(ledger, patient("b", "s|1", seq=3))
    assert whose(ledger, "1") is None, "it may be either's"
    assert woken(ledger) == {"Patient/a", "Patient/b"}
    looked(ledger)
    store(ledger, patient("a", seq=5))
    assert whose(ledger, "1") == ("Patient/b",)
    assert woken(ledger) == {"Patient/a", "Patient/b"}


def test_identifiers_themselves_are_not_copied(ledger: Ledger) -> None:
    store(ledger, patient("a", "urn:ssn|123-45-6789", seq=1))
    assert b"123-45-6789" not in ledger.path.read_bytes()
    wal = ledger.path.with_name(ledger.path.name + "-wal")
    assert not wal.exists() or b"123-45-6789" not in wal.read_bytes()


# ---- any order

MARKS = ("s|1", "s|2", "s|3")
_some = st.frozensets(st.sampled_from(MARKS), max_size=2)
_patients = st.tuples(
    st.just("patient"), st.sampled_from("abc"), _some, st.sampled_from(["", "", "", "c", "gone"])
)
_orders = st.tuples(
    st.just("order"),
    st.sampled_from("123"),
    st.lists(st.frozensets(st.sampled_from(MARKS), min_size=1, max_size=2), min_size=1, max_size=2),
    st.sampled_from(["", "", "", "literal", "unread", "gone"]),
)


@contextmanager
def fresh() -> Iterator[Ledger]:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.open(Path(folder) / "ledger.db", clock=FixedClock(START))
        ledger.save_source(SourceRow(name="ehr", key="k1", base_url="https://ehr.example/fhir"))
        try:
            yield ledger
        finally:
            ledger.close()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(_patients, _orders), max_size=14), st.booleans())
def test_whatever_comes_in_whatever_order(steps: list[tuple[str, str, object, str]], at_once: bool) -> None:
    """One page or many: an order is whose it would be if everything were only compared at the end."""
    bears: dict[str, frozenset[str]] = {}
    link: dict[str, str] = {}
    orders: dict[str, tuple[list[frozenset[str]], str]] = {}
    page: list[Arrival] = []
    for number, (kind, name, said, how) in enumerate(steps):
        seq = 2 * number + 1
        if kind == "patient":
            assert isinstance(said, frozenset)
            if how == "gone":
                page.append(tombstone(f"Patient/{name}", seq=seq))
                bears[name] = frozenset()
                continue
            other = {"other": {"reference": f"Patient/{how}"}, "type": "seealso"}
            more = {"link": [other]} if how and how != name else {}
            page.append(patient(name, *said, seq=seq, **more))
            bears[name], link[name] = said, how if more else ""
        else:
            assert isinstance(said, list)
            made = order(name, *said, seq=seq)
            if how == "literal":
                made = replace(made, named=None, patients=("Patient/a",))
            elif how == "unread":
                made = replace(made, named=None, state=SnapshotState.QUARANTINED, digest=f"d{seq}")
            elif how == "gone":
                made = tombstone(made.ref, seq=seq)
            page.append(made)
            orders[name] = (said, how)
    with fresh() as ledger:
        if at_once:  # each resource once: the newest
            page = list({made.ref: made for made in page}.values())
            store(ledger, *page)
        else:
            for made in page:
                store(ledger, made)
        assert ledger.check() == []
        aside = {row.res_id for row in ledger.quarantine("ehr")}
        for name, (named, how) in orders.items():
            expected = (
                _expected(named, bears, link) if not how else ("Patient/a",) if how == "literal" else None
            )
            assert whose(ledger, name) == (expected or None), (name, steps)
            if not how:
                assert (name in aside) == (not expected)


def _expected(
    named: list[frozenset[str]], bears: dict[str, frozenset[str]], link: dict[str, str]
) -> tuple[str, ...]:
    """The long way: everybody compared with everybody."""
    found: dict[str, None] = {}
    for group in named:
        who = sorted(p for p, borne in bears.items() if borne & group)
        joined = {frozenset(_person(p, link)) for p in who}
        if len(joined) == 1:
            found[f"Patient/{who[0]}"] = None
    return tuple(found)


def _person(who: str, link: dict[str, str]) -> set[str]:
    found = {who}
    while True:
        more = {b for a, b in link.items() if b and a in found} | {a for a, b in link.items() if b in found}
        if more <= found:
            return found
        found |= more
