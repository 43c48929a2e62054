"""Statements that every pass runs are answered by an index, however large the ledger is."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapter.clock import FixedClock
from adapter.ledger import Ledger, queries
from tests.ledger.making import START, arrival

_PAGE = ("ehr", "[]")
STATEMENTS = {
    "HELD_OF_PAGE": _PAGE,
    "SNAPSHOTS": _PAGE,
    "FORMER_PATIENTS": _PAGE,
    "CHART_ROWS": _PAGE,
    "CHART_TASKS": _PAGE,
    "CHART_PLANS": _PAGE,
    "PERSONS_OF": _PAGE,
    "PATIENTS_OF": _PAGE,
    "REQUESTS_OF": _PAGE,
    "GENS_OF": _PAGE,
    "READS_OF": _PAGE,
    "INVENTORY": ("ehr", "Task"),
    "ANY_DUE_LOOK": ("ehr", "2026"),
    "WANT": {"target": "Task/b-1-1", "kind": "Task", "id": "b-1-1"},
    "TASKS_BY_ID": ("[]",),
    "WORDS": ("[]",),
}


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(tmp_path / "l.db", clock=FixedClock(START))


@pytest.mark.parametrize("name", STATEMENTS)
def test_no_statement_of_a_pass_scans_a_table(name: str, ledger: Ledger) -> None:
    values = STATEMENTS[name]
    with ledger._reading() as db:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {getattr(queries, name)}", values)]
    ledger.close()
    scans = [step for step in plan if step.startswith("SCAN") and "json_each" not in step]
    assert [step for step in scans if step not in _OF_A_FEW] == []
    assert not any(step.endswith("(source=?)") for step in plan), "every row of a source is read"


# The rows of the sub-query itself.
_OF_A_FEW = ("SCAN (subquery-3)", "SCAN (subquery-2)", "SCAN (subquery-1)", "SCAN CONSTANT ROW")


def test_what_is_read_need_not_survive_the_power_and_what_is_sent_must(ledger: Ledger) -> None:
    def level() -> int:
        with ledger._reading() as db:
            return int(db.execute("PRAGMA synchronous").fetchone()[0])

    ledger.store("ehr", [arrival("ServiceRequest/1", "Patient/1")], cause="resource")
    assert level() == 1
    ledger.want(["Task/none"])
    assert level() == 2, "the next durable transaction syncs the whole log"
    ledger.close()


def test_a_body_that_is_written_already_is_stored_as_it_is(ledger: Ledger) -> None:
    from dataclasses import replace

    from adapter.fhirjson import canonical

    plain = arrival("ServiceRequest/1", "Patient/1", b=1, a=[2])
    packed = replace(arrival("ServiceRequest/2", "Patient/1", b=1, a=[2]))
    packed = replace(packed, packed=canonical(packed.body))
    ledger.store("ehr", [plain, packed], cause="resource")
    held = ledger.snapshots("ehr", ["ServiceRequest/1", "ServiceRequest/2"])
    assert held["ServiceRequest/1"].body == plain.body
    assert held["ServiceRequest/2"].body == packed.body
    ledger.close()
