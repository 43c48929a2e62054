"""Coverages and what payers answer about them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.clinic import codes
from tests.clinic.days import text

if TYPE_CHECKING:
    from tests.clinic.hospital import Hospital
    from tests.clinic.orders import Order
    from tests.clinic.visits import Visit


@dataclass(slots=True)
class Plan:
    """A payer's plan: the classes that ask for authorization, and the one that it leaves out."""

    name: str
    flagged: tuple[str, ...]
    excluded: str


@dataclass(slots=True)
class Insured:
    """A Coverage. ``lapsed``: the payer says that it is not in force."""

    id: str
    patient: str
    plan: Plan
    lapsed: bool = False
    ended: bool = False

    @property
    def ref(self) -> str:
        return f"Coverage/{self.id}"


class Payers:
    """Who is insured how, and the checks before visits."""

    def __init__(self, hospital: Hospital) -> None:
        self.hospital = hospital
        rng = hospital.rng
        self._plans = [self._plan(number) for number in range(hospital.volumes.plans)]
        self._plan_weights = [rng.uniform(0.3, 1.7) for _ in self._plans]
        self._insured: dict[str, list[Insured]] = defaultdict(list)
        self._all: dict[str, Insured] = {}
        self._silent: tuple[int, str] = (-1, "")

    def _plan(self, number: int) -> Plan:
        rng = self.hospital.rng
        flagged = tuple(code for code, (_, share) in codes.CLASSES.items() if rng.random() < share)
        [excluded] = rng.choices(list(codes.EXCLUDED), list(codes.EXCLUDED.values()))
        return Plan(f"Plan {number + 1}", flagged, excluded)

    def find(self, ref: str) -> Insured | None:
        """A coverage by its reference."""
        return self._all.get(ref)

    def first(self, patient: str) -> str:
        """The coverage that is asked first."""
        alive = [one.ref for one in self._insured[patient] if not one.ended]
        return alive[0] if alive else ""

    def insure(self, patient: str) -> None:
        """A patient is registered with his coverages."""
        self._cover(patient)
        if self.hospital.chance(self.hospital.volumes.coverages - 1):
            self._cover(patient)

    def _cover(self, patient: str) -> Insured:
        [plan] = self.hospital.rng.choices(self._plans, self._plan_weights)
        insured = Insured(self.hospital.id("c"), patient, plan)
        self._insured[patient].append(insured)
        self._all[insured.ref] = insured
        self._save(insured)
        return insured

    def _save(self, insured: Insured) -> None:
        period = {"start": "2024-01-01"}
        if insured.ended:
            period["end"] = self.hospital.days.date(self.hospital.today).isoformat()
        self.hospital.put(
            {
                "resourceType": "Coverage",
                "id": insured.id,
                "status": "cancelled" if insured.ended else "active",
                "beneficiary": {"reference": f"Patient/{insured.patient}"},
                "subscriberId": f"S{insured.id}",
                "payor": [{"display": insured.plan.name}],
                "period": period,
            }
        )

    def day(self) -> None:
        """A day begins: somebody changes plan, and a payer may not answer."""
        hospital = self.hospital
        for _ in range(hospital.number(hospital.volumes.new_insurance)):
            hospital.later(0, self._changes_plan)
        if hospital.chance(hospital.volumes.outages):
            self._silent = (hospital.today, hospital.rng.choice(self._plans).name)

    def _changes_plan(self) -> None:
        patient = self.hospital.patient()
        for insured in self._insured[patient][:1]:
            self.replace(insured)

    # --- checks

    def expect(self, visit: Visit) -> None:
        """A visit is booked: each coverage is checked five working days before, many a second time."""
        hospital = self.hospital
        day = hospital.days.of(visit.start)
        first = max(day - 5, hospital.today)
        second = hospital.chance(hospital.volumes.answers - 1)
        for insured in self._insured[visit.patient]:
            hospital.at(hospital.days.at(first, hospital.rng.uniform(7.1, 16)), self._check, visit, insured)
            if second:
                last = max(day - 1, hospital.today)
                hospital.at(hospital.days.at(last, hospital.rng.uniform(12, 17)), self._check, visit, insured)

    def _check(self, visit: Visit, insured: Insured) -> None:
        hospital, volumes = self.hospital, self.hospital.volumes
        if visit.status != "booked" or visit.start <= hospital.now or insured.ended:
            return
        if not insured.lapsed and hospital.chance(volumes.not_in_force):
            insured.lapsed = True
            if hospital.chance(volumes.desk_mends):
                hospital.later(hospital.rng.uniform(0, 6), self.mend, insured)
        if self._silent == (hospital.today, insured.plan.name) or hospital.chance(volumes.errors):
            self._fails(insured)
        else:
            self.answer(insured)

    def _fails(self, insured: Insured) -> None:
        hospital, volumes = self.hospital, self.hospital.volumes
        if hospital.chance(1 / 6):  # choice: one in six failures is a queue that answers the same day
            self._save_answer(insured, "queued", [], named=True)
            hospital.later(0, self.answer, insured)
            return
        self._save_answer(insured, "error", [], named=not hospital.chance(volumes.nameless_errors))
        if hospital.chance(volumes.retried):
            hospital.later(hospital.rng.uniform(0, 2), self.answer, insured)

    def answer(self, insured: Insured, order: Order | None = None) -> None:
        """The payer answers; with an order: that it is authorized."""
        if insured.ended:
            return
        items = self._items(insured.plan)
        if order is not None:
            code = codes.concept(order.what.system, order.what.code, order.what.words)
            items = [{"productOrService": code, "authorizationRequired": True}]
        self._save_answer(insured, "complete", items, number="A1" if order is not None else "")

    def _items(self, plan: Plan) -> list[dict[str, Any]]:
        names = {code: words for code, (words, _) in codes.CLASSES.items()} | codes.NOT_COVERED
        items = []
        for code in dict.fromkeys([*plan.flagged, plan.excluded, "4", "5", "3"]):
            item: dict[str, Any] = {"category": codes.concept(codes.X12, code, names[code])}
            if code in plan.flagged:
                item["authorizationRequired"] = True
            item["excluded"] = code == plan.excluded
            items.append(item)
        return items

    def _save_answer(
        self,
        insured: Insured,
        outcome: str,
        items: list[dict[str, Any]],
        *,
        named: bool = True,
        number: str = "",
    ) -> None:
        hospital = self.hospital
        said: dict[str, Any] = {"coverage": {"reference": insured.ref}}
        if outcome == "complete":
            said["inforce"] = not insured.lapsed
            said["item"] = items if not insured.lapsed else None
            said = {name: value for name, value in said.items() if value is not None}
        hospital.count("answers")
        hospital.count(outcome if outcome != "complete" else "not in force" if insured.lapsed else outcome)
        hospital.put(
            {
                "resourceType": "CoverageEligibilityResponse",
                "id": hospital.id("a"),
                "status": "active",
                "purpose": ["auth-requirements", "benefits", "validation"],
                "patient": {"reference": f"Patient/{insured.patient}"},
                "created": text(hospital.now),
                "outcome": outcome,
                "insurer": {"display": insured.plan.name},
                "preAuthRef": number or None,
                "insurance": [said] if named else None,
            }
        )

    # --- mending

    def at_desk(self, patient: str) -> None:
        """The patient is here: a new card is often shown."""
        for insured in self._insured[patient]:
            if (
                insured.lapsed
                and not insured.ended
                and self.hospital.chance(self.hospital.volumes.shown_at_check_in)
            ):
                self.mend(insured)

    def mend(self, insured: Insured) -> None:
        """Somebody finds out: it is in force after all, or there is another."""
        if not insured.lapsed or insured.ended:
            return
        if self.hospital.chance(0.5):
            insured.lapsed = False
            self.answer(insured)
        else:
            self.replace(insured)

    def replace(self, insured: Insured) -> None:
        """The coverage ended; the patient has a new one, and it is checked."""
        if insured.ended:
            return
        insured.ended = True
        self._insured[insured.patient].remove(insured)
        self._save(insured)
        self.answer(self._cover(insured.patient))

    # --- authorization

    def really_needed(self, order: Order) -> bool:
        """Whether the plan wants authorization for this very order: MRI and CT by their own class."""
        classes = {"referral": "3", "laboratory": "5", "imaging": "4"}
        named = "62" if order.what.code in ("70551", "73721", "71260") else classes.get(order.what.kind, "")
        return any(named in one.plan.flagged for one in self._insured[order.patient])

    def needed(self, order: Order) -> None:
        """An order was written: some are authorized by the ordering office without anybody's task."""
        hospital = self.hospital
        if self.really_needed(order) and hospital.chance(hospital.volumes.authorized_alone):
            hospital.later(hospital.rng.uniform(0, 4), self.authorize, order)

    def authorize(self, order: Order) -> None:
        """The payer gives its number for an order."""
        insured = self._insured[order.patient]
        if insured:
            self.answer(insured[0], order)
