"""A small hospital in which anything may happen: what the hospital, a coordinator and the server may do.

Each act tells the watch (:mod:`tests.invariants.watch`) what it did. Baton's own part, and what has to hold, are in
``test_machine.py``.
"""

from __future__ import annotations

import copy
import itertools
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from adapter.clock import FixedClock
from adapter.ledger import SourceRow
from adapter.sandbox import Habits, Sandbox
from adapter.sandbox.messages import Incoming
from tests.consistency.hospital import DAY, START, Hospital, order, patient, text, visit
from tests.invariants.watch import LATE, OWN, Watch

PEOPLE = ("p1", "p2", "p3")
#: What a server may do to single requests. Left out: what nobody could notice (a page that hides rows and says so
#: nowhere, on the very first walk), and a 410 for what is there: that is what a deletion looks like.
KINDS = ("status", "rate-limit", "html", "drop", "lost-response", "late", "cut", "malformed", "repeat")
HABITS: dict[str, tuple[Any, ...]] = {
    "newest_first": (True, False),
    "ignore_sort": (True, False),
    "repeat_entries": (True, False),
    "reorder_entries": (True, False),
    "stale_status": (412, 409),
    "if_match_on_missing": ("refuse", "create"),
    "identical_put_makes_version": (True, False),
    "conditional_create": (False, True),
    "enforce_references": (False, True),
    "gone_status": (404, 410),
    "tags": ("dropped", "merged"),
    "truncate_at": (12, 0),
    "whole_days": (True, False),
    "history": (False, True),
    "updated_back": (timedelta(seconds=20), timedelta(0)),
    "search_cache": (timedelta(minutes=1), timedelta(0)),
}
REFUSED = ("Appointment", "ServiceRequest", "Encounter", "Task", "Patient", "DiagnosticReport")

numbers = st.integers(0, 40)


