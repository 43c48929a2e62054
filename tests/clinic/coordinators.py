"""The coordinators: they read the list in the EHR, most urgent first, and do what it asks for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.clinic.hospital import Hospital

HOURS = (9.5, 12.5, 15.5)
_OPEN = ("requested", "accepted", "in-progress")
Resource = dict[str, Any]


class Coordinators:
    """They take up at most so many tasks a day as people can. Shares of what comes of a call are choices."""

    def __init__(self, hospital: Hospital) -> None:
        self.hospital = hospital
        self._touched: dict[str, int] = {}
        volumes = hospital.volumes
        self._capacity = round(volumes.coordinators * volumes.closes_a_day * hospital.scale / len(HOURS))
        self._acts: dict[str, Callable[[Resource], bool]] = {
            "confirm-visit": self._confirm,
            "rebook-visit": self._rebook,
            "schedule-referral": self._schedule,
            "obtain-result": self._result,
            "verify-coverage": self._verify,
            "repeat-eligibility-check": self._repeat,
            "obtain-authorization": self._authorize,
        }

    def work(self) -> None:
        """A third of a day's work."""
        hospital = self.hospital
        ahead = [task for task in hospital.ehr.all("Task") if self._is_next(task)]
        ahead.sort(key=self._turn)
        for task in ahead[: self._capacity]:
            minutes = hospital.rng.uniform(0, 90)
            hospital.at(hospital.now + timedelta(minutes=minutes), self._take, task["id"])

    def _is_next(self, task: Resource) -> bool:
        if task["status"] not in _OPEN:
            return False
        since = self._touched.get(task["id"])
        return since is None or self.hospital.today >= since + 4  # a second call after four days

    @staticmethod
    def _turn(task: Resource) -> tuple[str, str, str]:
        """Most urgent first; then by what it is about, which the hospital's own numbers say."""
        due = task.get("restriction", {}).get("period", {}).get("end", "9999")
        code = "".join(sorted(coding["code"] for coding in task["code"].get("coding", ())))
        return due, task["focus"].get("reference", ""), code

    def _take(self, id: str) -> None:
        hospital = self.hospital
        task = hospital.ehr.get(f"Task/{id}")
        if task["status"] not in _OPEN:
            return
        second = id in self._touched
        self._touched[id] = hospital.today
        code = next((c["code"] for c in task["code"].get("coding", ()) if c["code"] in self._acts), "")
        leaves = code != "" and self._acts[code](task)
        if not leaves or second:
            self._set(id, "completed")
        elif hospital.chance(0.4):
            self._set(id, "in-progress")

    def _set(self, id: str, status: str, **more: Any) -> None:
        task = self.hospital.ehr.get(f"Task/{id}")
        if task["status"] in _OPEN:
            self.hospital.ehr.change(f"Task/{id}", self.hospital.now, status=status, **more)

    def _focus(self, task: Resource) -> str:
        ref: str = task["focus"].get("reference", "")
        return ref

    # --- each returns whether evidence is expected to close the task

    def _confirm(self, task: Resource) -> bool:
        hospital = self.hospital
        visit = hospital.visits.find(self._focus(task))
        if visit is None:
            return False
        if hospital.chance(0.8):
            hospital.visits.settle(visit)
        else:
            hospital.visits.cancel(visit, "patient", moved=False)
        return True

    def _rebook(self, task: Resource) -> bool:
        hospital = self.hospital
        visit = hospital.visits.find(self._focus(task))
        if visit is None or visit.replaced or not hospital.chance(0.75):
            return False  # nobody answers, or the patient does not want another
        hospital.visits.rebook(visit, linked=True)
        return True

    def _schedule(self, task: Resource) -> bool:
        hospital = self.hospital
        order = hospital.orders.find(self._focus(task))
        if order is None or order.booked or order.reported or not hospital.chance(0.6):
            return False  # it is settled elsewhere: outside, or under a visit that names no order
        hospital.orders.book(order, True)
        return True

    def _result(self, task: Resource) -> bool:
        hospital = self.hospital
        order = hospital.orders.find(self._focus(task))
        if order is None or order.reported or not hospital.chance(0.8):
            return False
        hospital.later(hospital.rng.uniform(1, 5), hospital.orders.report, order, "")
        return True

    def _verify(self, task: Resource) -> bool:
        insured = self.hospital.payers.find(self._focus(task))
        if insured is None or not self.hospital.chance(0.8):
            return False
        self.hospital.later(self.hospital.rng.uniform(0, 3), self.hospital.payers.mend, insured)
        return True

    def _repeat(self, task: Resource) -> bool:
        insured = self.hospital.payers.find(self._focus(task))
        if insured is None:
            return False
        self.hospital.payers.answer(insured)
        return True

    def _authorize(self, task: Resource) -> bool:
        hospital = self.hospital
        order = hospital.orders.find(self._focus(task))
        if order is None or not hospital.payers.really_needed(order):
            return False  # a call to the payer: none is needed for this
        submitted = {"coding": [{"system": "urn:clinic", "code": "submitted"}], "text": "submitted"}
        self._set(task["id"], "in-progress", businessStatus=submitted)
        hospital.later(hospital.rng.uniform(2, 6), hospital.payers.authorize, order)
        return True
