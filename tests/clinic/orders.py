"""Orders: referrals, imaging and laboratory lines, with what comes of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.clinic import codes
from tests.clinic.codes import Ordered
from tests.clinic.days import text

if TYPE_CHECKING:
    from tests.clinic.hospital import Hospital


@dataclass(slots=True)
class Order:
    """A ServiceRequest."""

    id: str
    patient: str
    what: Ordered
    authored: datetime
    encounter: str
    practitioner: int
    status: str = "active"
    priority: str | None = None
    category: bool = True
    local: bool = False
    intent: str = "order"
    parent: str = ""
    requisition: str = ""
    coverage: str = ""
    occurrence: str = ""
    forbids: bool = False
    booked: bool = False
    reported: bool = False
    ward: bool = False

    @property
    def ref(self) -> str:
        return f"ServiceRequest/{self.id}"


class Orders:
    """The orders' life."""

    def __init__(self, hospital: Hospital) -> None:
        self.hospital = hospital
        self._all: dict[str, Order] = {}
        self._shares = [image.share for image in codes.IMAGES]

    def find(self, ref: str) -> Order | None:
        """An order by its reference."""
        return self._all.get(ref)

    def after_visit(self, patient: str, encounter: str, practitioner: int) -> None:
        """What the doctor orders at the end of a visit."""
        hospital, volumes, rng = self.hospital, self.hospital.volumes, self.hospital.rng
        if hospital.chance(volumes.referrals):
            self._referral(patient, encounter, practitioner)
        if hospital.chance(volumes.images):
            self._image(patient, encounter, practitioner)
        lines = hospital.poisson(volumes.lab_lines)
        requisition = hospital.id("r") if lines else ""
        for what in rng.choices(codes.LABS, k=lines):
            self._lab(patient, what, encounter, practitioner, requisition)

    def make(self, patient: str, what: Ordered, encounter: str, practitioner: int, **more: Any) -> Order:
        """Write an order now."""
        hospital, volumes = self.hospital, self.hospital.volumes
        order = Order(hospital.id("o"), patient, what, hospital.now, encounter, practitioner, **more)
        if not hospital.chance(volumes.no_priority):
            [order.priority] = hospital.rng.choices(("routine", "urgent", "stat"), (4, 2.5, 0.5))
        order.category = not hospital.chance(volumes.no_category)
        order.local = hospital.chance(volumes.local_code)
        order.forbids = hospital.chance(volumes.forbidding)
        if hospital.chance(0.5):  # choice: half of the orders name the coverage that they stand on
            order.coverage = hospital.payers.first(patient)
        self._all[order.ref] = order
        hospital.count("child" if order.parent else "ward" if order.ward else what.kind)
        self._save(order)
        if not order.parent and hospital.chance(volumes.children):
            self.make(patient, what, encounter, practitioner, parent=order.ref, intent="filler-order")
        return order

    # --- referrals

    def _referral(self, patient: str, encounter: str, practitioner: int) -> None:
        hospital, volumes, rng = self.hospital, self.hospital.volumes, self.hospital.rng
        what = rng.choice(codes.REFERRALS)
        order = self.make(patient, what, encounter, practitioner, **self._standing())
        self._plan(order, hospital.chance(volumes.referral_dated), volumes.referral_linked)
        hospital.payers.needed(order)

    def _standing(self) -> dict[str, Any]:
        hospital, rng = self.hospital, self.hospital.rng
        if not hospital.chance(hospital.volumes.standing):
            return {}
        day = hospital.days.date(min(hospital.today + rng.randrange(40, 180), hospital.days.last))
        return {"occurrence": day.isoformat()}

    def _plan(self, order: Order, dated: bool, linked: float) -> None:
        """Booked by whoever does so without a task, or not."""
        hospital, rng = self.hospital, self.hospital.rng
        if not dated:
            if hospital.chance(hospital.volumes.given_up):
                hospital.later(rng.uniform(20, 60), self.finish, order, "revoked")
            return
        soon = hospital.chance(hospital.volumes.at_check_out)
        wait = rng.uniform(0, 3) if soon else rng.uniform(3, 15)
        if order.occurrence:
            wait = rng.uniform(5, 30)
        hospital.later(wait, self.book, order, hospital.chance(linked))

    def book(self, order: Order, linked: bool) -> None:
        """Make the visit that an order asks for."""
        if order.booked or order.status != "active" or order.patient in self.hospital.dead:
            return
        order.booked = True
        service = order.what.service or codes.RADIOLOGY[0]
        self.hospital.visits.book(order.patient, service, order=order, linked=linked, soon=True)

    def seen(self, order: Order, encounter: str) -> None:
        """The visit of an order took place: its report comes soon, late or never."""
        hospital, volumes, rng = self.hospital, self.hospital.volumes, self.hospital.rng
        image = order.what.kind == "imaging"
        soon, late = (
            (volumes.image_timely, volumes.image_late)
            if image
            else (volumes.consult_timely, volumes.consult_late)
        )
        drawn = rng.random()
        if drawn < soon:
            hospital.later(rng.uniform(0, 2 if image else 4), self.report, order, encounter)
        elif drawn < soon + late:
            hospital.later(rng.uniform(5, 16), self.report, order, encounter)

    # --- imaging

    def _image(self, patient: str, encounter: str, practitioner: int) -> None:
        hospital, volumes, rng = self.hospital, self.hospital.volumes, self.hospital.rng
        if hospital.chance(volumes.image_walk_in):
            order = self.make(patient, rng.choice(codes.WALK_INS), encounter, practitioner)
            days = rng.choices((0, 1, 2, rng.uniform(3, 8)), (6, 2, 1, 1))[0]
            hospital.later(days + rng.random(), self.report, order, "")
        else:
            [what] = rng.choices(codes.IMAGES, self._shares)
            order = self.make(patient, what, encounter, practitioner, **self._standing())
            self._plan(order, hospital.chance(volumes.image_dated), volumes.image_linked)
        hospital.payers.needed(order)

    # --- laboratory

    def _lab(self, patient: str, what: Ordered, encounter: str, practitioner: int, requisition: str) -> None:
        hospital, rng = self.hospital, self.hospital.rng
        order = self.make(patient, what, encounter, practitioner, requisition=requisition)
        drawn = rng.random()  # choice: most are drawn the same day, some days later, some never
        if drawn < 0.95:
            wait = rng.uniform(0, 3) if drawn < 0.85 else rng.uniform(3, 12)
            hospital.later(wait, self.report, order, "")

    # --- what comes of them

    def report(self, order: Order, encounter: str) -> None:
        """A result or letter arrives; many orders are completed by it."""
        hospital, volumes = self.hospital, self.hospital.volumes
        if order.reported or order.patient in hospital.dead:
            return
        order.reported = True
        subject = {"reference": f"Patient/{order.patient}"}
        named = hospital.chance(volumes.report_based_on) or not encounter
        there = {"reference": f"Encounter/{encounter}"}
        if order.what.kind == "referral":
            context = {"encounter": [there]} if encounter else {}
            context |= {"related": [{"reference": order.ref}]} if named else {}
            hospital.put(
                {
                    "resourceType": "DocumentReference",
                    "id": hospital.id("t"),
                    "status": "current",
                    "type": codes.concept(codes.LOINC, "11488-4", "Consult note"),
                    "subject": subject,
                    "date": text(hospital.now),
                    "context": context,
                }
            )
        else:
            hospital.put(
                {
                    "resourceType": "DiagnosticReport",
                    "id": hospital.id("t"),
                    "status": "final",
                    "code": codes.concept(order.what.system, order.what.code, order.what.words),
                    "subject": subject,
                    "issued": text(hospital.now),
                    "encounter": there if encounter else None,
                    "basedOn": [{"reference": order.ref}] if named else None,
                }
            )
        share = volumes.referral_completed_after if order.what.kind == "referral" else volumes.completed_after
        if hospital.chance(share):
            hospital.later(0, self.finish, order, "completed")

    def finish(self, order: Order, status: str) -> None:
        """Completed or revoked."""
        if order.status == "active" and not (status == "revoked" and order.booked):
            order.status = status
            self._save(order)

    def _save(self, order: Order) -> None:
        what = order.what
        system, code = ("urn:clinic:orders", f"X{what.code}") if order.local else (what.system, what.code)
        self.hospital.put(
            {
                "resourceType": "ServiceRequest",
                "id": order.id,
                "status": order.status,
                "intent": order.intent,
                "priority": order.priority,
                "doNotPerform": True if order.forbids else None,
                "category": codes.category(what.kind) if order.category and not order.local else None,
                "code": codes.concept(system, code, what.words),
                "subject": {"reference": f"Patient/{order.patient}"},
                "encounter": {"reference": f"Encounter/{order.encounter}"},
                "authoredOn": text(order.authored),
                "occurrenceDateTime": order.occurrence or None,
                "requester": {"reference": f"Practitioner/d{order.practitioner}"},
                "basedOn": [{"reference": order.parent}] if order.parent else None,
                "requisition": {"system": "urn:clinic:requisition", "value": order.requisition}
                if order.requisition
                else None,
                "insurance": [{"reference": order.coverage}] if order.coverage else None,
            }
        )
