"""Edited mappings, go-live, floods, withdrawn and removed rules: what Baton itself would cause."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from adapter import control
from adapter.errors import MappingError
from adapter.mapping.loader import load
from adapter.model import Request, Task
from adapter.reconcile import busy, guards, reconciler
from adapter.settings import packaged
from tests.consistency.hospital import DAY, HOUR, START, Hospital, hospital, order, patient, text, visit

RULE = """---
mapping: more
version: 1
title: More work on orders
resource: ServiceRequest
onset: authoredOn
lookback: 60 days
care_plan: referral
rules:
  - id: call-back
    need: call-back:{%ref}
    when: WHEN
    satisfied: status = 'completed'
    opens: {after: onset}
    due: {after: opens, by: 5 business days}
    performer: scheduler
    title: Call the patient back
    next: Call the patient.
    reason: The order asks for a call.
...
"""

WANTED, UNWANTED = "when: status = 'active' and kind()", "when: status = 'draft' and kind()"


@pytest.fixture
def edited(tmp_path: Path) -> Iterator[Hospital]:
    """A hospital whose mappings can be edited."""
    folder = tmp_path / "mappings"
    shutil.copytree(packaged("mappings"), folder)
    with hospital(tmp_path, page_size=2) as town:
        town.mappings = folder
        yield town


def add_rule(town: Hospital, when: str) -> None:
    assert town.mappings is not None
    (town.mappings / "more.yaml").write_text(RULE.replace("WHEN", when), encoding="utf-8")
    town.start()


def people(town: Hospital, count: int, **more: str) -> None:
    for number in range(count):
        town.ehr.put(patient(f"p{number}"))
        town.ehr.put(order(f"o{number}", f"p{number}", **more))


def test_f9_an_element_that_was_not_kept_is_unknown_and_not_absent(edited: Hospital) -> None:
    """The rule asks for orders without an instruction; it was never kept, and the reload breaks off half way."""
    people(edited, 4, patientInstruction="come fasting")
    edited.ehr.put(order("o9", "p0"))
    edited.good()
    assert len(edited.open()) == 5
    add_rule(edited, "patientInstruction.exists().not()")
    edited.ehr.faults.plan("status", status=500, where=lambda asked: "_getpages" in asked.query, times=99)
    edited.ehr.put(patient("new"))
    edited.ehr.put(visit("v1", "new", status="pending", at=START + 5 * DAY))
    edited.ehr.put(visit("v2", "p0", of="o9"))
    edited.sync()
    assert not {t.focus for t in edited.tasks("call-back")} - {"ServiceRequest/o9"}
    assert edited.tasks("confirm-visit"), "other rules go on"
    edited.ehr.faults.clear()
    edited.sync(passing=HOUR)
    assert [t.focus for t in edited.tasks("call-back")] == ["ServiceRequest/o9"]
    assert [t.focus for t in edited.tasks("schedule-referral") if not t.open] == ["ServiceRequest/o9"]


def test_f12_a_flood_is_counted_over_its_whole_cause(
    edited: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two persons a page and a limit of six: nine withdrawals wait whole, a stat order goes out meanwhile."""
    monkeypatch.setattr(guards, "LIMIT", 6)
    monkeypatch.setattr(reconciler, "PAGE", 2)
    people(edited, 9)
    edited.good()
    _edit(edited, WANTED, UNWANTED)
    edited.ehr.put(patient("stat"))
    edited.ehr.put(visit("v1", "stat", status="pending", at=START + 2 * DAY))
    report = edited.sync()
    assert report.tasks["withdrawn"] == 0 and len(report.holds) == 1
    assert len(edited.open()) == 10
    (held,) = edited.ledger.holds()
    assert held.count == 9


def test_f12_a_released_hold_is_recounted_and_releases_no_later_one(
    edited: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "LIMIT", 3)
    people(edited, 6)
    edited.good()
    _edit(edited, WANTED, UNWANTED)
    edited.sync()
    (held,) = edited.ledger.holds()
    edited.ehr.edit("ServiceRequest/o0", status="draft")
    edited.sync()
    edited.app.release_hold(held.id)
    edited.sync()
    assert [t.focus for t in edited.tasks(all=False)] == ["ServiceRequest/o0"], "only what is still true"
    _edit(edited, UNWANTED, WANTED)
    edited.sync(passing=3 * DAY)
    assert len(edited.ledger.holds()) == 1, "the next accident waits, too"
    assert len(edited.open()) <= 1


def test_f12_evidence_that_a_flood_asked_for_does_not_hide_its_cause() -> None:
    asked = Request("general", "Patient/p1", 1, frozenset({"edition", "evidence"}))
    assert guards.caused_by_baton(asked) == "edition"
    assert guards.caused_by_baton(structs.replace(asked, causes=frozenset({"edition", "resource"}))) == ""


