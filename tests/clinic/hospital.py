"""The hospital as a whole: its time, its patients, its departments, and the server on which all of it is saved."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from adapter.clock import FixedClock
from tests.clinic.days import Days
from tests.clinic.ehr import Ehr
from tests.clinic.orders import Orders
from tests.clinic.payers import Payers
from tests.clinic.people import People
from tests.clinic.visits import Visits
from tests.clinic.volumes import PATIENTS, Volumes

_HTEST = {"system": "http://terminology.hl7.org/CodeSystem/v3-ActReason", "code": "HTEST"}


class Hospital:
    """Events in the order of their time; each may bring about others.

    Args:
        volumes: how much happens.
        patients: how many patients there are; numbers a day are scaled by it.
        days: the working days.
        seed: of everything that is left to chance, the key of Baton's source included.
    """

    def __init__(self, volumes: Volumes, patients: int, days: Days, seed: int) -> None:
        self.volumes, self.days = volumes, days
        self.scale = patients / PATIENTS
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = days.at(0, 0)
        self.ehr = Ehr(FixedClock(self.now))
        self.happened: Counter[tuple[str, int]] = Counter()
        self._events: list[tuple[datetime, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._ids = itertools.count(1)
        self.patients = [f"p{number}" for number in range(patients)]
        self.dead: set[str] = set()
        self.survivor: dict[str, str] = {}
        weights = (
            self.rng.gammavariate(0.8, 1.0) for _ in self.patients
        )  # choice: a fifth comes half the time
        self._weights = list(itertools.accumulate(weights))
        self.payers = Payers(self)
        self.orders = Orders(self)
        self.visits = Visits(self)
        self.people = People(self)
        self._register()
        for day in range(days.last):
            self.at(days.at(day, 7), self._day, day)

    # --- time

    @property
    def today(self) -> int:
        """The number of the present working day."""
        return self.days.of(self.now)

    @property
    def live(self) -> bool:
        """Whether Baton watches: what nobody sees need not be saved twice."""
        return self.today >= self.days.history

    def at(self, when: datetime, happens: Callable[..., None], *what: Any) -> None:
        """Let something happen at a time; never in the past."""
        heapq.heappush(self._events, (max(when, self.now), next(self._order), happens, what))

    def later(self, days: float, happens: Callable[..., None], *what: Any) -> None:
        """Let something happen some working days from now, at an hour of business (under 1: the same day)."""
        whole = int(days)
        hour = self.rng.uniform(8, 17)
        when = self.days.at(self.today + whole, hour)
        self.at(when if when > self.now else self.now + timedelta(minutes=10), happens, *what)

    def run_until(self, when: datetime) -> None:
        """Let happen what happens until then."""
        while self._events and self._events[0][0] <= when:
            self.now, _, happens, what = heapq.heappop(self._events)
            happens(*what)
        self.now = when

    def _day(self, day: int) -> None:
        self.visits.day(day)
        self.payers.day()
        self.people.day()

    # --- chance

    def chance(self, share: float) -> bool:
        """Whether something of that share happens."""
        return self.rng.random() < share

    def number(self, a_day: float) -> int:
        """How often something happens today that happens ``a_day`` times a day in the whole clinic."""
        return self.poisson(a_day * self.scale)

    def poisson(self, mean: float) -> int:
        """A Poisson number."""
        if mean > 30:
            return max(0, round(self.rng.gauss(mean, math.sqrt(mean))))
        limit, product, found = math.exp(-mean), self.rng.random(), 0
        while product > limit:
            product *= self.rng.random()
            found += 1
        return found

    def patient(self) -> str:
        """A living patient; those who need more come more often."""
        while True:
            [found] = self.rng.choices(self.patients, cum_weights=self._weights)
            found = self.survivor.get(found, found)
            if found not in self.dead:
                return found

    # --- saving

    def id(self, letter: str) -> str:
        """A new id."""
        return f"{letter}{next(self._ids)}"

    def put(self, resource: dict[str, Any]) -> None:
        """Save a resource now; what is None is left out."""
        self.ehr.put({name: value for name, value in resource.items() if value is not None}, self.now)

    def count(self, what: str) -> None:
        """Note that something happened today."""
        self.happened[what, self.today] += 1

    def _register(self) -> None:
        tests = max(1, round(5 * self.scale))
        for number, id in enumerate(self.patients):
            active = not self.chance(self.volumes.inactive)
            meta = {"security": [_HTEST]} if number < tests else None
            self.put({"resourceType": "Patient", "id": id, "active": active, "meta": meta})
            self.payers.insure(id)
