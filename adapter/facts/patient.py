"""The guards that no mapping can switch off: is there somebody to be called, who is it, and is it the moment?

A person is one Patient or several joined by ``link``. The guard never opens or withdraws anything
itself; it says what must not be done (``blocks``), what has to be taken back (``withdraw``) and what
has to wait (``hold``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from adapter.facts.codes import Codebook
from adapter.facts.elements import coding_keys, identifiers, object_of, objects, status_of, text_of
from adapter.facts.times import Span, parse_period
from adapter.model import Chart, Json, Snapshot, SnapshotState
from adapter.references import Bases, parse_reference

FRESH = timedelta(days=1)  # how old a read of stays and Flags may be
LONGEST_STAY = timedelta(days=30)  # a forgotten admission holds no longer than this
DISCHARGE_SEEN = timedelta(days=10)  # a discharge is told as long as a business day after it may lie ahead
HOSPITAL = frozenset({"inpatient", "emergency"})
_IN_PROGRESS = frozenset({"in-progress", "onleave"})
_STAYS = frozenset({"Encounter"})
_NOTHING: frozenset[str] = frozenset()
_TEST_LABEL = "HTEST"  # http://terminology.hl7.org/CodeSystem/v3-ActReason
_REPLACED_BY, _REPLACES = "replaced-by", "replaces"


class PatientGuard(Struct, frozen=True):
    """What holds for a person before any rule.

    Attributes:
        state: alive, deceased, deleted, merge-cycle, test, opted-out, inactive or unknown.
        blocks: why nothing may be opened ("" where it may): the state, if it is not alive.
        withdraw: "deceased" where open work is to be taken back, else "".
        survivor: "Patient/id" that took over from a merged one; "" where nothing was merged.
        hold: "in-hospital" while a stay is in progress, else "".
        hold_until: when that hold ends at the latest (30 days after admission).
        discharged: the end of the latest hospital stay, if it lies within ten days. The hold lasts until a
            business day after it; only the caller knows the calendar.
        missing: types that have to be read before anything may open ("Patient").
        wants: types whose reading would make the hold certain ("Encounter"); they block nothing.
        next_look: when, by time alone, this may be another.
    """

    state: str = "alive"
    blocks: str = ""
    withdraw: str = ""
    survivor: str = ""
    hold: str = ""
    hold_until: datetime | None = None
    discharged: datetime | None = None
    missing: frozenset[str] = frozenset()
    wants: frozenset[str] = frozenset()
    next_look: datetime | None = None


class _Stay(Struct, frozen=True):
    hold_until: datetime | None = None
    discharged: datetime | None = None
    wants: frozenset[str] = frozenset()
    next_look: datetime | None = None


def guard(
    chart: Chart,
    bases: Bases,
    codebook: Codebook | None = None,
    *,
    cause: datetime | None = None,
    opted_out: Callable[[Snapshot], bool] | None = None,
) -> PatientGuard:
    """Judge a person by its Patients and Encounters.

    ``cause`` is when the newest resource behind a wish to open was received: a Patient read after it is fresh
    enough, however long ago. ``opted_out`` is the site's own test (a list, a Flag) of one snapshot of
    the chart.
    """
    patients = {p: chart.snapshots.get(p) for p in chart.patients}
    replaced = _replaced(patients.values(), bases)
    survivors = [p for p in _everyone(patients, replaced) if p not in replaced] if replaced else [*patients]
    state, missing = _state(chart, patients, survivors, replaced, opted_out)
    if state == "alive" and not _fresh(chart, survivors, cause):
        state, missing = "unknown", frozenset({"Patient"})
    stay = _stay(chart, codebook or Codebook())
    return PatientGuard(
        state=state,
        blocks="" if state == "alive" else state,
        withdraw="deceased" if state == "deceased" else "",
        survivor=survivors[0] if replaced and len(survivors) == 1 else "",
        hold="in-hospital" if stay.hold_until else "",
        hold_until=stay.hold_until,
        discharged=stay.discharged,
        missing=missing,
        wants=stay.wants,
        next_look=stay.next_look,
    )


def _everyone(patients: Mapping[str, Snapshot | None], replaced: Mapping[str, str]) -> list[str]:
    """The person's Patients and whoever replaces one of them, on the chart or not."""
    return list(dict.fromkeys([*patients, *(survivor for survivor in replaced.values() if survivor)]))


def _replaced(patients: Iterable[Snapshot | None], bases: Bases) -> dict[str, str]:
    """Merged Patients and what replaces them; either side of a merge may be the one that says so."""
    found: dict[str, str] = {}
    for patient in patients:
        if patient is None or not _live(patient):
            continue
        for link in objects(patient.body.get("link")):
            other = parse_reference(link.get("other"), bases).local
            if not other.startswith("Patient/") or other == patient.ref:
                continue
            if link.get("type") == _REPLACED_BY:
                found[patient.ref] = other
            elif link.get("type") == _REPLACES:
                found.setdefault(other, patient.ref)
    return found