@pytest.fixture
def busy_town(edited: Hospital, monkeypatch: pytest.MonkeyPatch) -> Hospital:
    """A hospital on its second day, with one task; more than six of a rule in a day are too many."""
    monkeypatch.setattr(busy, "UPPER", 6)
    people(edited, 1)
    edited.good()
    edited.sync(passing=DAY)
    return edited


def _nine_more(town: Hospital) -> None:
    for number in range(10, 19):
        town.ehr.put(patient(f"p{number}"))
        town.ehr.put(order(f"o{number}", f"p{number}"))


def test_f12_what_goes_beyond_a_busy_day_of_the_hospitals_waits_once(busy_town: Hospital) -> None:
    """An interface sends a month again: six go out, three wait as one hold, and what is stat waits for nobody."""
    town = busy_town
    _nine_more(town)
    town.ehr.put(patient("stat"))
    town.ehr.put(order("stat", "stat", priority="stat"))
    report = town.sync()
    assert report.tasks["opened"] == 7 and len(report.holds) == 1 and report.exit_code == 3
    assert "ServiceRequest/stat" in {task.focus for task in town.tasks(all=False)}
    (held,) = town.ledger.holds()
    assert (held.cause, held.rule, held.direction, held.count) == ("busy day", "schedule-referral", "open", 3)
    waiting = {f"ServiceRequest/o{n}" for n in range(10, 19)} - {t.focus for t in town.tasks()}
    looks = town.ledger.next_looks("general")
    for focus in waiting:  # were the hold lost with the process, they would be looked at all the same
        assert looks[focus.replace("ServiceRequest/o", "Patient/p")] <= town.clock.now() + DAY
    town.ehr.edit(sorted(waiting)[0], note=[{"text": "again"}])
    town.sync(passing=DAY)
    assert not town.sync().holds and len(town.ledger.holds()) == 1, "held once, whoever looks at them anew"
    assert len(town.open()) == 8
    town.app.release_hold(held.id)
    assert town.sync().tasks["opened"] == 3
    assert len(town.open()) == 11
    town.quiet()


def test_f12_withdrawals_beyond_a_busy_day_wait_and_her_work_goes_on(busy_town: Hospital) -> None:
    town = busy_town
    town.ehr.put(patient("more"))
    for number in range(5):
        town.ehr.put(order(f"m{number}", "more"))
    town.sync()
    town.sync(passing=DAY)
    for number in range(3):
        town.ehr.put(order(f"n{number}", "more"))
    town.sync()
    assert len(town.open()) == 9
    town.sync(passing=DAY)
    for focus in [task.focus for task in town.tasks(all=False)]:
        town.ehr.edit(focus, status="revoked")
    report = town.sync()
    assert report.tasks["withdrawn"] == 6
    (held,) = town.ledger.holds()
    assert (held.direction, held.count) == ("withdraw", 3)
    task = town.tasks(all=False)[0]
    town.ehr.edit(f"Task/{task.id}", status="in-progress")
    town.sync(passing=HOUR)
    assert town.ledger.task(task.id) is not None and town.ledger.task(task.id).started
    assert len(town.open()) == 3


def test_f12_a_day_five_times_the_busiest_is_a_day_like_others(
    edited: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busy, "UPPER", 6)
    people(edited, 8)
    assert edited.good().tasks["opened"] == 8, "a first load has bounds of its own"
    edited.sync(passing=DAY)
    _nine_more(edited)
    assert edited.sync().tasks["opened"] == 9
    assert not edited.ledger.holds()


