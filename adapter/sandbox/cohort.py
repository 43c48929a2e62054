"""A synthetic cohort for the demo: 25 patients, each a small story that a rule sees or rightly does not.

All of it is made from one instant, one zone and one run id, so that it can be made again, found again by its
tag and taken out again. Nothing in it is real: every resource bears the HTEST label and the tag
``urn:baton:run|<run>``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from adapter.sandbox.synthetic import RUN_SYSTEM, Builder, Resource

Tell = Callable[[Builder, int], Sequence[Resource]]


@dataclass(frozen=True, slots=True)
class Story:
    """One patient: what happens, which rules see a need at once, and which after the rule's settling time.

    ``settling`` holds rules whose moment counts from when the source first showed the status, which a freshly
    loaded server stamps with the present.
    """

    number: int
    says: str
    opens: frozenset[str]
    settling: frozenset[str]
    tell: Tell


STORIES: list[Story] = []


def _story(says: str, *opens: str, settling: Sequence[str] = ()) -> Callable[[Tell], Tell]:
    def add(tell: Tell) -> Tell:
        STORIES.append(Story(len(STORIES) + 1, says, frozenset(opens), frozenset(settling), tell))
        return tell

    return add


def cohort(now: datetime, zone: tzinfo, *, run: str, seed: int = 0) -> list[Resource]:
    """The whole cohort around ``now``, each resource after those that it refers to.

    ``zone`` is the hospital's. ``seed`` changes names, birthdays and hours of the day, never the stories.

    Raises:
        ValueError: where ``run`` cannot be part of an id (1 to 48 letters, digits, "-" or "."), or ``now``
        has no
            zone.
    """
    builder = Builder(now, zone, run, seed)
    found = [*builder.house(), builder.meeting()]
    for story in STORIES:
        found += story.tell(builder, story.number)
    return found


def expected(run: str) -> Mapping[str, frozenset[str]]:
    """ "Patient/id" → the rules that see a need of that patient as soon as all is loaded."""
    return {f"Patient/{run}-p{story.number:02}": story.opens for story in STORIES}


@dataclass(frozen=True, slots=True)
class Interesting:
    """What the demo tells: a task that a coordinator finishes, and an order for which a visit gets booked.

    Each is the focus of a task and the rule that makes it.
    """

    run: str
    finish: str
    finish_rule: str
    book: str
    book_rule: str
    book_patient: str


def interesting(resources: Sequence[Mapping[str, Any]]) -> Interesting:
    """The demo's two tasks in a cohort.

    Raises:
        ValueError: where the resources are no cohort.
    """
    run = next((tag["code"] for r in resources for tag in _tags(r) if tag.get("system") == RUN_SYSTEM), "")
    found = Interesting(
        run=run,
        finish=f"ServiceRequest/{run}-o17",
        finish_rule="obtain-result",
        book=f"ServiceRequest/{run}-o08",
        book_rule="schedule-referral",
        book_patient=f"Patient/{run}-p08",
    )
    there = {f"{r.get('resourceType')}/{r.get('id')}" for r in resources}
    if not {found.finish, found.book} <= there:
        raise ValueError("these resources are no sandbox cohort")
    return found


def _tags(resource: Mapping[str, Any]) -> list[dict[str, Any]]:
    return list(resource.get("meta", {}).get("tag", ()))


def booking(now: datetime, zone: tzinfo, *, run: str, status: str = "booked") -> Resource:
    """The visit that gets booked for the demo's order, nine days ahead. PUT it to close its task."""
    builder = Builder(now, zone, run, 0)
    visit = builder.visit("booking", 8, status, days=9, service="cardiology", order="o08", created_days=0)
    return {**visit, "created": builder.ago(0)}


# Visits that are not settled --------------------------------------------------------------------------------


@_story("A pending visit next week wants a confirmation.", "confirm-visit")
def _pending(b: Builder, n: int) -> Sequence[Resource]:
    return b.patient(n), b.visit("v01", n, "pending", days=6)


@_story("A booked visit and a blood test: nothing to do.")
def _booked(b: Builder, n: int) -> Sequence[Resource]:
    blood = b.order("o02", n, "blood-count", authored=b.at(-10, 11))
    return b.patient(n), b.visit("v02", n, "booked", days=5, service="dermatology", doctor=2), blood


@_story("A visit was asked for ten days ago and has no time yet.", "confirm-visit")
def _proposed(b: Builder, n: int) -> Sequence[Resource]:
    return b.patient(n), b.visit("v03", n, "proposed", days=None, created_days=-10)


