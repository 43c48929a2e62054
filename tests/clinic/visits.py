"""Visits: booked, asked for, moved, cancelled by either side, missed, kept."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.clinic import codes
from tests.clinic.codes import PRIMARY, SERVICES
from tests.clinic.days import text

if TYPE_CHECKING:
    from tests.clinic.hospital import Hospital
    from tests.clinic.orders import Order


@dataclass(slots=True)
class Visit:
    """An Appointment. ``linked``: it names the order that it is for."""

    id: str
    patient: str
    service: str
    practitioner: int
    start: datetime
    created: datetime
    status: str = "booked"
    order: Order | None = None
    linked: bool = True
    timeless: bool = False
    cancelled_by: str = ""
    replaced: bool = False

    @property
    def ref(self) -> str:
        return f"Appointment/{self.id}"


class Visits:
    """The visits' life. Each draws its fate when it is booked."""

    def __init__(self, hospital: Hospital) -> None:
        self.hospital = hospital
        volumes = hospital.volumes
        self._practitioners = max(3, round(volumes.practitioners * hospital.scale))
        self._all: dict[str, Visit] = {}
        self._lists: dict[tuple[int, int], list[Visit]] = defaultdict(list)
        late = volumes.moved_later
        moved = (volumes.patient_cancels + volumes.provider_cancels) * _either(volumes.rescheduled, late)
        moved += volumes.no_show * _either(volumes.no_show_rebooked, late)
        kept = volumes.scheduled * (1 - volumes.patient_cancels - volumes.provider_cancels - volumes.no_show)
        ordered = kept * volumes.referrals * volumes.referral_dated
        ordered += kept * volumes.images * (1 - volumes.image_walk_in) * volumes.image_dated
        self._routine = volumes.scheduled * (1 - moved) - ordered
        self._services = list(SERVICES)
        self._shares = [share for _, share in SERVICES.values()]

    def find(self, ref: str) -> Visit | None:
        """A visit by its reference."""
        return self._all.get(ref)

    def day(self, day: int) -> None:
        """A day begins: bookings come in, and a doctor may be sick."""
        hospital = self.hospital
        for _ in range(hospital.number(self._routine)):
            hospital.later(0, self._routine_visit)
        volumes = hospital.volumes
        for practitioner in range(self._practitioners):
            if hospital.chance(volumes.provider_cancels * volumes.sick_share):
                hospital.at(hospital.days.at(day, 7.7), self._sick, day, practitioner)

    def _routine_visit(self) -> None:
        hospital, volumes = self.hospital, self.hospital.volumes
        [service] = hospital.rng.choices(self._services, self._shares)
        self.book(hospital.patient(), service, unsettled=hospital.chance(volumes.unsettled))

    # --- booking

    def book(
        self,
        patient: str,
        service: str,
        *,
        practitioner: int | None = None,
        order: Order | None = None,
        linked: bool = True,
        unsettled: bool = False,
        soon: bool = False,
    ) -> Visit:
        """Make a visit now, for a day ahead; ``soon`` within two weeks."""
        hospital = self.hospital
        who = self._who(service) if practitioner is None else practitioner
        visit = Visit(
            hospital.id("v"),
            patient,
            service,
            who,
            self._start(soon),
            hospital.now,
            order=order,
            linked=linked,
        )
        self._all[visit.ref] = visit
        if order is not None:
            order.booked = True
        if unsettled:
            self._ask_for(visit)
        else:
            self._booked(visit)
        return visit

    def _who(self, service: str) -> int:
        return hash_of(service, self.hospital.rng.randrange(1000)) % self._practitioners

    def _start(self, soon: bool) -> datetime:
        hospital, rng, volumes = self.hospital, self.hospital.rng, self.hospital.volumes
        if soon:
            lead = rng.uniform(1, 10)
        elif hospital.chance(volumes.near):
            lead = rng.uniform(0, 2)
        else:
            lead = 2 + rng.expovariate(1 / volumes.lead_days)
        start = hospital.days.at(hospital.today + min(int(lead), 120), rng.randrange(32, 66) / 4)
        if start <= hospital.now + timedelta(minutes=30):
            start = hospital.days.at(hospital.today + 1, rng.randrange(32, 66) / 4)
        return start

    def _ask_for(self, visit: Visit) -> None:
        """Proposed without a time, or pending with one (R4's app-3 wants times then)."""
        hospital = self.hospital
        visit.timeless = hospital.chance(0.5)
        visit.status = "proposed" if visit.timeless else "pending"
        hospital.count("unsettled")
        self.save(visit)
        if hospital.chance(hospital.volumes.settled_alone):
            hospital.later(hospital.rng.uniform(0, 2), self.settle, visit)

    def settle(self, visit: Visit) -> None:
        """The time is agreed and booked."""
        if visit.status not in ("proposed", "pending"):
            return
        visit.status, visit.timeless = "booked", False
        if visit.start <= self.hospital.now:
            visit.start = self._start(soon=True)
        self._booked(visit)

    def _booked(self, visit: Visit) -> None:
        hospital, volumes = self.hospital, self.hospital.volumes
        day = hospital.days.of(visit.start)
        hospital.happened["scheduled", day] += 1
        self._lists[day, visit.practitioner].append(visit)
        self.save(visit)
        hospital.payers.expect(visit)
        drawn = hospital.rng.random()
        before = hospital.now + (visit.start - hospital.now) * hospital.rng.random() ** 0.5
        if drawn < volumes.patient_cancels:
            hospital.at(before, self.cancel, visit, "patient")
            return
        drawn -= volumes.patient_cancels
        alone = volumes.provider_cancels * (1 - volumes.sick_share)
        if drawn < alone:
            hospital.at(before, self.cancel, visit, "provider")
        elif drawn - alone < volumes.no_show:
            hospital.at(hospital.days.at(day, 16.8), self._missed, visit)
        else:
            hospital.at(visit.start, self._arrives, visit)

    # --- what becomes of it

    def cancel(self, visit: Visit, party: str, *, moved: bool = True) -> None:
        """Cancelled by "patient" or "provider"; most are ``moved`` within minutes, some before they are cancelled."""
        hospital, rng = self.hospital, self.hospital.rng
        if visit.status not in ("booked", "proposed", "pending"):
            return
        at_once = moved and hospital.chance(hospital.volumes.rescheduled)
        if at_once and hospital.chance(0.5):
            self._again(visit)
        visit.status, visit.cancelled_by = "cancelled", party
        hospital.count(f"cancelled by {party}")
        self._falls_through(visit)
        if at_once:
            hospital.at(hospital.now + timedelta(minutes=rng.uniform(1, 30)), self._again, visit)
        elif moved:
            self._perhaps_later(visit)

    def _falls_through(self, visit: Visit) -> None:
        self.save(visit, over=True)
        if visit.order is not None and not visit.replaced:
            visit.order.booked = False

    def _perhaps_later(self, visit: Visit) -> None:
        """Not moved at once; some patients call within two weeks."""
        if self.hospital.chance(self.hospital.volumes.moved_later):
            self.hospital.later(self.hospital.rng.uniform(1, 10), self._again, visit)

    def _again(self, visit: Visit) -> None:
        if not visit.replaced and visit.patient not in self.hospital.dead:
            self.rebook(visit)

    def rebook(self, visit: Visit, *, linked: bool | None = None) -> Visit:
        """A new visit of the same kind, in place of one that fell through."""
        visit.replaced = True
        return self.book(
            visit.patient,
            visit.service,
            practitioner=visit.practitioner,
            order=visit.order,
            linked=visit.linked if linked is None else linked,
        )

    def _sick(self, day: int, practitioner: int) -> None:
        for visit in self._lists.pop((day, practitioner), []):
            if visit.status == "booked" and visit.start > self.hospital.now:
                self.cancel(visit, "provider", moved=False)
                if self.hospital.chance(self.hospital.volumes.rescheduled):  # the desk works through the list
                    self.hospital.later(self.hospital.rng.uniform(0, 2), self._again, visit)
                else:
                    self._perhaps_later(visit)

    def _missed(self, visit: Visit) -> None:
        hospital, volumes = self.hospital, self.hospital.volumes
        if visit.status != "booked":
            return
        visit.status = "noshow"
        hospital.count("no-show")
        self._falls_through(visit)
        if hospital.chance(volumes.no_show_undone):
            hospital.at(hospital.now + timedelta(minutes=50), self._arrives, visit)
        elif hospital.chance(volumes.no_show_rebooked):
            hospital.at(hospital.now + timedelta(minutes=hospital.rng.uniform(5, 60)), self._again, visit)
        else:
            self._perhaps_later(visit)

    def _arrives(self, visit: Visit) -> None:
        hospital = self.hospital
        if visit.status not in ("booked", "noshow") or visit.patient in hospital.dead:
            return
        hospital.count("kept")
        encounter = hospital.id("e")
        late = visit.status == "noshow"
        visit.status = "arrived"
        if hospital.live and not late:
            self.save(visit)
            self._encounter(visit, encounter, "in-progress")
        hospital.at(hospital.now + timedelta(minutes=25), self._leaves, visit, encounter)

    def _leaves(self, visit: Visit, encounter: str) -> None:
        hospital, volumes = self.hospital, self.hospital.volumes
        if not hospital.chance(volumes.never_moved_on):
            visit.status = "fulfilled"
        elif hospital.chance(0.5):
            visit.status = "booked"  # nobody ever touches it again
        self.save(visit, over=True)
        self._encounter(visit, encounter, "finished")
        hospital.payers.at_desk(visit.patient)
        if visit.order is not None:
            hospital.orders.seen(visit.order, encounter)
        if visit.service != codes.RADIOLOGY[0]:
            hospital.orders.after_visit(visit.patient, encounter, visit.practitioner)

    # --- saving

    def save(self, visit: Visit, *, over: bool = False) -> None:
        """Save it; in the history only what is over, or still ahead when Baton comes."""
        hospital = self.hospital
        if over or hospital.live or hospital.days.of(visit.start) >= hospital.days.history or visit.timeless:
            hospital.put(self._resource(visit))

    def _resource(self, visit: Visit) -> dict[str, Any]:
        people = [f"Patient/{visit.patient}", f"Practitioner/d{visit.practitioner}"]
        end = visit.start + timedelta(minutes=25)
        timed = not visit.timeless
        return {
            "resourceType": "Appointment",
            "id": visit.id,
            "status": visit.status,
            "serviceType": codes.service(visit.service),
            "created": text(visit.created),
            "start": text(visit.start) if timed else None,
            "end": text(end) if timed else None,
            "requestedPeriod": None if timed else [{"start": text(visit.start), "end": text(end)}],
            "basedOn": [{"reference": visit.order.ref}] if visit.order and visit.linked else None,
            "cancelationReason": codes.cancelled(visit.cancelled_by) if visit.cancelled_by else None,
            "participant": [{"actor": {"reference": who}, "status": "accepted"} for who in people],
        }

    def _encounter(self, visit: Visit, id: str, status: str) -> None:
        over = status == "finished"
        end = text(self.hospital.now) if over else None
        period = {"start": text(visit.start), **({"end": end} if end else {})}
        self.hospital.put(
            {
                "resourceType": "Encounter",
                "id": id,
                "status": status,
                "class": {"system": codes.ACT, "code": "AMB"},
                "subject": {"reference": f"Patient/{visit.patient}"},
                "appointment": [{"reference": visit.ref}],
                "period": period,
            }
        )


def _either(first: float, then: float) -> float:
    """The share that the first brings, or else the second."""
    return first + (1 - first) * then


def hash_of(*parts: Any) -> int:
    """A number that is the same in every process."""
    found = 17
    for letter in "|".join(str(part) for part in parts):
        found = (found * 31 + ord(letter)) % 1_000_003
    return found


__all__ = ["PRIMARY", "Visit", "Visits", "hash_of"]
