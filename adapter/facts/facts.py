"""Facts: what rules may know beside their focus, each with the types whose absence it rests on.

A fact is computed when it is first asked for, and once. Nothing here decides whether a type is known
well enough: a :class:`Fact` names what it read (``types``), and what is open about it whatever is known
(``gaps``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

from adapter.facts import visits
from adapter.facts.codes import Codebook
from adapter.facts.coverage import Eligibility, Statement
from adapter.facts.elements import object_of, objects, status_of, text_of
from adapter.facts.keep import BASE_EDITION
from adapter.facts.links import Links
from adapter.facts.patient import HOSPITAL, PatientGuard, guard
from adapter.facts.times import When, at, local_day, parse_when
from adapter.model import Chart, Json, Snapshot, SnapshotState, Task
from adapter.once import once
from adapter.references import Bases, parse_reference, patients_of

UNSURE = "?"
"""A gap that no reading settles: answers that disagree, or a resource that nobody can read."""

FORGOTTEN = timedelta(days=180)
"""The age at which an order, still active, asks nobody for anything any more."""

_VISIT, _ORDER, _COVERAGE, _STAY = "Appointment", "ServiceRequest", "Coverage", "Encounter"
_ANSWER, _RESULT, _DOCUMENT = "CoverageEligibilityResponse", "DiagnosticReport", "DocumentReference"

FACT_TYPES: Mapping[str, frozenset[str]] = {
    "visits": frozenset({_VISIT, _ORDER}),
    "coming": frozenset({_VISIT, _ORDER}),
    "took_place": frozenset({_VISIT, _ORDER, _STAY}),
    "later": frozenset({_VISIT, _ORDER}),
    "orders": frozenset({_ORDER}),
    "results": frozenset({_RESULT, _ORDER, _STAY}),
    "documents": frozenset({_DOCUMENT, _ORDER, _STAY}),
    "contacts": frozenset({"Communication"}),
    "answer": frozenset({_ANSWER}),
    "attempt": frozenset({_ANSWER, _COVERAGE}),
    "benefits": frozenset({_ANSWER, _COVERAGE}),
    "practitioner": frozenset(),
    "patient": frozenset({"Patient"}),
    "coverage": frozenset({_COVERAGE}),
    "changed": frozenset(),
    "first_seen": frozenset(),
    "day": frozenset(),
}
"""The types that each fact may read; a :class:`Fact` itself may name fewer."""

FUNCTION_TYPES: Mapping[str, frozenset[str]] = {
    "kind": frozenset(),
    "cancelledBy": frozenset(),
    "completedMeans": frozenset(),
    "isOrderToAct": frozenset({_STAY}),
    "marked": frozenset(),
}
"""The types that each function may read."""

FACT_TYPE_OF_FOCUS: Mapping[str, frozenset[str]] = {
    "visits": frozenset({_ORDER, _COVERAGE, _STAY}),
    "coming": frozenset({_ORDER, _COVERAGE, _STAY, _VISIT}),
    "took_place": frozenset({_ORDER, _VISIT}),
    "later": frozenset({_VISIT, _STAY}),
    "orders": frozenset({_VISIT, _COVERAGE, _STAY}),
    "results": frozenset({_ORDER, _VISIT, _STAY}),
    "documents": frozenset({_ORDER, _VISIT, _STAY}),
    "contacts": frozenset({_STAY}),
    "answer": frozenset({_COVERAGE}),
    "attempt": frozenset({_COVERAGE}),
    "benefits": frozenset({_ORDER}),
    "practitioner": frozenset({_VISIT}),
    "day": frozenset({_VISIT, _STAY, _ORDER}),
}
"""The focus types for which a fact means something; one that is not listed here fits every focus."""

_BY_REF = attrgetter("ref")
_TOOK_PLACE_OF_VISIT = FACT_TYPES["took_place"] - {_ORDER}
_GONE = frozenset({"cancelled", "noshow"})
_OWN_EDITION = re.compile(r"[0-9a-f]{8}\.[0-9a-f]+")


class Fact(NamedTuple):
    """What is known of one name for one focus.

    ``records`` are sorted by start, then ref. ``types``: what its completeness rests on; compare each with
    ``chart.known``. ``gaps``: why it is open in any case: :data:`UNSURE`, or a type of which a resource is
    wanted or was kept under an older base edition. ``until``: when it may change by time alone.
    """

    records: tuple[Any, ...] = ()
    types: frozenset[str] = frozenset()
    gaps: frozenset[str] = frozenset()
    until: datetime | None = None


class Told(NamedTuple):
    """What a function says. None is unknown; ``types`` are then what could settle it, if anything."""

    value: Any = None
    types: frozenset[str] = frozenset()


class Facts:
    """All facts of one chart.

    Records of ``changed``, ``first_seen`` and ``day`` are one :class:`When`. Those of ``patient`` and
    ``coverage`` are the kept resource with ``ref`` and ``changed`` added, its times as FHIR texts. All
    others are dicts of ``ref``, ``status``, ``changed`` and the fields of the mapping language, times
    as :class:`When`; what is absent has no key.
    """

    def __init__(
        self,
        chart: Chart,
        bases: Bases,
        codebook: Codebook,
        *,
        business_day_before: Callable[[datetime], datetime] | None = None,
        opted_out: Callable[[Snapshot], bool] | None = None,
    ) -> None:
        """``business_day_before`` is the source's calendar; without it Monday to Friday are business days."""
        self.chart = chart
        self.bases = bases
        self.zone: tzinfo = chart.source.zone
        self.codebook = codebook.at(chart.source.codes)
        self._day_before = business_day_before or (lambda instant: _weekday_before(instant, self.zone))
        self._opted_out = opted_out
        own = frozenset(chart.patients)
        self._own: dict[str, Snapshot] = {}
        self._live: dict[str, Snapshot] = {}
        self._by_type: dict[str, list[Snapshot]] = {}  # the live resources, each list by ref
        for ref, snapshot in chart.snapshots.items():
            named = snapshot.patients
            if named != chart.patients and own.isdisjoint(named or patients_of(snapshot.body, bases)):
                continue
            self._own[ref] = snapshot
            if snapshot.state is SnapshotState.LIVE:
                self._live[ref] = snapshot
                self._by_type.setdefault(snapshot.type, []).append(snapshot)
        for listed in self._by_type.values():
            listed.sort(key=_BY_REF)
        self._related = self._standing_in() if len(self._own) < len(chart.snapshots) else {}
        self._memo: dict[tuple[str, str], Fact] = {}
        self._acted: dict[str, Told] = {}
        self._kinds: dict[str, Told] = {}
        self._records: dict[str, dict[str, Any]] = {}

    @once
    def guard(self) -> PatientGuard:
        """What holds for the person before any rule."""
        return guard(self.chart, self.bases, self.codebook, opted_out=self._opted_out)

    @once
    def links(self) -> Links:
        """What belongs to what."""
        by_type = self._by_type
        if self._related:  # visits alone
            both = sorted([*self._of_type(_VISIT), *self._related.values()], key=_BY_REF)
            by_type = {**by_type, _VISIT: both}
        return Links(by_type, self.bases)

    @once
    def eligibility(self) -> Eligibility:
        """The answers about the person's Coverages."""
        known = self.chart.known.get(_COVERAGE)
        return Eligibility(
            self._own.values(),
            self.links.resolver,
            self.bases,
            self.zone,
            self.codebook,
            coverage_is_read=not (known is not None and known.declared_none),
        )

    def focuses(self, type: str) -> list[Snapshot]:
        """The live resources of a type that the poll shows and that name this person now, by ref."""
        return [s for s in self._of_type(type) if s.in_scope]

    def fact(self, name: str, focus: Snapshot) -> Fact:
        """One fact, for one focus. A focus that the fact does not fit has an empty one.

        Raises:
            KeyError: where there is no fact of that name.
        """
        key = (name, focus.ref)
        held = self._memo.get(key)
        if held is None:
            fits = FACT_TYPE_OF_FOCUS.get(name)
            known = FACT_TYPES[name]
            held = self._compute(name, focus) if fits is None or focus.type in fits else Fact()
            assert held.types <= known
            self._memo[key] = held
        return held

    def never_said(self, says: str, order: Snapshot) -> bool:
        """Whether it is certain, before asking which answers fit an order, that ``%benefits`` holds no such record.

        Certain as far as the answers on the chart go: whether they are all is another question.
        """
        if self._torn or order.type != _ORDER or self._is_told_by_extension:
            return False
        return self.eligibility.never_says(says)

    def is_past(self, order: Snapshot, bound: datetime) -> bool:
        """Whether something took place for an order, and it is certain, before asking for it, that all of it ended
        before a moment.

        Certain as far as the visits on the chart go: whether they are all is another question.
        """
        if order.type != _ORDER or _STAY in self._by_type or self._torn:
            return False
        came = False
        for visit in self._held(self.links.of_order(order.ref, _VISIT)):
            body = visit.body
            if status_of(body) in visits.MET:
                end = parse_when(body.get("end"), self.zone) or parse_when(body.get("start"), self.zone)
                if end is None or end.day_only or end.instant >= bound:
                    return False
                came = True
        return came

    @once
    def _is_told_by_extension(self) -> bool:
        """Whether an order or visit has any extension: payers speak by one of them, too."""
        carriers = (*self._of_type(_ORDER), *self._of_type(_VISIT), *self._related.values())
        return any([carrier.body.get("extension") is not None for carrier in carriers])

    def kind(self, focus: Snapshot) -> Told:
        """The kind of an order; None where no map knows its codes."""
        held = self._kinds.get(focus.ref)
        if held is None:
            held = self._kinds[focus.ref] = Told(self.codebook.kind(focus.body))
        return held

    def cancelledBy(self, focus: Snapshot) -> Told:
        """ "provider" or "patient"; None where no map knows the reason."""
        return Told(self.codebook.cancelled_by(focus.body))

    def completedMeans(self) -> Told:
        """What this source means by a completed order: sent, scheduled, performed or unknown."""
        return Told(self.chart.source.completed_means or "unknown")

    def isOrderToAct(self, focus: Snapshot) -> Told:
        """Whether an order asks somebody outside the ward to arrange something.

        Not so: a plan or proposal, an order not to do something, a child of another order, a code status, an
        order for a group, or one of an inpatient or emergency stay. The stay has to be read to be known.
        """
        if focus.ref not in self._acted:
            self._acted[focus.ref] = self._to_act(focus)
        return self._acted[focus.ref]

    def marked(self, code: str, value: str, focus: Snapshot) -> Fact:
        """When a person set a business status on our newest task of a code and focus: none or one.

        A focus inherits the marks of what it replaces (F20). The time is that of the person's last touch.
        """
        foci = {focus.ref, *(self.links.replaced(focus.ref) if focus.type == _ORDER else ())}
        tasks = [t for t in self.chart.tasks if t.code == code and t.focus in foci]
        newest = max(tasks, key=_recency, default=None)
        if newest is None or newest.business_status != value or "business_status" not in newest.mine:
            return Fact()
        if newest.touched_at is None:
            return Fact(gaps=frozenset({UNSURE}))
        return Fact((at(newest.touched_at),))

    def _standing_in(self) -> dict[str, Snapshot]:
        """Visits of somebody else that name an order of this person: a newborn's for its mother's (F11)."""
        found = {}
        for ref, snapshot in self.chart.snapshots.items():
            named = snapshot.body.get("basedOn") if snapshot.type == _VISIT and ref not in self._own else None
            orders = (
                {parse_reference(one, self.bases).local for one in named} if isinstance(named, list) else ()
            )
            if snapshot.state is SnapshotState.LIVE and any(order in self._live for order in orders):
                found[ref] = snapshot
        return found

    def _compute(self, name: str, focus: Snapshot) -> Fact:
        computed = _COMPUTED[name](self, focus)
        if not self._torn:
            return computed
        torn = [gap for type, gaps in self._torn.items() if type in computed.types for gap in gaps]
        if not torn:
            return computed
        return Fact(computed.records, computed.types, computed.gaps.union(torn), computed.until)

    @once
    def _torn(self) -> dict[str, set[str]]:
        """Gaps by rows that say less than the resource, by its type: unreadable, or kept under older elements."""
        gaps: dict[str, set[str]] = {}
        for snapshot in self._own.values():
            if snapshot.state is SnapshotState.QUARANTINED:
                gaps.setdefault(snapshot.type, set()).add(UNSURE)
            elif _is_outdated(snapshot.edition):
                gaps.setdefault(snapshot.type, set()).add(snapshot.type)
        return gaps

    # Visits and what came of them

    def _linked_visits(self, focus: Snapshot) -> list[Snapshot]:
        if focus.type == _ORDER:
            return self._held(self.links.of_order(focus.ref, _VISIT))
        if focus.type == _STAY:
            return self._held(self.links.visits_of(focus.ref))
        if focus.type == _COVERAGE:
            return [v for v in self._of_type(_VISIT) if self._visit_stands_on(v, focus)]
        return [focus]

    def _record(self, visit: Snapshot) -> dict[str, Any]:
        """A visit's record, made once: several facts of several foci name it."""
        held = self._records.get(visit.ref)
        if held is None:
            held = self._records[visit.ref] = visits.record(visit, self.zone)
        return held

    def _visits(self, focus: Snapshot) -> Fact:
        records = [self._record(v) for v in self._linked_visits(focus)]
        return Fact(_sorted(records), FACT_TYPES["visits"])

    def _coming(self, focus: Snapshot) -> Fact:
        found = [self._record(v) for v in self._linked_visits(focus)]
        ahead = [r for r in found if r.get("status") not in _GONE and self._is_ahead(r.get("start"))]
        types = frozenset() if focus.type == _VISIT else FACT_TYPES["coming"]
        return Fact(_sorted(ahead), types, until=min((r["start"].instant for r in ahead), default=None))

    def _is_ahead(self, start: When | None) -> bool:
        return start is not None and start.instant > self.chart.now

    def _took_place(self, focus: Snapshot) -> Fact:
        seen = self._linked_visits(focus)
        if _STAY not in self._by_type:
            stays = []
        elif focus.type == _ORDER:
            stays = self._held(self.links.of_order(focus.ref, _STAY))
        else:
            stays = self._held(self.links.encounters_of(focus.ref))
        records = visits.took_place(seen, stays, self.links, self.zone)
        types = _TOOK_PLACE_OF_VISIT if focus.type == _VISIT else FACT_TYPES["took_place"]
        return Fact(_sorted(records), types)

    def _later(self, focus: Snapshot) -> Fact:
        others = [v for v in self._of_type(_VISIT) if v.ref != focus.ref]
        if focus.type == _STAY:
            found = visits.after_stay(focus, others, self.zone)
            return Fact(_sorted(self._record(v) for v in found), frozenset({_VISIT}))
        since = self._fell_through(focus)
        found = visits.made_since(
            focus, others, self._day_before(since) if since else None, self.links, self.bases, self.zone
        )
        return Fact(_sorted(self._record(v) for v in found), FACT_TYPES["later"])

    def _fell_through(self, visit: Snapshot) -> datetime | None:
        """Since when a visit is missed or cancelled. A no-show is missed at its start, however late that was
        recorded (or first polled)."""
        seen = visit.changed or visit.first_seen
        start = parse_when(visit.body.get("start"), self.zone)
        if status_of(visit.body) != "noshow" or start is None:
            return seen
        return min(start.instant, seen) if seen else start.instant

    def _practitioner(self, focus: Snapshot) -> Fact:
        found = visits.actors(focus.body, self.bases, ("Practitioner", "PractitionerRole"))
        return Fact(tuple(_plain(ref, status, focus.changed) for ref, status in sorted(found.items())))

    # Orders and what answers them

    def _orders(self, focus: Snapshot) -> Fact:
        if focus.type == _COVERAGE:
            return self._orders_on(focus)
        refs = [ref for ref in self.links.orders_of(focus.ref) if self._may_be_shown(ref)]
        return Fact(_sorted(self._order_record(ref) for ref in refs), FACT_TYPES["orders"])

    def _orders_on(self, coverage: Snapshot) -> Fact:
        active = [o for o in self._of_type(_ORDER) if status_of(o.body) == "active"]
        active = [o for o in active if self._still_wanted(o, coverage)]
        told = [(o, self.isOrderToAct(o)) for o in active if self._order_stands_on(o, coverage)]
        records = [self._order_record(o.ref) for o, act in told if act.value is True]
        unknown = [act for _, act in told if act.value is None]
        gaps = {type for act in unknown for type in act.types or {UNSURE}}
        return Fact(_sorted(records), FACT_TYPES["orders"], frozenset(gaps))

    def _still_wanted(self, order: Snapshot, coverage: Snapshot) -> bool:
        """Whether a person would call about an order: not for a line of laboratory, nor for what was forgotten
        long before the payer's newest answer. Measured from that, not from now: an open task does not end
        because days pass.
        """
        if self.codebook.kind(order.body) == "laboratory":
            return False
        authored = parse_when(order.body.get("authoredOn"), self.zone)
        said = [s.created.instant for s in self.eligibility.answer(coverage.ref).statements if s.created]
        return authored is None or not said or authored.instant >= max(said) - FORGOTTEN

    def _may_be_shown(self, order: str) -> bool:
        """Not a tombstone. One not on the chart is shown: a need must not change when it arrives."""
        held = self.chart.snapshots.get(order)
        return held is None or held.state in (SnapshotState.LIVE, SnapshotState.QUARANTINED)

    def _order_record(self, ref: str) -> dict[str, Any]:
        order = self._live.get(ref)
        if order is None:
            return {"ref": ref}
        authored = parse_when(order.body.get("authoredOn"), self.zone)
        return _plain(ref, status_of(order.body), order.changed, authored=authored)

    def _results(self, focus: Snapshot) -> Fact:
        return self._linked_evidence("results", _RESULT, focus, "issued")

    def _documents(self, focus: Snapshot) -> Fact:
        return self._linked_evidence("documents", _DOCUMENT, focus, "date")

    def _linked_evidence(self, name: str, type: str, focus: Snapshot, dated: str) -> Fact:
        if type not in self._by_type:
            return Fact(types=FACT_TYPES[name])
        if focus.type == _ORDER:
            refs = self.links.of_order(focus.ref, type)
        else:
            stays = [focus.ref] if focus.type == _STAY else self.links.encounters_of(focus.ref)
            refs = sorted({ref for stay in stays for ref in self.links.of_encounter(stay, type)})
        found = self._held(refs)
        records = [
            _plain(s.ref, status_of(s.body), s.changed, **{dated: parse_when(s.body.get(dated), self.zone)})
            for s in found
        ]
        return Fact(_sorted(records), FACT_TYPES[name])

    def _contacts(self, focus: Snapshot) -> Fact:
        """Communications that name a stay, and those that name none and came after its end."""
        ended = visits.ended(focus, self.zone)
        records = []
        for message in self._of_type("Communication"):
            sent = visits.sent(message, self.zone)
            named = self.links.resolver.refs(message.body.get("encounter"), _STAY)
            after = sent is not None and ended is not None and sent.instant >= ended.instant
            if after and (not message.body.get("encounter") or focus.ref in named):
                records.append(
                    _plain(message.ref, status_of(message.body), message.changed, start=sent, sent=sent)
                )
        return Fact(_sorted(records), FACT_TYPES["contacts"])

    def _to_act(self, order: Snapshot) -> Told:
        body = order.body
        intent = text_of(body.get("intent"))
        subject = parse_reference(body.get("subject"), self.bases)
        refused = (
            (intent and intent not in ("order", "original-order"))
            or body.get("doNotPerform") is True
            or bool(self.links.parents(order.ref))
            or self.codebook.ignored(body)
            or subject.type not in ("Patient", "")
        )
        if refused:
            return Told(False)
        ward = self._on_ward(order)
        if ward.value is True:
            return Told(False)
        return Told(True) if ward.value is False and intent else Told(None, ward.types)

    def _on_ward(self, order: Snapshot) -> Told:
        """Whether an order was written in an inpatient or emergency stay; one that names no stay was not."""
        element = order.body.get("encounter")
        if not object_of(element):
            return Told(False)
        stay = self._live.get(self.links.resolver.ref(element, _STAY))
        if stay is None:
            return Told(None, frozenset({_STAY}))
        setting = self.codebook.setting(stay.body)
        if setting is None and self.codebook.category_kind(order.body) == "referral":
            return Told(False)  # its category says enough
        return Told() if setting is None else Told(setting in HOSPITAL)

    # Coverage

    def _answer(self, focus: Snapshot) -> Fact:
        verdict = self.eligibility.answer(focus.ref)
        records = [_stated(s, inforce=s.value) for s in verdict.statements]
        return Fact(tuple(records), FACT_TYPES["answer"], _unsure(verdict.unsure))

    def _attempt(self, focus: Snapshot) -> Fact:
        verdict = self.eligibility.attempt(focus.ref)
        records = [_stated(s, outcome=s.value or None) for s in verdict.statements]
        types = FACT_TYPES["attempt"] - (frozenset() if self._has_nameless() else frozenset({_COVERAGE}))
        return Fact(tuple(records), types, _unsure(verdict.unsure))

    def _has_nameless(self) -> bool:
        """Whether some answer names no Coverage: then which one it means depends on all of them."""
        return any(not objects(answer.body.get("insurance")) for answer in self._of_type(_ANSWER))

    def _benefits(self, focus: Snapshot) -> Fact:
        standing = [v for v in self._linked_visits(focus) if status_of(v.body) not in _GONE]
        found = self.eligibility.benefits(focus, standing)
        records = [_stated(s, says=s.value, coverage=s.coverage or None) for s in found.statements]
        gaps = _unsure(found.unsure) | (frozenset({_COVERAGE}) if found.missing else frozenset())
        records.sort(key=lambda r: (r["ref"], r.get("coverage", ""), r["says"]))
        return Fact(tuple(records), frozenset({_ANSWER}), gaps)

    def _coverage(self, focus: Snapshot) -> Fact:
        if focus.type == _COVERAGE:
            return Fact((_whole(focus),))
        named = [i.get("coverage") for i in objects(focus.body.get("insurance"))]
        elements = named if focus.type == _ANSWER else focus.body.get("insurance")
        refs = self.links.resolver.refs(elements, _COVERAGE)
        return Fact(_sorted(_whole(s) for s in self._held(refs)), FACT_TYPES["coverage"])

    def _order_stands_on(self, order: Snapshot, coverage: Snapshot) -> bool:
        """By name; an order that names no Coverage stands on each of the person's."""
        named = self.links.resolver.refs(order.body.get("insurance"), _COVERAGE)
        return coverage.ref in named if named else True

    def _visit_stands_on(self, visit: Snapshot, coverage: Snapshot) -> bool:
        """By name, or by its orders' names; else on each Coverage whose period covers its start."""
        named = self.links.resolver.refs(visit.body.get("supportingInformation"), _COVERAGE)
        for order in () if named else self._held(self.links.orders_of(visit.ref)):
            named += self.links.resolver.refs(order.body.get("insurance"), _COVERAGE)
        if named:
            return coverage.ref in named
        start = parse_when(visit.body.get("start"), self.zone)
        return start is None or self.eligibility.covers(coverage.body, start)

    # The focus itself

    def _patient(self, focus: Snapshot) -> Fact:
        named = focus.patients or patients_of(focus.body, self.bases)
        found = self._held([ref for ref in sorted(named) if ref in self.chart.patients])
        return Fact(tuple(_whole(p) for p in found), frozenset() if found else FACT_TYPES["patient"])

    def _changed(self, focus: Snapshot) -> Fact:
        return Fact((at(focus.changed),) if focus.changed else ())

    def _first_seen(self, focus: Snapshot) -> Fact:
        return Fact((at(focus.first_seen),) if focus.first_seen else ())

    def _day(self, focus: Snapshot) -> Fact:
        start = visits.start_of(focus.body, self.zone)
        return Fact((local_day(start, self.zone),) if start else ())

    def _held(self, refs: Sequence[str]) -> list[Snapshot]:
        if not refs:
            return []
        live, related = self._live, self._related
        return [held for ref in refs if (held := live.get(ref) or related.get(ref)) is not None]

    def _of_type(self, type: str) -> list[Snapshot]:
        return self._by_type.get(type, [])