def _state(
    chart: Chart,
    patients: Mapping[str, Snapshot | None],
    survivors: list[str],
    replaced: Mapping[str, str],
    opted_out: Callable[[Snapshot], bool] | None,
) -> tuple[str, frozenset[str]]:
    held = [p for ref in survivors if (p := patients.get(ref)) is not None]
    bodies = [p.body for p in held if p.state is SnapshotState.LIVE]
    everyone = [p.body for p in patients.values() if p is not None and _live(p)] if replaced else bodies
    if _deceased(everyone, bodies):
        return "deceased", _NOTHING
    if not survivors:
        return "merge-cycle", _NOTHING
    if len(held) < len(survivors) or any([p.state is SnapshotState.QUARANTINED for p in held]):
        return "unknown", frozenset({"Patient"})
    if not bodies:
        return "deleted", _NOTHING
    if chart.source.environment == "production" and any([is_test(body) for body in bodies]):
        return "test", _NOTHING
    if opted_out is not None and any(_live(s) and opted_out(s) for s in chart.snapshots.values()):
        return "opted-out", _NOTHING
    if is_opted_out(chart, bodies):
        return "opted-out", _NOTHING
    if chart.source.opt_out_flags and not _flags_read(chart):
        return "unknown", frozenset({"Flag"})
    return ("inactive" if all([b.get("active") is False for b in bodies]) else "alive"), _NOTHING


def _deceased(everyone: list[Json], survivors: list[Json]) -> bool:
    """Whether any live Patient of the person is dead; a survivor's "no" outweighs a chart merged into it."""
    if any([is_deceased(patient) for patient in survivors]):
        return True
    if len(survivors) == len(everyone) or any([p.get("deceasedBoolean") is False for p in survivors]):
        return False
    return any([is_deceased(patient) for patient in everyone])


def is_opted_out(chart: Chart, bodies: Iterable[Json]) -> bool:
    """Whether the site's list names one of the person's Patients, or an active Flag of hers says so."""
    listed = chart.source.opt_out_patients
    if listed and (
        listed & set(chart.patients) or any(listed & identifiers(body.get("identifier")) for body in bodies)
    ):
        return True
    said = chart.source.opt_out_flags
    if not said:
        return False
    flags = (s.body for s in chart.snapshots.values() if s.type == "Flag" and _live(s))
    return any(status_of(flag) in ("", "active") and said & coding_keys(flag.get("code")) for flag in flags)


def _flags_read(chart: Chart) -> bool:
    """Within a day; an EHR that has none, or refuses them, says so in ``types`` or in ``check``."""
    known = chart.known.get("Flag")
    if known is None:
        return False
    return known.declared_none or (known.at is not None and known.at >= chart.now - FRESH)


def is_deceased(patient: Json) -> bool:
    """``deceasedBoolean`` true, or any ``deceasedDateTime``: even an unreadable one says that he died."""
    return patient.get("deceasedBoolean") is True or bool(patient.get("deceasedDateTime"))


def is_test(patient: Json) -> bool:
    """Whether a label or tag marks test data."""
    if "meta" not in patient:  # of it labels alone are kept
        return False
    meta = object_of(patient.get("meta"))
    keys = coding_keys(meta.get("security")) | coding_keys(meta.get("tag"))
    return any(key.rpartition("|")[2] == _TEST_LABEL for key in keys)


def _live(snapshot: Snapshot | None) -> bool:
    return snapshot is not None and snapshot.state is SnapshotState.LIVE


def _fresh(chart: Chart, survivors: list[str], cause: datetime | None) -> bool:
    """Every Patient was read since the cause, or lately: nobody is called about one who died this morning (F38)."""
    known = chart.known.get("Patient")
    reads = [chart.snapshots[ref].received_at for ref in survivors]
    own = min((read for read in reads if read), default=None) if all(reads) else None
    times = [time for time in (own, known.at if known else None) if time is not None]
    if not times:
        return False
    latest = max(times)
    lately = chart.now - timedelta(seconds=chart.source.evidence_max_age_s)
    return latest >= lately or (cause is not None and latest >= cause)


def _stay(chart: Chart, codebook: Codebook) -> _Stay:
    """In hospital now, or lately discharged."""
    known = chart.known.get("Encounter")
    stale = known is None or not (
        known.declared_none or known.blind or (known.at is not None and known.at >= chart.now - FRESH)
    )
    wants = _STAYS if stale else _NOTHING
    encounters = [s for s in chart.snapshots.values() if s.type == "Encounter" and _live(s)]
    if not encounters:
        return _Stay(wants=wants)
    stays = [e for e in encounters if codebook.setting(e.body) in HOSPITAL]
    until = max((end for e in stays if (end := _held_until(e, chart))), default=None)
    discharges = [end for e in stays if (end := _discharge(e, chart)) is not None]
    recent = [end for end in discharges if chart.now - DISCHARGE_SEEN <= end <= chart.now]
    return _Stay(
        hold_until=until,
        discharged=max(recent, default=None),
        wants=wants,
        next_look=min(until, chart.now + FRESH) if until else None,
    )


def _held_until(encounter: Snapshot, chart: Chart) -> datetime | None:
    """The latest end of the hold of a stay in progress; None where none is, or it lasts too long."""
    if status_of(encounter.body) not in _IN_PROGRESS:
        return None
    period = _period(encounter, chart)
    since = period.start.instant if period.start else (encounter.first_seen or chart.now)
    if since > chart.now or (period.end and not period.end.day_only and period.end.instant <= chart.now):
        return None  # not yet admitted; or gone home, and nobody closed the stay
    until = since + LONGEST_STAY
    return until if until > chart.now else None


def _discharge(encounter: Snapshot, chart: Chart) -> datetime | None:
    period = _period(encounter, chart)
    if status_of(encounter.body) not in ("finished", *_IN_PROGRESS):
        return None
    if period.end is not None:
        return period.end.instant
    return encounter.changed if text_of(encounter.body.get("status")) == "finished" else None


def _period(encounter: Snapshot, chart: Chart) -> Span:
    return parse_period(encounter.body.get("period"), chart.source.zone)
