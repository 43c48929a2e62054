"""What befalls patients beside visits: stays in hospital, death, merged charts, and edits that change nothing."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from tests.clinic import codes
from tests.clinic.days import text

if TYPE_CHECKING:
    from tests.clinic.hospital import Hospital

_TOUCHED = ("Appointment", "ServiceRequest", "CoverageEligibilityResponse", "Patient")


class People:
    """Stays, deaths, merges and touches."""

    def __init__(self, hospital: Hospital) -> None:
        self.hospital = hospital

    def day(self) -> None:
        """A day begins."""
        hospital, volumes = self.hospital, self.hospital.volumes
        for _ in range(hospital.number(volumes.stays)):
            hospital.later(0, self._admit)
        for _ in range(hospital.number(volumes.deaths)):
            hospital.later(0, self._die)
        for _ in range(hospital.number(volumes.merges)):
            hospital.later(0, self._merge)
        for _ in range(hospital.number(volumes.touches) if hospital.live else 0):
            hospital.later(0, self._touch)

    def _admit(self) -> None:
        hospital, volumes = self.hospital, self.hospital.volumes
        patient, stay, since = hospital.patient(), hospital.id("e"), hospital.now
        hospital.count("admitted")
        self._save(patient, stay, since, None)
        made = [
            hospital.orders.make(patient, hospital.rng.choice(codes.WARD), stay, 0, ward=True)
            for _ in range(hospital.poisson(volumes.ward_orders))
        ]
        days = 1 + hospital.rng.expovariate(1 / volumes.stay_days)
        for order in made[::2]:
            hospital.later(days, hospital.orders.finish, order, "completed")
        hospital.later(days, self._save, patient, stay, since, "home")

    def _save(self, patient: str, stay: str, since: datetime, disposition: str | None) -> None:
        period = {"start": text(since)}
        more: dict[str, Any] = {}
        if disposition:
            period["end"] = text(self.hospital.now)
            more["hospitalization"] = {
                "dischargeDisposition": codes.concept(
                    "http://terminology.hl7.org/CodeSystem/discharge-disposition", disposition, "Home"
                )
            }
        self.hospital.put(
            {
                "resourceType": "Encounter",
                "id": stay,
                "status": "finished" if disposition else "in-progress",
                "class": {"system": codes.ACT, "code": "IMP"},
                "subject": {"reference": f"Patient/{patient}"},
                "period": period,
                **more,
            }
        )

    def _die(self) -> None:
        hospital = self.hospital
        patient = hospital.patient()
        hospital.dead.add(patient)
        hospital.count("died")
        hospital.ehr.change(f"Patient/{patient}", hospital.now, deceasedDateTime=text(hospital.now))

    def _merge(self) -> None:
        hospital = self.hospital
        gone, stays = hospital.patient(), hospital.patient()
        if gone == stays or gone in hospital.survivor.values():
            return
        hospital.survivor[gone] = stays
        hospital.count("merged")
        for one, other, kind in ((gone, stays, "replaced-by"), (stays, gone, "replaces")):
            held = hospital.ehr.get(f"Patient/{one}").get("link", [])
            link = {"other": {"reference": f"Patient/{other}"}, "type": kind}
            hospital.ehr.change(f"Patient/{one}", hospital.now, link=[*held, link])

    def _touch(self) -> None:
        """A job, an interface, or somebody who only pressed "save"."""
        hospital = self.hospital
        kind = hospital.rng.choice(_TOUCHED)
        ref = hospital.ehr.newest(kind, hospital.rng.randrange(20_000))
        if ref is not None:
            more = {"text": {"status": "generated", "div": f"<div>{hospital.rng.random()}</div>"}}
            hospital.ehr.change(ref, hospital.now, **(more if hospital.chance(0.5) else {}))