_COMPUTED: Mapping[str, Callable[[Facts, Snapshot], Fact]] = {
    name: getattr(Facts, f"_{name}") for name in FACT_TYPES
}


@lru_cache(maxsize=256)  # there are as many as element sets were ever kept
def _is_outdated(edition: str) -> bool:
    """Whether an edition is one of Baton's own, and an older one."""
    return bool(_OWN_EDITION.fullmatch(edition)) and not edition.startswith(BASE_EDITION)


def _plain(ref: str, status: str, changed: datetime | None, **more: Any) -> dict[str, Any]:
    """A record; what is absent has no key."""
    found: dict[str, Any] = {"ref": ref}
    if status:
        found["status"] = status
    if changed:
        found["changed"] = at(changed)
    for key, value in more.items():
        if value is not None:
            found[key] = value
    return found


def _stated(statement: Statement[Any], **more: Any) -> dict[str, Any]:
    source = statement.source
    return _plain(source.ref, status_of(source.body), source.changed, created=statement.created, **more)


def _whole(snapshot: Snapshot) -> dict[str, Any]:
    changed = {"changed": at(snapshot.changed)} if snapshot.changed else {}
    return {**snapshot.body, "ref": snapshot.ref, **changed}


def _sorted(records: Iterable[Json]) -> tuple[Any, ...]:
    listed = list(records)
    if len(listed) > 1:
        listed.sort(key=visits.record_order)
    return tuple(listed)


def _unsure(unsure: bool) -> frozenset[str]:
    return frozenset({UNSURE}) if unsure else frozenset()


def _recency(task: Task) -> tuple[str, int]:
    return (task.opened_at.isoformat() if task.opened_at else "", task.generation)


def _weekday_before(instant: datetime, zone: tzinfo) -> datetime:
    """The same wall-clock time on the weekday before."""
    local = instant.astimezone(zone) - timedelta(days=1)
    while local.weekday() >= 5:
        local -= timedelta(days=1)
    return local.astimezone(instant.tzinfo)