@_story("The patient did not come, and nothing was booked since.", "rebook-visit")
def _noshow(b: Builder, n: int) -> Sequence[Resource]:
    # No cancelationReason: with "noshow" it is an error on HAPI (R4's app-4).
    return b.patient(n), b.visit("v04", n, "noshow", days=-8, service="physiotherapy", doctor=3)


@_story("The patient did not come; a new visit is booked already.")
def _noshow_rebooked(b: Builder, n: int) -> Sequence[Resource]:
    missed = b.visit("v05", n, "noshow", days=-8, service="dermatology", doctor=2)
    again = b.visit("v05b", n, "booked", days=9, service="dermatology", doctor=2, created_days=-5)
    return b.patient(n), missed, again


@_story("The clinic cancelled the visit.", settling=["rebook-visit"])
def _clinic_cancelled(b: Builder, n: int) -> Sequence[Resource]:
    return b.patient(n), b.visit("v06", n, "cancelled", days=4, cancelled_by="prov")


@_story("The patient cancelled; a referral was revoked; a visit was entered in error.")
def _patient_cancelled(b: Builder, n: int) -> Sequence[Resource]:
    revoked = b.order("o07", n, "dermatology", authored=b.at(-15, 10), status="revoked")
    wrong = b.visit("v07b", n, "entered-in-error", days=6)
    return b.patient(n), b.visit("v07", n, "cancelled", days=4, cancelled_by="pat"), revoked, wrong


# Orders that want a visit -----------------------------------------------------------------------------------


@_story("A routine referral of ten days ago without a visit.", "schedule-referral")
def _routine(b: Builder, n: int) -> Sequence[Resource]:
    why = [{"text": "Chest pain on exertion"}]
    return b.patient(n), b.order("o08", n, "cardiology", authored=b.at(-10, 10), reasonCode=why)


@_story("An urgent referral of yesterday without a visit.", "schedule-referral")
def _urgent(b: Builder, n: int) -> Sequence[Resource]:
    why = [{"text": "Changing mole"}]
    return b.patient(n), b.order(
        "o09", n, "dermatology", authored=b.ago(24), priority="urgent", reasonCode=why
    )


@_story("An imaging order of this morning that cannot wait.", "schedule-referral")
def _stat(b: Builder, n: int) -> Sequence[Resource]:
    return b.patient(n), b.order("o10", n, "ct", authored=b.ago(3), priority="stat")


@_story("A colonoscopy that is wanted in four months: too early to book.")
def _future(b: Builder, n: int) -> Sequence[Resource]:
    wanted = b.at(120, 9)
    return b.patient(n), b.order("o11", n, "colonoscopy", authored=b.at(-10, 10), occurrenceDateTime=wanted)


@_story("A referral with its visit booked in time, and a payer that wants no authorization.")
def _booked_in_time(b: Builder, n: int) -> Sequence[Resource]:
    free = [b.item("mri", excluded=False, authorizationRequired=False)]
    return (
        b.patient(n),
        b.coverage(n),
        b.order("o12", n, "mri", authored=b.at(-10, 10), insurance=[b.to("Coverage", f"c{n:02}")]),
        b.visit("v12", n, "booked", days=12, service="mri", order="o12", created_days=-6),
        *b.check("e12", n, days=-9, outcome="complete", inforce=True, items=free),
    )


@_story("A parent order that is booked, and the child that the scheduling system made of it.")
def _child(b: Builder, n: int) -> Sequence[Resource]:
    parent = [b.to("ServiceRequest", "o13")]
    return (
        b.patient(n),
        b.order("o13", n, "mammography", authored=b.at(-12, 10)),
        b.order("o13b", n, "mammography", authored=b.at(-11, 10), intent="instance-order", basedOn=parent),
        b.visit("v13", n, "booked", days=10, service="mammography", order="o13"),
    )


@_story("An order that something must not be done.")
def _not_to_be_done(b: Builder, n: int) -> Sequence[Resource]:
    return b.patient(n), b.order("o14", n, "ct", authored=b.at(-10, 10), doNotPerform=True)


@_story("In hospital now: an inpatient order, and a referral that waits for the discharge.")
def _in_hospital(b: Builder, n: int) -> Sequence[Resource]:
    stay = b.encounter("n15", n, "IMP", "in-progress", period={"start": b.at(-3, 14)})
    inside = b.order("o15", n, "ct", authored=b.at(-3, 15), encounter=b.to("Encounter", "n15"))
    return b.patient(n), stay, inside, b.order("o15b", n, "cardiology", authored=b.at(-10, 10))