class Ward(RuleBasedStateMachine):
    """The hospital, before anything has happened; whoever adds Baton to it says what a pass is."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="baton-ward-"))
        self.clock = FixedClock(START)
        self.ehr = Sandbox(clock=self.clock, habits=Habits())
        self.ehr.start()
        source = {"live_from": text(START - 30 * DAY)[:10], "page_size": 3, "overlap": "30s"}
        self.town = Hospital(self.folder, self.ehr, self.clock, source=source)
        self.town.ledger.save_source(SourceRow(name="general", key="ward"))  # else each ledger draws its own
        self.orders = self.made = 0
        self.copies: list[str] = []
        self.hers: dict[str, dict[str, Any]] = {}
        self.touched: set[str] = set()
        self.theirs: dict[str, Any] = {}
        self.copied: set[str] = set()
        self.ordered: dict[str, datetime] = {}
        self.bad_day = False
        self.watch = Watch(self.town, self.ehr)
        for number in range(3):
            self.ehr.put({"resourceType": "Practitioner", "id": f"n{number}"})
        for who in PEOPLE:
            self.ehr.put(patient(who))
            self.orders_something(who, 10, hurried=False)

    def _pass(self, *, meanwhile: bool = False, **options: Any) -> bool:
        raise NotImplementedError

    def _foreign_versions(self) -> None:
        raise NotImplementedError

    # --- the hospital

    @rule(
        who=st.sampled_from(PEOPLE),
        days=st.integers(0, 12),
        hurried=st.booleans(),
        dated=st.sampled_from([1, 1, 0]),
    )
    def orders_something(self, who: str, days: int, hurried: bool, dated: int = 1) -> None:
        self.orders += 1
        more = {"priority": "urgent"} if hurried else {}
        made = order(f"o{self.orders}", who, **more)
        made["authoredOn"] = text(self.clock.now() - days * DAY)
        if not dated:
            del made["authoredOn"]
        self.ehr.put(made)
        self.ordered[f"ServiceRequest/o{self.orders}"] = self.clock.now() - days * DAY
        self._happened(f"ServiceRequest/o{self.orders}")

    @rule(number=numbers, status=st.sampled_from(["active", "revoked", "on-hold", "active"]))
    def changes_an_order(self, number: int, status: str) -> None:
        if ref := self._some("ServiceRequest", number):
            self.ehr.edit(ref, status=status)
            self._happened(ref)

    @rule(number=numbers)
    def garbles_an_order(self, number: int) -> None:
        """Its newest version cannot be used: what it says is unknown until somebody mends it."""
        if ref := self._some("ServiceRequest", number):
            self.ehr.edit(ref, status=None)
            self._happened(ref)

    @rule(number=numbers, days=st.integers(1, 30))
    def books(self, number: int, days: int) -> None:
        if ref := self._some("ServiceRequest", number):
            self._visit(ref, "booked", days)

    @rule(number=numbers, times=st.integers(1, 3))
    def books_and_cancels(self, number: int, times: int) -> None:
        """A visit that comes and goes, a few days each time."""
        if ref := self._some("ServiceRequest", number):
            for _ in range(times):
                self._visit(ref, "booked", 10)
                self._pass()
                self._visit(ref, "cancelled", 10)
                for _ in range(2):
                    self.clock.advance(DAY)
                    self._pass()

    @rule(number=numbers, status=st.sampled_from(["cancelled", "booked"]))
    def changes_a_visit(self, number: int, status: str) -> None:
        if ref := self._some("Appointment", number):
            self.ehr.edit(ref, status=status)
            self._happened(ref)

    @rule(number=numbers, who=st.sampled_from(PEOPLE))
    def gives_an_order_to_another(self, number: int, who: str) -> None:
        ref = self._some("ServiceRequest", number)
        if ref and not self.ehr.get(f"Appointment/v{ref.partition('/o')[2]}"):
            self.ehr.edit(ref, subject={"reference": f"Patient/{who}"})
            self.watch.moved.add(ref)
            self._happened(ref)

    @rule(who=st.sampled_from(PEOPLE), dead=st.booleans())
    def is_said_to_be_dead(self, who: str, dead: bool) -> None:
        self._dies(who, dead)

    @rule(who=st.sampled_from(PEOPLE), hours=st.integers(0, 3))
    def is_said_to_be_dead_by_mistake(self, who: str, hours: int) -> None:
        """It is put right the same day: work waits meanwhile, and nothing of it is lost."""
        self._dies(who, True)
        self._pass()
        self.clock.advance(timedelta(hours=hours))
        self._pass()
        self._dies(who, False)
        self._pass()

    def _dies(self, who: str, dead: bool) -> None:
        self.ehr.edit(f"Patient/{who}", deceasedBoolean=dead or None)
        self.watch.died(f"Patient/{who}", dead)

    @rule(loser=st.sampled_from(PEOPLE[:2]), silently=st.booleans(), moved=st.booleans())
    def merges(self, loser: str, silently: bool, moved: bool) -> None:
        """Into the third, with the orders and visits or without, with new versions or in place."""
        kinds = ("ServiceRequest", "Appointment") if moved else ()
        self.watch.merged(f"Patient/{loser}", "Patient/p3", kinds, silently=silently)
        self.ehr.merge(f"Patient/{loser}", "Patient/p3", repoint=kinds, silently=silently)

    @rule(who=st.sampled_from(PEOPLE))
    def parts_again(self, who: str) -> None:
        self.ehr.edit(f"Patient/{who}", link=None, active=True)
        self.watch.changed()

    @rule(kind=st.sampled_from(["", "ServiceRequest", "Appointment", "Task"]))
    def touches_everything(self, kind: str) -> None:
        self.ehr.touch_all(kind)
        self._foreign_versions()

    @rule(seconds=st.sampled_from([0, 20, 50]))  # a request that takes a minute is given up
    def works_on_during_a_long_walk(self, seconds: int) -> None:
        """A walk of several pages takes longer than any overlap, and what it has shown, and will show, changes.

        What has no open task, so that no reread brings it.
        """
        while self.orders < 10:  # four pages: o1 o10 o2, o3 o4 o5, o6 o7 o8, o9
            self.orders += 1
            draft = order(f"o{self.orders}", PEOPLE[0], status="draft", authoredOn=text(self.clock.now()))
            self.ehr.put(draft)
            self.ordered[f"ServiceRequest/o{self.orders}"] = self.clock.now()
        self.ehr.touch_all("ServiceRequest")
        pages = itertools.count()

        def meanwhile(asked: Incoming) -> bool:
            if asked.method == "GET" and asked.type in ("ServiceRequest", "") and "_id" not in asked.query:
                self.clock.advance(timedelta(seconds=seconds))
                number = next(pages)
                ref = f"ServiceRequest/o{4 if number < 3 else 9}"
                if number > 1 and self.ehr.get(ref):
                    self.ehr.edit(ref, reasonCode=[{"text": f"seen {number} {self.clock.now()}"}])
            return False

        fault = self.ehr.faults.plan("drop", where=meanwhile)
        self._pass(meanwhile=True)
        fault.left = 0
        self._pass()

    # --- the coordinator

    @rule(
        number=numbers,
        act=st.sampled_from(["status", "owner", "businessStatus", "due", "note", "delete", "error"]),
        way=numbers,
    )
    def works(self, number: int, act: str, way: int) -> None:
        if ref := self._some_task(number):
            self._works_on(ref, act, way)

    @rule(
        number=numbers,
        act=st.sampled_from(["status", "status", "owner", "due", "note"]),
        way=numbers,
        late=st.booleans(),
        before=st.sampled_from(["GET", "PUT"]),
    )
    def works_between_a_read_and_a_write(
        self, number: int, act: str, way: int, late: bool, before: str
    ) -> None:
        """Just before Baton reads a Task to write it, or writes it; and something makes it write, twice."""
        done: list[str] = []

        def hers(asked: Incoming) -> bool:
            ref = f"Task/{asked.path.rpartition('/')[2]}"
            if not done and asked.method == before and asked.type == "Task" and self._is_open_work(ref):
                done.append(ref)
                self._works_on(ref, act, way)
            return False

        fault = self.ehr.faults.plan("drop", where=hers)
        ref = self._some_task(number)
        focus = (self.ehr.get(ref) or {}).get("focus", {}).get("reference", "") if ref else ""
        for more in ({"priority": "asap" if late else "urgent"}, {}):
            if focus.startswith("ServiceRequest/") and self.ehr.get(focus):
                self.ehr.edit(focus, code={"text": f"Clinic {way + len(more)}"}, **more)
            self._pass(meanwhile=True)
        fault.left = 0

    @rule(
        number=numbers,
        ends=st.booleans(),
        hours=st.sampled_from([1, 30, 60]),
        more=st.sampled_from(["", "statusReason", "owner", "blind"]),
    )
    def begins_and_is_overtaken(self, number: int, ends: bool, hours: int, more: str) -> None:
        """She has begun when the visit is booked, or the order is revoked; and she goes on, seen or not."""
        ref = self._some_task(number)
        focus = (self.ehr.get(ref) or {}).get("focus", {}).get("reference", "") if ref else ""
        if not ref or not focus.startswith("ServiceRequest/") or not self.ehr.get(focus):
            return
        self._works_on(ref, "status", 0)
        if more == "statusReason":
            self._works_on(ref, more, hours)
        if ends:
            self.ehr.edit(focus, status="revoked")
            self._happened(focus)
        else:
            self._visit(focus, "booked", 5)
        self._pass()
        self.clock.advance(timedelta(hours=hours))
        if more == "blind":
            self.ehr.habits.refused = {"Task": 403}
        if more in ("owner", "blind") and self._is_open_work(ref):
            self._works_on(ref, "note", hours)
        self._pass()
        self.clock.advance(timedelta(hours=hours))
        self._pass()
        self.ehr.habits.refused = {}

    @rule(number=numbers, back=st.integers(1, 3))
    def saves_a_form_of_long_ago(self, number: int, back: int) -> None:
        """With all that stood in it then: what is Baton's is put right."""
        ref = self._some_task(number)
        if not ref or ref in self.touched or self.ehr.habits.whole_days or self.bad_day or not self._pass():
            return
        versions = self.ehr.versions(ref)
        if len(versions) <= back or versions[-1 - back].resource is None:
            return
        now = self.ehr.get(ref) or {}
        self.ehr.save_stale(ref, versions[-1 - back].label)
        if self._pass() and self._pass():
            after = self.ehr.get(ref) or {}
            if after.get("status") == now.get("status") == "requested":
                assert after["restriction"] == now["restriction"], (ref, "an old due date of ours came back")

    @rule(number=numbers)
    def copies_a_task(self, number: int) -> None:
        """The EHR's "Duplicate" button, with all identifiers."""
        if (ref := self._some_task(number)) and len(self.watch.copies) < 2:
            self.watch.copies.add(f"Task/{self.ehr.duplicate(ref)['id']}")
            self.copied.add(ref)

    @rule(way=numbers)
    def adds_to_a_plan(self, way: int) -> None:
        """A clinician adds to Baton's care plan what is hers."""
        for plan in self.ehr.all("CarePlan"):
            if plan["id"].startswith("bp-") and "identifier" in plan:
                ref, detail = (
                    f"CarePlan/{plan['id']}",
                    {"status": "in-progress", "description": f"Her own {way}"},
                )
                self.ehr.edit(ref, activity=[*plan.get("activity", []), {"detail": detail}])
                self.theirs[ref] = detail

    def _works_on(self, ref: str, act: str, way: int) -> None:
        self.touched.add(ref)
        if act == "delete":
            for plan in self.ehr.all("CarePlan"):
                left = [a for a in plan.get("activity", []) if a.get("reference", {}).get("reference") != ref]
                self.ehr.put(
                    {**plan, "activity": left} if left else {k: v for k, v in plan.items() if k != "activity"}
                )
            self.ehr.delete(ref)
            self.hers.pop(ref, None)
            self.watch.person_deleted(ref)
            return
        act, value = ("status", "entered-in-error") if act == "error" else (act, _value(act, way, self.clock))
        held = self.ehr.get(ref)
        assert held is not None
        if act == "due":
            period = {**held.get("restriction", {}).get("period", {}), "end": value}
            self.ehr.edit(ref, restriction={**held.get("restriction", {}), "period": period})
        elif act == "note":
            value = [*held.get("note", []), {"text": f"called {way}"}]
            self.ehr.edit(ref, note=value)
        else:
            self.ehr.edit(ref, **{act: value})
        self.hers.setdefault(ref, {})[act] = value
        if held.get(act) != value:  # what was there before is no touch that anybody could see
            self.watch.person_set(ref, act, value)

    # --- the server

    @rule(name=st.sampled_from(sorted(HABITS)), other=st.booleans())
    def has_a_habit(self, name: str, other: bool) -> None:
        setattr(self.ehr.habits, name, HABITS[name][int(other)])

    @rule(number=numbers, plans=st.booleans())
    def loses_a_task(self, number: int, plans: bool) -> None:
        """It was acknowledged, and is gone without a trace, alone or with its plan: nobody deleted it."""
        ref = self._some_task(number)
        if not ref or ref in self.touched | self.copied | self.watch.vanished:
            return  # what is lost twice counts as deleted; where only a copy is left, a person has to say
        naming = {f"CarePlan/{p['id']}" for p in self.ehr.all("CarePlan") if ref in str(p.get("activity"))}
        if not naming & set(self.theirs):
            self._lose(ref, *(naming if plans else ()))

    def _lose(self, *refs: str) -> None:
        state = copy.deepcopy(self.ehr.snapshot())
        for ref in refs:
            state.chains.pop(ref, None)
            self.watch.lost(ref)
        self.ehr.restore(state)

    @rule()
    def finds_nothing(self) -> None:
        """For the length of a pass everything is 404, as behind a lost route or tenant: nothing was deleted."""
        before = {task.id: (task.status, task.gone) for task in self.town.tasks()}
        self.ehr.habits.missing = "outcome"
        self._pass()
        self.ehr.habits.missing = ""
        assert {task.id: (task.status, task.gone) for task in self.town.tasks()} == before

    @rule(number=numbers)
    def breaks_a_row(self, number: int) -> None:
        """One row is no JSON: the page that holds it does not parse, and all others count."""
        ref = self._some("ServiceRequest", number)
        self.ehr.habits.poison = frozenset({ref}) if ref and not self.ehr.habits.poison else frozenset()

    @rule(number=numbers, status=st.sampled_from(["revoked", "active"]))
    def hides_a_change(self, number: int, status: str) -> None:
        """New versions, one of which says something, are stamped weeks back: no poll shows them.

        Not of the newest row: an older version of that one is what a restored EHR looks like.
        """
        newest = self.town.ledger.walk("general", "ServiceRequest").anchor_ref
        refs = [ref for o in self.ehr.all("ServiceRequest") if (ref := f"ServiceRequest/{o['id']}") != newest]
        held = self.ehr.habits.updated_back
        self.ehr.habits.updated_back = LATE
        for place, ref in enumerate(refs):
            more = {"status": status} if place == number % len(refs) else {}
            self.ehr.edit(ref, reasonCode=[{"text": f"late {number}"}], **more)
            self.watch.hidden.add(ref)
            self._happened(ref)
        self.ehr.habits.updated_back = held

    @rule(type=st.sampled_from(REFUSED), status=st.sampled_from([403, 500]))
    def refuses_a_type(self, type: str, status: int) -> None:
        self.ehr.habits.refused = {type: status}

    @rule()
    def refuses_nothing(self) -> None:
        self.ehr.habits.refused = {}

    @rule(seed=st.integers(0, 999), rate=st.sampled_from([0.02, 0.1, 0.3]))
    def has_a_bad_day(self, seed: int, rate: float) -> None:
        self.ehr.faults.at_random(seed=seed, rate=rate, kinds=KINDS)  # type: ignore[arg-type]
        self.bad_day = True

    @rule()
    def has_a_good_day(self) -> None:
        self.ehr.faults.clear()
        self.bad_day = False

    # --- small things

    def _some(self, kind: str, number: int) -> str | None:
        found = sorted(one["id"] for one in self.ehr.all(kind))
        return f"{kind}/{found[number % len(found)]}" if found else None

    def _open_work(self) -> list[dict[str, Any]]:
        return [
            one
            for one in self.ehr.all("Task")
            if any(i.get("system") == OWN for i in one.get("identifier", []))
            and one["id"].startswith("b-")
            and one["status"] in ("requested", "in-progress", "accepted")
        ]

    def _is_open_work(self, ref: str) -> bool:
        return any(f"Task/{one['id']}" == ref for one in self._open_work())

    def _some_task(self, number: int) -> str | None:
        found = sorted(one["id"] for one in self._open_work())
        return f"Task/{found[number % len(found)]}" if found else None

    def _visit(self, ref: str, status: str, days: int) -> None:
        id = ref.partition("/")[2]
        who = (self.ehr.get(ref) or {})["subject"]["reference"].partition("/")[2]
        at = self.clock.now() + (days + 60) * DAY
        self.ehr.put(visit(f"v{id[1:]}", who, of=id, at=at, status=status))
        self._happened(ref)

    def _happened(self, ref: str) -> None:
        """Something happened to an order, or to the visit of one."""
        kind, _, id = ref.partition("/")
        self.watch.changed(ref if kind == "ServiceRequest" else f"ServiceRequest/o{id[1:]}")


def _value(act: str, way: int, clock: FixedClock) -> Any:
    choices: dict[str, Callable[[], Any]] = {
        "status": lambda: ("in-progress", "completed", "rejected", "accepted")[way % 4],
        "owner": lambda: {"reference": f"Practitioner/n{way % 3}"},
        "businessStatus": lambda: {"coding": [{"code": ("left-message", "attempted")[way % 2]}]},
        "due": lambda: text(clock.now() + (way + 40) * DAY),
        "note": lambda: None,
        "statusReason": lambda: {"text": f"waits for the family {way}"},
    }
    return choices[act]()