def test_f12_a_day_like_others_asks_for_no_look_of_its_own(
    busy_town: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not held is decided as it was: nobody is looked at again tomorrow because something opened today."""
    town = busy_town
    again: list[object] = []
    plain = reconciler.without

    def without(*args: Any, **more: Any) -> Any:
        again.append(more["again"])
        return plain(*args, **more)

    monkeypatch.setattr(reconciler, "without", without)
    town.ehr.put(patient("p10"))
    town.ehr.put(order("o10", "p10"))
    assert town.sync().tasks["opened"] == 1
    assert not again


def test_f12_what_a_day_has_brought_survives_a_restart(busy_town: Hospital) -> None:
    town = busy_town
    _nine_more(town)
    town.sync()
    town.start()
    town.ehr.put(patient("late"))
    town.ehr.put(order("late", "late"))
    report = town.sync()
    assert not report.tasks["opened"] and len(report.holds) == 1
    assert sum(hold.count for hold in town.ledger.holds()) == 4


def _edit(town: Hospital, old: str, new: str) -> None:
    assert town.mappings is not None
    file = town.mappings / "referral.yaml"
    said = file.read_text(encoding="utf-8")
    assert old in said
    file.write_text(said.replace(old, new), encoding="utf-8")
    town.start()


def test_f19_what_a_person_withdrew_stays_away_and_the_rule_off(town: Hospital) -> None:
    people(town, 3)
    town.good()
    control.withdraw(town.app, "schedule-referral", dry_run=False)
    town.sync()
    assert {t["status"] for t in town.ehr.all("Task")} == {"cancelled"}
    people(town, 5)
    town.ehr.touch_all()
    town.sync(passing=2 * DAY)
    assert town.open() == {} and len(town.tasks()) == 3
    control.resume(town.app, "schedule-referral")
    town.sync(passing=HOUR)
    assert sorted(t.focus for t in town.tasks(all=False)) == ["ServiceRequest/o3", "ServiceRequest/o4"]


def _one_task(town: Hospital) -> Task:
    people(town, 1)
    town.good()
    return town.only("schedule-referral")


def test_f19_what_a_rule_no_longer_needs_is_withdrawn_after_four_business_hours(edited: Hospital) -> None:
    task = _one_task(edited)
    _edit(edited, WANTED, UNWANTED)
    assert edited.sync(passing=HOUR).tasks["withdrawn"] == 0  # Monday, 16:00; the day ends at 17:00
    assert edited.tasks()[0].open and edited.versions_of(task) == 1
    assert "four business hours" in str(edited.app.explain(task.id))
    assert edited.at(START + 18 * HOUR).tasks["withdrawn"] == 0  # Tuesday, 9:00
    assert edited.there(task)["status"] == "requested" and edited.versions_of(task) == 1
    assert edited.at(START + 21 * HOUR).tasks["withdrawn"] == 1  # Tuesday, 12:00
    assert edited.there(task)["status"] == "cancelled"
    assert not edited.tasks()[0].mark
    edited.quiet()


def test_f19_a_rule_mended_within_four_business_hours_was_never_seen(edited: Hospital) -> None:
    task = _one_task(edited)
    _edit(edited, WANTED, UNWANTED)
    edited.sync(passing=HOUR)
    _edit(edited, UNWANTED, WANTED)
    edited.sync(passing=HOUR)
    assert edited.only("schedule-referral").open and not edited.only("schedule-referral").mark
    edited.sync(passing=2 * DAY)
    assert edited.versions_of(task) == 1 and edited.there(task)["status"] == "requested"


def test_f19_a_started_task_bears_no_mark_before_four_business_hours(edited: Hospital) -> None:
    task = _one_task(edited)
    edited.ehr.edit(f"Task/{task.id}", status="in-progress")
    edited.sync(passing=HOUR)
    versions = edited.versions_of(task)
    _edit(edited, WANTED, UNWANTED)
    edited.sync(passing=HOUR)
    assert edited.versions_of(task) == versions and "statusReason" not in edited.there(task)
    edited.sync(passing=DAY)
    assert edited.there(task)["statusReason"]["coding"][0]["code"] == "mark-no-longer-needed"
    assert edited.there(task)["status"] == "in-progress"


def test_f19_what_the_hospital_takes_back_is_withdrawn_at_once(edited: Hospital) -> None:
    people(edited, 1)
    edited.good()
    edited.ehr.edit("ServiceRequest/o0", status="revoked")
    assert edited.sync(passing=HOUR).tasks["withdrawn"] == 1
    assert edited.there()["status"] == "cancelled"


def test_f19_a_rule_that_is_gone_leaves_its_tasks_alone(edited: Hospital) -> None:
    people(edited, 2)
    add_rule(edited, "status = 'active'")
    edited.good()
    assert len(edited.tasks("call-back")) == 2
    assert edited.mappings is not None
    said = (edited.mappings / "more.yaml").read_text(encoding="utf-8")
    (edited.mappings / "more.yaml").unlink()
    file = edited.mappings / "referral.yaml"
    kept = file.read_text(encoding="utf-8")
    file.write_text(kept.replace("care_plan: referral", "care_plan: referral\nremoved: [call-back]"), "utf-8")
    edited.start()
    edited.sync(passing=DAY)
    edited.ehr.edit("ServiceRequest/o0", status="revoked")
    edited.sync(passing=DAY)
    assert len([t for t in edited.tasks("call-back") if t.open]) == 2
    file.write_text(kept, "utf-8")
    (edited.mappings / "more.yaml").write_text(said, encoding="utf-8")
    edited.start()
    edited.sync(passing=DAY)
    edited.sync(passing=DAY)
    assert [t.focus for t in edited.tasks("call-back") if t.open] == ["ServiceRequest/o1"]


def test_f19_a_rule_that_is_missing_without_a_word_stops_the_start(edited: Hospital) -> None:
    """A file that was not copied yet: nothing is polled, looked at or written."""
    people(edited, 2)
    add_rule(edited, "status = 'active'")
    edited.good()
    assert edited.mappings is not None
    (edited.mappings / "more.yaml").unlink()
    edited.start()
    asked = len(edited.ehr.requests)
    with pytest.raises(MappingError) as fault:
        edited.sync()
    assert "call-back" in str(fault.value.faults[0])
    assert len(edited.ehr.requests) == asked
    assert len([t for t in edited.tasks("call-back") if t.open]) == 2


def test_f19_a_need_that_is_worded_anew_finds_its_silent_tasks(edited: Hospital) -> None:
    """The template is the identity: edited, it stops the start; with ``was_need`` what she rejected stays so."""
    people(edited, 2)
    add_rule(edited, "status = 'active'")
    edited.good()
    first = edited.tasks("call-back")
    edited.ehr.edit(f"Task/{first[0].id}", status="rejected")
    edited.good()
    assert edited.mappings is not None
    file = edited.mappings / "more.yaml"
    anew = file.read_text(encoding="utf-8").replace("need: call-back:", "need: ring-back:")
    file.write_text(anew, encoding="utf-8")
    edited.start()
    with pytest.raises(MappingError):
        edited.sync()
    file.write_text(anew.replace("    when:", "    was_need: call-back:{%ref}\n    when:"), encoding="utf-8")
    edited.start()
    for _ in range(3):
        edited.sync(passing=DAY)
    assert {t.id for t in edited.tasks("call-back")} == {t.id for t in first}


def test_f26_what_is_older_than_go_live_is_old_whenever_it_becomes_known(town: Hospital) -> None:
    """Evidence was refused at go-live; granted a week later, two years of orders open nothing."""
    town.ehr.habits.refused = {"Encounter": 403, "DiagnosticReport": 403}
    for number in range(5):
        town.ehr.put(patient(f"p{number}"))
        town.ehr.put(order(f"o{number}", f"p{number}", authoredOn=text(START - (100 + number) * DAY)))
    town.ehr.put(patient("new"))
    town.ehr.put(order("o-new", "new"))
    town.sync()
    town.sync(passing=7 * DAY)
    town.ehr.habits.refused = {}
    town.sync(passing=HOUR)
    assert [t.focus for t in town.tasks()] == ["ServiceRequest/o-new"]
    town.start("anew.db")
    town.sync(take_over=True, passing=timedelta(minutes=5))
    assert [t.focus for t in town.tasks()] == ["ServiceRequest/o-new"]


def test_f26_a_new_rule_goes_live_with_its_source(edited: Hospital) -> None:
    people(edited, 2)
    edited.ehr.put(order("o-old", "p0", authoredOn=text(START - 200 * DAY)))
    edited.good()
    add_rule(edited, "status = 'active'")
    edited.sync()
    assert {t.focus for t in edited.tasks("call-back")} == {"ServiceRequest/o0", "ServiceRequest/o1"}


def test_f27_switching_writing_on_sends_what_is_open_and_no_history(tmp_path: Path) -> None:
    """A month of looks in the dark: closed tasks are not written, and no step was taken that nobody saw."""
    with hospital(tmp_path, write_back=False) as town:
        people(town, 3)
        town.good()
        town.sync(passing=DAY)
        town.ehr.put(visit("v0", "p0", of="o0"))
        for _ in range(6):
            town.sync(passing=5 * DAY)
        assert town.written() == 0
        assert all(task.steps == () for task in town.tasks(all=False)), "nobody could have acted on them"
        town.start(write_back=True)
        town.sync(passing=HOUR)
        there = {t["focus"].get("reference") for t in town.ehr.all("Task")}
        assert there == {"ServiceRequest/o1", "ServiceRequest/o2"}
        assert town.written() == len(town.ehr.all("Task")) + len(town.ehr.all("CarePlan"))


@pytest.mark.parametrize("name", ["%tasks.exists()", "%needs.exists()"])
def test_f31_no_rule_can_ask_for_needs_of_ours(edited: Hospital, name: str) -> None:
    """A rule that opens because another did not would never come to rest."""
    _refused(edited, f"status = 'active' and {name}")


@pytest.mark.parametrize("call", ["now()", "today()", "timeOfDay()"])
def test_f61_no_rule_can_ask_for_the_time(edited: Hospital, call: str) -> None:
    _refused(edited, f"status = 'active' and authoredOn < {call}")


def test_f5_no_rule_can_bound_itself_by_time(edited: Hospital) -> None:
    _refused(edited, "status = 'active' and authoredOn > %now - 180 days")


def _refused(town: Hospital, when: str) -> None:
    assert town.mappings is not None
    (town.mappings / "more.yaml").write_text(RULE.replace("WHEN", f'"{when}"'), encoding="utf-8")
    with pytest.raises(MappingError) as fault:
        load(town.mappings)
    assert [f.line for f in fault.value.faults] == [12]