# Results ----------------------------------------------------------------------------------------------------


@_story("The scan was done and its report is final.")
def _reported(b: Builder, n: int) -> Sequence[Resource]:
    return (
        b.patient(n),
        b.order("o16", n, "ct", authored=b.at(-25, 10)),
        b.visit("v16", n, "fulfilled", days=-10, service="ct", order="o16"),
        b.report("r16", n, "o16", "ct", status="final", days=-8),
    )


@_story("The scan was done ten days ago, and no report came.", "obtain-result")
def _unreported(b: Builder, n: int) -> Sequence[Resource]:
    return (
        b.patient(n),
        b.order("o17", n, "mri", authored=b.at(-25, 10)),
        b.visit("v17", n, "fulfilled", days=-10, service="mri", order="o17"),
    )


@_story("The consult took place; its report is only preliminary.", "obtain-result")
def _preliminary(b: Builder, n: int) -> Sequence[Resource]:
    met = {"start": b.at(-11, 10), "end": b.at(-11, 11)}
    links = {"basedOn": [b.to("ServiceRequest", "o18")], "appointment": [b.to("Appointment", "v18")]}
    return (
        b.patient(n),
        b.order("o18", n, "cardiology", authored=b.at(-30, 10)),
        b.visit("v18", n, "fulfilled", days=-11, order="o18"),
        b.encounter("n18", n, "AMB", "finished", period=met, **links),
        b.report("r18", n, "o18", "cardiology", status="preliminary", days=-11),
    )


# Coverage ---------------------------------------------------------------------------------------------------


@_story("The payer says that the coverage is not in force; a visit is near.", "verify-coverage")
def _not_in_force(b: Builder, n: int) -> Sequence[Resource]:
    check = b.check("e19", n, days=-4, outcome="complete", inforce=False)
    return b.patient(n), b.coverage(n), b.visit("v19", n, "booked", days=9, doctor=2), *check


@_story("An older answer said no, the newest says that the coverage is in force.")
def _in_force(b: Builder, n: int) -> Sequence[Resource]:
    first = b.check("e20", n, days=-20, outcome="complete", inforce=False)
    second = b.check("e20b", n, days=-4, outcome="complete", inforce=True)
    return b.patient(n), b.coverage(n), b.visit("v20", n, "booked", days=6), *first, *second


@_story("The last eligibility check failed; a visit is near.", "repeat-eligibility-check")
def _failed_check(b: Builder, n: int) -> Sequence[Resource]:
    first = b.check("e21", n, days=-40, outcome="complete", inforce=True)
    failed = b.check("e21b", n, days=-5, outcome="error", error="The payer's system did not answer")
    return b.patient(n), b.coverage(n), b.visit("v21", n, "booked", days=8, doctor=3), *first, *failed


@_story("The payer wants an authorization before the MRI.", "obtain-authorization")
def _authorization(b: Builder, n: int) -> Sequence[Resource]:
    return _asked(b, n, "mri", b.item("mri", excluded=False, authorizationRequired=True))


@_story("The payer's answer leaves the treatment out.", "review-exclusion")
def _exclusion(b: Builder, n: int) -> Sequence[Resource]:
    return _asked(b, n, "physiotherapy", b.item("physiotherapy", excluded=True))


def _asked(b: Builder, n: int, what: str, item: dict[str, Any]) -> Sequence[Resource]:
    order = f"o{n}"
    return (
        b.patient(n),
        b.coverage(n),
        b.order(order, n, what, authored=b.at(-10, 10), insurance=[b.to("Coverage", f"c{n:02}")]),
        b.visit(f"v{n}", n, "booked", days=25, service=what, order=order, created_days=-7),
        *b.check(f"e{n}", n, days=-6, outcome="complete", inforce=True, items=[item]),
    )


# Persons ----------------------------------------------------------------------------------------------------


@_story("A referral of a patient who has died.")
def _deceased(b: Builder, n: int) -> Sequence[Resource]:
    patient = b.patient(n, deceasedDateTime=b.at(-3, 6))
    return patient, b.order("o24", n, "dermatology", authored=b.at(-12, 10))


@_story("A record merged into another: the order stands here, its visit there.")
def _merged(b: Builder, n: int) -> Sequence[Resource]:
    link = [{"other": b.to("Patient", "p02"), "type": "replaced-by"}]
    return (
        b.patient(n, active=False, link=link),
        b.order("o25", n, "cardiology", authored=b.at(-12, 10)),
        b.visit("v25", 2, "booked", days=11, doctor=3, order="o25"),
    )
