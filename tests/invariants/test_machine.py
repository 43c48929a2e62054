"""A small hospital in which anything may happen, in any order; what has to hold holds all the same.

The hospital books, cancels and revokes, a coordinator works on her list, the server has its habits and bad days,
Baton is killed, started anew, put back to an older ledger, and meets a second one that took over.
``BATON_EXAMPLES`` makes more of it; ``BATON_SHRINK=0`` stops at the first failure, as it is.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule, run_state_machine_as_test

from adapter import control
from adapter.errors import BatonError, Unsafe
from adapter.model import Task
from adapter.sandbox import Habits
from tests.consistency.hospital import DAY
from tests.invariants.ward import PEOPLE, Ward, numbers
from tests.invariants.watch import OWN

EXAMPLES = int(os.environ.get("BATON_EXAMPLES", "8"))
#: Whether a failure is made as short as can be, which takes minutes.
SHRINKS = os.environ.get("BATON_SHRINK", "1" if EXAMPLES <= 50 else "0") == "1"


class Machine(Ward):
    """See the module's first lines."""

    def __init__(self) -> None:
        super().__init__()
        self._foreign()
        self._pass()

    def teardown(self) -> None:
        try:
            self._settled()
        finally:
            self.town.stop()
            self.ehr.stop()
            shutil.rmtree(self.folder)

    # --- Baton and time

    @rule(hours=st.sampled_from([0, 1, 5, 30, 80]))
    def time_passes(self, hours: int) -> None:
        self.clock.advance(timedelta(hours=hours, seconds=2))
        self._pass()

    @rule(days=st.integers(1, 4))
    def days_pass(self, days: int) -> None:
        for _ in range(days):
            self.clock.advance(DAY)
            self._pass()

    @rule()
    def a_season_passes(self) -> None:
        """Nothing ends by the clock alone."""
        self.clock.advance(100 * DAY)
        self._pass()

    @rule()
    def looks_twice(self) -> None:
        self._pass()
        self._pass()

    @rule(sweep=st.booleans())
    def passes(self, sweep: bool) -> None:
        self._pass(sweep=sweep)

    @rule()
    def starts_anew(self) -> None:
        self.town.start()

    @rule()
    def is_copied(self) -> None:
        self.made += 1
        name = f"copy{self.made}.db"
        self.town.ledger.export(self.folder / name)
        self.copies.append(name)

    @precondition(lambda self: self.copies)
    @rule(number=numbers)
    def is_put_back(self, number: int) -> None:
        """The ledger of some time ago takes over from the present one."""
        name = self.copies.pop(number % len(self.copies))
        self.watch.new_ledger()
        self.town.start(name)
        self._take_over()

    @rule()
    def is_taken_over(self) -> None:
        """A second Baton with a ledger of its own takes over while the first goes on: that one stops by itself."""
        first = self.town.app
        self.watch.new_ledger()
        self.copies.append(self.town.ledger_name)
        del self.town.app
        self.made += 1
        self.town.start(f"second{self.made}.db")
        try:
            taken = self._take_over()
            before = self._task_writes()
            if taken:
                for body in self._open_work():  # there is something to write
                    focus = body.get("focus", {}).get("reference", "")
                    if focus.startswith("ServiceRequest/") and self.ehr.get(focus):
                        self.ehr.edit(focus, code={"text": f"Clinic {self.made}"})
                try:
                    first.sync()
                except BatonError as fault:
                    assert isinstance(fault, Unsafe), fault
                assert self._task_writes() == before, "the first one still writes"
        finally:
            first.close()

    @rule(paused=st.booleans())
    def is_paused(self, paused: bool) -> None:
        (control.pause if paused else control.resume)(self.town.app, "schedule-referral")

    # --- what holds always

    def _pass(self, *, meanwhile: bool = False, **options: Any) -> bool:
        """A pass, whatever the server does to it: True where it went through; ``meanwhile``: while work goes on."""
        before = {t.id: t for t in self.town.tasks()}
        self.ehr.clear_requests()
        self.clock.advance(timedelta(seconds=2))
        self.watch.before_pass()
        try:
            report = self.town.app.sync(**options)
        except Unsafe:
            return False
        assert report.failed == 0, [s.errors for s in report.sources]
        for asked in self.ehr.sent("PUT"):
            id = asked.path.rpartition("/")[2]
            assert asked.type not in ("Task", "CarePlan") or id.startswith(("b-", "bp-")), asked.path
        habits = self.ehr.habits
        odd = habits.truncate_at or habits.whole_days or habits.tags != "merged" or habits.missing
        quiet = not (self.bad_day or odd or habits.refused or meanwhile)
        through = not any(source.failed for source in report.sources)
        self.watch.after_pass(before, through=through, quiet=quiet)
        self._foreign_versions()
        self._hers_stand()
        return through

    def _foreign(self) -> None:
        """Work of another application, beside Baton's."""
        about = {"for": {"reference": "Patient/p1"}, "intent": "order", "status": "requested"}
        self.ehr.put({"resourceType": "Task", "id": "b-not-ours-1", **about})
        subject = {"subject": {"reference": "Patient/p1"}, "intent": "plan", "status": "active"}
        self.ehr.put({"resourceType": "CarePlan", "id": "bp-not-ours-1", **subject})
        self._foreign_versions()

    def _foreign_versions(self) -> None:
        for ref in ("Task/b-not-ours-1", "CarePlan/bp-not-ours-1"):
            assert all("identifier" not in (version.resource or {}) for version in self.ehr.versions(ref))
            assert (self.ehr.get(ref) or {}).get("status") in ("requested", "active")

    # --- what holds when everything has come to rest

    def _settled(self) -> None:
        self.ehr.faults.clear()
        self.ehr.deliver_late()
        self.ehr.habits = Habits(
            truncate_at=self.ehr.habits.truncate_at,
            whole_days=self.ehr.habits.whole_days,
            tags=self.ehr.habits.tags,
        )
        self.bad_day = False
        for who in PEOPLE:
            self._dies(who, False)
        for body in self.ehr.all("ServiceRequest"):
            if "status" not in body:
                self.ehr.edit(f"ServiceRequest/{body['id']}", status="active")
                self._happened(f"ServiceRequest/{body['id']}")
        control.resume(self.town.app, "schedule-referral")
        self._goes_on()
        work = self.watch.open_work()
        self.clock.advance(4 * DAY)  # a business day, at least, without a sweep
        self._goes_on()
        assert self._pass()
        self.watch.agrees(work)
        for _ in range(2):
            self.clock.advance(2 * DAY)
            assert self._pass(sweep=True)
        self.watch.agrees()
        self._quiet()
        self._rebuilt()
        self._one_task_per_need()
        self._as_needed()
        self._hers_stand()
        self._theirs_stand()
        self.ehr.touch_all()
        self._quiet()
        self._a_fresh_ledger_agrees()

    def _a_fresh_ledger_agrees(self) -> None:
        """Whatever was polled in whatever order: who comes new to this EHR leaves it as it is."""
        said = {body["id"]: body["status"] for body in self.ehr.all("Task")}
        touched = {task.focus for task in self.town.tasks() if f"Task/{task.id}" in self.touched}
        held = {task.focus for task in self.town.tasks() if task.closed_by == "command"} | touched
        self.made += 1
        self.town.start(f"fresh{self.made}.db")
        self._take_over()
        for _ in range(2):
            self.clock.advance(timedelta(minutes=5))
            assert self._pass()
        now = {body["id"]: body["status"] for body in self.ehr.all("Task")}
        assert {id: now.get(id) for id in said} == said
        assert {task.focus for task in self.town.tasks() if task.id not in said} <= held

    def _goes_on(self) -> None:
        """A pass; where so much was lost that the EHR may have been restored, a person says go."""
        if not self._pass() and self._is_unsafe():
            self._take_over()

    def _is_unsafe(self) -> bool:
        try:
            self.town.sync()
        except Unsafe:
            return True
        return False

    def _quiet(self) -> None:
        """A pass more writes nothing; that holds for the second at the latest, after what time alone has brought."""
        for last in (False, True):
            self.ehr.clear_requests()
            self.clock.advance(timedelta(seconds=2))
            report = self.town.app.sync()
            if not report.tasks and not self._task_writes():
                return
            assert not last, (report.tasks, [(r.path, r.status) for r in self.ehr.sent("PUT")])

    def _rebuilt(self) -> None:
        ledger = self.town.ledger
        assert ledger.check() == []
        before = self.town.tasks()
        ledger.rebuild()
        assert self.town.tasks() == before

    def _one_task_per_need(self) -> None:
        found: Counter[str] = Counter()
        rows = {task.id: task for task in self.town.tasks()}
        for body in self.ehr.all("Task"):
            own = [i["value"] for i in body.get("identifier", []) if i.get("system") == OWN]
            if not own or f"Task/{body['id']}" in self.watch.copies:
                continue
            row = rows[body["id"]]
            if row.gone:
                assert body["status"] == "entered-in-error", (row, body)
                continue
            assert row.status.value == body["status"], (row, body)
            found[own[0]] += row.open
        assert all(count <= 1 for count in found.values()), found
        for task in rows.values():
            assert not task.open or self.ehr.get(f"Task/{task.id}") is not None, "open work that nobody sees"

    def _as_needed(self) -> None:
        """Of orders whose work nobody touched: exactly those have an open task that need one."""
        by_focus: dict[str, list[Task]] = {}
        for task in self.town.tasks("schedule-referral"):
            by_focus.setdefault(task.focus, []).append(task)
        for body in self.ehr.all("ServiceRequest"):
            focus = f"ServiceRequest/{body['id']}"
            tasks = by_focus.get(focus, [])
            if any(f"Task/{task.id}" in self.touched or task.closed_by == "command" for task in tasks):
                continue
            if body["status"] == "on-hold" or len(tasks) >= 3:
                continue  # opens nothing, and ends nothing that is open; or may wait since it came and went
            there = sum(task.open for task in tasks)
            if not there and self.clock.now() - self.ordered[focus] > 170 * DAY:
                continue  # what ended so late does not open again: nobody acts on an order of half a year ago
            assert there == int(self.watch.needed(focus)), (
                focus,
                body["status"],
                self.watch.booked(focus),
                tasks,
            )

    def _hers_stand(self) -> None:
        for ref, said in self.hers.items():
            held = self.ehr.get(ref)
            assert held is not None, ref
            for element, value in said.items():
                there = held["restriction"]["period"]["end"] if element == "due" else held.get(element)
                if element == "status" and value in ("in-progress", "accepted"):
                    continue  # work that was begun may end by evidence, two quiet business days later
                if element == "due" and self.ehr.habits.whole_days:
                    continue
                assert there == value, (ref, element, value, there)

    def _theirs_stand(self) -> None:
        for ref, detail in self.theirs.items():
            plan = self.ehr.get(ref)
            assert plan is not None and {"detail": detail} in plan.get("activity", []), (ref, detail, plan)

    def _take_over(self) -> bool:
        done = self._pass(take_over=True)
        self.clock.advance(timedelta(minutes=3))
        return done

    def _task_writes(self) -> list[str]:
        return [r.path for r in self.ehr.sent("PUT") if r.type in ("Task", "CarePlan")]


def test_whatever_happens() -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    profile = settings(
        max_examples=EXAMPLES,
        stateful_step_count=24,
        deadline=None,
        suppress_health_check=checks,
        database=None,
        derandomize="BATON_EXAMPLES" not in os.environ,  # the same few in every `make test`
        report_multiple_bugs=False,
        phases=tuple(Phase) if SHRINKS else (Phase.generate,),
    )
    run_state_machine_as_test(Machine, settings=profile)
