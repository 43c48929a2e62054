"""Visits: their records, what took place, which visit takes another's place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

from adapter.facts.elements import coding_keys, object_of, objects, status_of, text_of
from adapter.facts.links import Links
from adapter.facts.times import Span, When, at, last_instant, parse_period, parse_timing, parse_when
from adapter.model import Json, Snapshot
from adapter.references import Bases, parse_reference

_HELD = frozenset({"in-progress", "onleave", "finished"})
MET = frozenset({"arrived", "checked-in", "fulfilled"})
"""Statuses of a visit whose patient came."""

_TIMES = ("start", "end", "created")
_LAST = datetime.max.replace(tzinfo=UTC)


def record(visit: Snapshot, zone: tzinfo) -> dict[str, Any]:
    """What rules see of an Appointment: ref, status, changed, start, end, created."""
    body = visit.body
    times = {name: parse_when(body.get(name), zone) for name in _TIMES}
    return _record(visit, times)


def record_order(record: Mapping[str, Any]) -> tuple[datetime, str]:
    """By start, then ref; without a start at the end."""
    start = record.get("start")
    return (start.instant if isinstance(start, When) else _LAST, str(record["ref"]))


def took_place(
    visits: Iterable[Snapshot], stays: Sequence[Snapshot], links: Links, zone: tzinfo
) -> list[dict[str, Any]]:
    """What happened: Encounters that began, and visits whose patient came and that no such Encounter shows.

    What is over has an end: its own, else that of its visit, else its start, else when its status was
    first seen (an anchor never ends in nothing, F10). What goes on may have none.
    """
    seen = {visit.ref: visit for visit in visits}
    held = [stay for stay in stays if status_of(stay.body) in _HELD] if stays else ()
    if not held:
        return [_met_record(visit, zone) for visit in seen.values() if status_of(visit.body) in MET]
    shown = {ref for stay in held for ref in links.visits_of(stay.ref)}
    met = [v for ref, v in seen.items() if ref not in shown and status_of(v.body) in MET]
    return [_stay_record(s, [seen[r] for r in links.visits_of(s.ref) if r in seen], zone) for s in held] + [
        _met_record(visit, zone) for visit in met
    ]


def _stay_record(stay: Snapshot, visits: Sequence[Snapshot], zone: tzinfo) -> dict[str, Any]:
    period = parse_period(stay.body.get("period"), zone)
    if status_of(stay.body) != "finished" or period.end is not None:
        return _record(stay, {"start": period.start, "end": period.end})
    ends = [end for visit in visits if (end := parse_when(visit.body.get("end"), zone))]
    end = max(ends, key=lambda when: when.instant, default=None)
    return _record(stay, {"start": period.start, "end": end or period.start or _changed(stay)})


def _met_record(visit: Snapshot, zone: tzinfo) -> dict[str, Any]:
    start, end = parse_when(visit.body.get("start"), zone), parse_when(visit.body.get("end"), zone)
    return _record(visit, {"start": start, "end": end or start or _changed(visit)})


def ended(stay: Snapshot, zone: tzinfo) -> When | None:
    """When an Encounter ended, None where it says nothing."""
    return parse_period(stay.body.get("period"), zone).end


def after_stay(stay: Snapshot, visits: Iterable[Snapshot], zone: tzinfo) -> list[Snapshot]:
    """The visits that start after an Encounter's end."""
    end = ended(stay, zone)
    if end is None:
        return []
    starts = [(visit, parse_when(visit.body.get("start"), zone)) for visit in visits]
    return [visit for visit, start in starts if start is not None and start.instant > end.instant]


def made_since(
    focus: Snapshot,
    visits: Iterable[Snapshot],
    since: datetime | None,
    links: Links,
    bases: Bases,
    zone: tzinfo,
) -> list[Snapshot]:
    """The visits that take the place of a missed or cancelled one, whatever became of them.

    They were made after ``since`` (a business day before the focus changed: rescheduling books before it
    cancels) and after the focus itself, for the same order, service, practitioner or location. Of two
    visits one is the later: each cannot stand for the other, else both would be forgotten. After a
    no-show only a visit that starts later will do.
    """
    wanted = _purposes(focus, links, bases)
    own = _made_order(focus, zone)
    missed = parse_when(focus.body.get("start"), zone) if status_of(focus.body) == "noshow" else None
    found = []
    for visit in visits:
        made, start = _made(visit, zone), parse_when(visit.body.get("start"), zone)
        if since is not None and made is not None and made < since:
            continue
        if missed is not None and start is not None and start.instant <= missed.instant:
            continue
        if _made_order(visit, zone) > own and wanted & _purposes(visit, links, bases):
            found.append(visit)
    return found


def _made(visit: Snapshot, zone: tzinfo) -> datetime | None:
    created = parse_when(visit.body.get("created"), zone)
    return last_instant(created, zone) if created else visit.first_seen


def _made_order(visit: Snapshot, zone: tzinfo) -> tuple[datetime, datetime, str]:
    start = parse_when(visit.body.get("start"), zone)
    return (_made(visit, zone) or _LAST, start.instant if start else _LAST, visit.ref)


def _purposes(visit: Snapshot, links: Links, bases: Bases) -> frozenset[str]:
    """What a visit is for: its orders, services, practitioners and locations as comparable keys."""
    services = coding_keys(visit.body.get("serviceType"))
    if not services:
        words = (text_of(s.get("text")).strip().casefold() for s in objects(visit.body.get("serviceType")))
        services = frozenset(f"text:{word}" for word in words if word)
    people = actors(visit.body, bases, ("Practitioner", "PractitionerRole", "Location"))
    return services | frozenset(people) | frozenset(links.orders_of(visit.ref))


def actors(visit: Json, bases: Bases, types: Sequence[str]) -> dict[str, str]:
    """The participants of some types by "Type/id" (or their logical identifier), with their status."""
    found: dict[str, str] = {}
    for participant in objects(visit.get("participant")):
        said = parse_reference(participant.get("actor"), bases)
        if said.type in types and said.key():
            found[said.key()] = text_of(participant.get("status"))
    return found


def sent(message: Snapshot, zone: tzinfo) -> When | None:
    """When a Communication went out, else came in, else was first seen."""
    told = (parse_when(message.body.get(name), zone) for name in ("sent", "received"))
    first = next((when for when in told if when is not None), None)
    return first or (at(message.first_seen) if message.first_seen else None)


def start_of(focus: Json, zone: tzinfo) -> When | None:
    """When a visit, an encounter or an order is to begin."""
    spans = (
        Span(parse_when(focus.get("start"), zone)),
        Span(parse_when(focus.get("occurrenceDateTime"), zone)),
        parse_period(object_of(focus.get("period")), zone),
        parse_period(focus.get("occurrencePeriod"), zone),
        parse_timing(focus.get("occurrenceTiming"), zone),
    )
    return next((span.start for span in spans if span.start is not None), None)


def _record(snapshot: Snapshot, times: Mapping[str, When | None]) -> dict[str, Any]:
    found: dict[str, Any] = {"ref": snapshot.ref}
    if status := status_of(snapshot.body):
        found["status"] = status
    if snapshot.changed:
        found["changed"] = at(snapshot.changed)
    for name, when in times.items():
        if when is not None:
            found[name] = when
    return found


def _changed(snapshot: Snapshot) -> When | None:
    return at(snapshot.changed) if snapshot.changed else None
