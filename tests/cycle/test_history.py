"""History that stirs again: whatever happens to it in the EHR, each look comes to what the whole chart says.

The comparison itself is every look's here (``conftest.looks_are_whole``, :mod:`tests.whole`); this gives it work.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.consistency.hospital import (
    DAY,
    HOUR,
    START,
    Hospital,
    hospital,
    order,
    patient,
    report,
    stay,
    text,
    visit,
)
from tests.whole import compared

PEOPLE = ("p1", "p2")
FAMILIES = 3
numbers = st.integers(0, len(PEOPLE) * FAMILIES - 1)
ACTS = (
    "order lives again",
    "order is revoked",
    "order is replaced",
    "order gets a child",
    "order gets a visit",
    "order gets a report",
    "order gets a stay",
    "order shares a number",
    "order is deleted",
    "order is garbled",
    "order moves to another",
    "visit is held again",
    "visit falls through",
    "visit moves",
    "visit is deleted",
    "visit leaves its order",
    "stay goes on",
    "stay is told anew",
    "report is told anew",
    "patients are joined",
    "patients are parted",
    "days pass",
    "weeks pass",
    "swept",
    "started anew",
)


def past(town: Hospital, number: int) -> None:
    """An order of last year and its visit, which took place."""
    who, id = PEOPLE[number % 2], f"h{number}"
    day = START - (120 + 31 * number) * DAY
    numbered = [{"system": "urn:placer", "value": str(number)}]
    town.ehr.put(order(id, who, status="completed", authoredOn=text(day - 30 * DAY), identifier=numbered))
    gone = {"status": "fulfilled"} if number % 3 else {"status": "cancelled"}
    town.ehr.put(visit(id, who, id, at=day, created=text(day - 20 * DAY), **gone))
    if number % 3 == 1:
        period = {"start": text(day), "end": text(day + HOUR)}
        named = {"appointment": [{"reference": f"Appointment/{id}"}]}
        town.ehr.put(stay(id, who, status="finished", period=period, **named))
        town.ehr.put(report(id, who, id, encounter={"reference": f"Encounter/{id}"}))


def act(town: Hospital, what: str, number: int) -> None:
    ehr, id, who = town.ehr, f"h{number}", PEOPLE[number % 2]
    the_order, the_visit = f"ServiceRequest/{id}", f"Appointment/{id}"
    match what:
        case "days pass":
            town.clock.advance(3 * DAY)
        case "weeks pass":
            town.clock.advance(45 * DAY)
        case "swept":
            town.sync(sweep=True)
        case "started anew":
            town.start()
        case "patients are joined":
            ehr.edit("Patient/p2", link=[{"type": "seealso", "other": {"reference": "Patient/p1"}}])
        case "patients are parted":
            ehr.edit("Patient/p2", link=None)
        case "order gets a child":
            ehr.put(order(f"c{number}", who, basedOn=[{"reference": the_order}]))
        case "order is replaced":
            ehr.put(order(f"n{number}", who, replaces=[{"reference": the_order}]))
        case "order gets a visit":
            ehr.put(visit(f"n{number}", who, id, at=town.clock.now() - 6 * DAY, status="fulfilled"))
        case "order gets a report":
            ehr.put(report(f"r{number}", who, id))
        case "order gets a stay":
            ehr.put(stay(f"e{number}", who, status="finished", basedOn=[{"reference": the_order}]))
        case "order shares a number":
            numbered = [{"system": "urn:placer", "value": str(number)}]
            ehr.put(
                visit(
                    f"m{number}", who, at=town.clock.now() - 6 * DAY, status="fulfilled", identifier=numbered
                )
            )
        case _ if what.startswith("order") and ehr.get(the_order):
            _change(town, the_order, what, who)
        case "stay goes on" if ehr.get(f"Encounter/{id}"):
            ehr.edit(f"Encounter/{id}", status="in-progress", period={"start": text(town.clock.now() - DAY)})
        case "stay is told anew" if ehr.get(f"Encounter/{id}"):
            ehr.edit(
                f"Encounter/{id}", period={"start": text(START - 90 * DAY), "end": text(town.clock.now())}
            )
        case "report is told anew" if ehr.get(f"DiagnosticReport/{id}"):
            ehr.edit(f"DiagnosticReport/{id}", basedOn=[{"reference": f"ServiceRequest/o-{who}"}])
        case _ if what.startswith("visit") and ehr.get(the_visit):
            _change(town, the_visit, what, who)


def _change(town: Hospital, ref: str, what: str, who: str) -> None:
    changes: dict[str, dict[str, Any]] = {
        "order lives again": {"status": "active"},
        "order is revoked": {"status": "revoked"},
        "order is garbled": {"status": None},
        "order moves to another": {"subject": {"reference": f"Patient/{PEOPLE[who == PEOPLE[0]]}"}},
        "visit is held again": {"status": "booked", "start": text(town.clock.now() + 9 * DAY)},
        "visit falls through": {"status": "noshow"},
        "visit moves": {"start": text(town.clock.now() - DAY), "end": text(town.clock.now() - DAY + HOUR)},
        "visit leaves its order": {"basedOn": None},
    }
    if what in changes:
        town.ehr.edit(ref, **changes[what])
    else:
        town.ehr.delete(ref)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(ACTS), numbers, st.booleans()), max_size=8))
def test_history_may_stir_in_any_way(script: list[tuple[str, int, bool]]) -> None:
    """``compared`` fails in the very look that would have gone by less than the whole chart."""
    seen: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, hospital(Path(folder)) as town, compared(seen):
        for number in range(len(PEOPLE) * FAMILIES):
            past(town, number)
        for who in PEOPLE:
            town.ehr.put(patient(who))
            town.ehr.put(order(f"o-{who}", who))
        town.good()
        town.sync(passing=timedelta(hours=1))
        for who in PEOPLE:  # some news for each: what happened long ago is not read for it
            town.ehr.edit(f"ServiceRequest/o-{who}", priority="urgent")
        before = seen["left out"]
        town.sync(passing=timedelta(hours=1))
        assert seen["left out"] - before >= len(PEOPLE) * FAMILIES
        for what, number, waits in script:
            act(town, what, number)
            if not waits:
                town.sync(passing=timedelta(minutes=10))
        town.sync(passing=timedelta(minutes=10))
        town.sync(passing=DAY)
