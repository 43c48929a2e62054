"""The file: its mode, its lock, its schema, its faults, and what a kill leaves."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from adapter.clock import FixedClock
from adapter.errors import LedgerError, LedgerLocked
from adapter.ledger import Ledger, database, queries
from tests.ledger.making import START, arrival, at, look, result

ROOT = Path(__file__).parents[2]


def test_only_the_owner_may_read_it(tmp_path: Path, clock: FixedClock) -> None:
    place = tmp_path / "new" / "ledger.db"
    with Ledger.open(place, clock=clock) as ledger, ledger.lock("sync"):
        ledger.request("ehr", ["Patient/a"], "x")
        modes = {path.name: path.stat().st_mode & 0o777 for path in place.parent.iterdir()}
        assert modes == dict.fromkeys(
            ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.lock"), 0o600
        )
        assert place.parent.stat().st_mode & 0o777 == 0o700
    place.chmod(0o644)
    Ledger.open(place, clock=clock).close()
    assert place.stat().st_mode & 0o777 == 0o600


def test_it_is_settled_for_safety(ledger: Ledger) -> None:
    connection = ledger._database.connection()
    found = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in _PRAGMAS}
    assert found == _PRAGMAS


_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


@pytest.mark.parametrize("made_with", [4096, database.PAGE_BYTES])
def test_a_ledger_keeps_the_pages_that_it_was_made_with(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch, made_with: int
) -> None:
    place = tmp_path / "ledger.db"
    with monkeypatch.context() as before:
        before.setattr(database, "PAGE_BYTES", made_with)
        Ledger.open(place, clock=clock).close()
    with Ledger.open(place, clock=clock) as ledger:
        connection = ledger._database.connection()
        pages, bytes_each = (
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("wal_autocheckpoint", "page_size")
        )
        assert bytes_each == made_with
        assert pages * bytes_each == database.CHECKPOINT_BYTES


def test_a_ledger_that_is_not_there_is_not_made_unasked(tmp_path: Path, clock: FixedClock) -> None:
    with pytest.raises(LedgerError, match="there is no ledger"):
        Ledger.open(tmp_path / "none.db", clock=clock, create=False)
    assert list(tmp_path.iterdir()) == []


def test_migrations_are_numbered_without_gaps_and_run_once(ledger: Ledger, clock: FixedClock) -> None:
    steps = database.migrations()
    assert [step.number for step in steps] == list(range(1, len(steps) + 1))
    assert all(re.fullmatch(r"\d{3}_[a-z_]+\.sql", step.name) for step in steps)
    ledger.request("ehr", ["Patient/a"], "x")
    with Ledger.open(ledger.path, clock=clock) as again:
        assert len(again.requests("ehr")) == 1


def test_a_failed_migration_leaves_nothing(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = database.migrations()
    bad = database.Migration(
        len(good) + 1, "bad.sql", "CREATE TABLE extra (x);\nINSERT INTO none VALUES (1);\n"
    )
    monkeypatch.setattr(database, "migrations", lambda: (*good, bad))
    with pytest.raises(LedgerError):
        Ledger.open(tmp_path / "l.db", clock=clock)
    monkeypatch.undo()
    with Ledger.open(tmp_path / "l.db", clock=clock) as ledger:
        names = {row[0] for row in ledger._database.connection().execute("SELECT name FROM sqlite_schema")}
    assert "extra" not in names and "tasks" in names


def test_a_ledger_of_the_first_schema_still_wakes_whom_a_resource_named_before(
    tmp_path: Path, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = database.migrations()[:1]
    monkeypatch.setattr(database, "migrations", lambda: first)
    old = Ledger.open(tmp_path / "l.db", clock=clock)
    monkeypatch.undo()
    with old._writing() as db:  # as the first schema's own Baton left it: named b, and a before that
        row = arrival("ServiceRequest/1", "Patient/b", seq=1)
        db.execute(
            queries.INSERT_SNAPSHOT,
            (
                *("ehr", row.ref, row.type, "live", None, "1", row.digest, row.kept_digest, "e1", 1),
                *(1, 2, 1, 2, None, None, None, None, "Patient/b", "{}"),
            ),
        )
        named = [("ehr", "Patient/a", row.ref, 0), ("ehr", "Patient/b", row.ref, 1)]
        db.executemany("INSERT INTO snapshot_patients (source, patient, ref, now) VALUES (?, ?, ?, ?)", named)
        for patient in ("Patient/a", "Patient/b"):
            db.execute(queries.KNOW_PATIENT, ("ehr", patient, patient))
        db.execute(queries.RAISE_COUNTER, (9, "seq"))
    old.close()
    with Ledger.open(tmp_path / "l.db", clock=clock) as ledger:
        version = ledger._database.connection().execute("PRAGMA user_version").fetchone()[0]
        assert version == len(database.migrations()) > 1
        assert ledger.check() == []
        changed = arrival("ServiceRequest/1", "Patient/b", seq=11, version="2", status="revoked")
        ledger.store("ehr", [changed], cause="resource")
        assert {request.person for request in ledger.requests("ehr")} == {"Patient/a", "Patient/b"}
        moved = arrival("ServiceRequest/1", "Patient/c", seq=13, version="3", status="revoked")
        ledger.store("ehr", [moved], cause="resource")
        with ledger._reading() as db:
            found = {tuple(row) for row in db.execute("SELECT patient, now FROM snapshot_patients")}
        assert found == {("Patient/b", 0), ("Patient/c", 1)}
        assert ledger.check() == []


def test_a_newer_schema_is_refused(ledger: Ledger, clock: FixedClock) -> None:
    ledger._database.connection().execute("PRAGMA user_version = 999")
    with pytest.raises(LedgerError, match="schema 999"):
        Ledger.open(ledger.path, clock=clock)


def test_another_programs_database_is_refused(tmp_path: Path, clock: FixedClock) -> None:
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE mine (x)")
    other.close()
    with pytest.raises(LedgerError, match="something else"):
        Ledger.open(tmp_path / "other.db", clock=clock)


def test_what_is_no_database_is_refused(tmp_path: Path, clock: FixedClock) -> None:
    (tmp_path / "text.db").write_bytes(b"Dear Mrs Smith, " * 400)
    with pytest.raises(LedgerError, match="no ledger, or it is corrupt") as refused:
        Ledger.open(tmp_path / "text.db", clock=clock)
    assert "Smith" not in str(refused.value)


def test_a_torn_file_is_told(ledger: Ledger, clock: FixedClock) -> None:
    for number in range(200):
        ledger.store("ehr", [arrival(f"Appointment/{number}", note="x" * 500)], cause="x")
    ledger.close()
    size = ledger.path.stat().st_size
    with ledger.path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 8192))
    with pytest.raises(LedgerError, match="corrupt"), Ledger.open(ledger.path, clock=clock) as torn:
        torn.inventory("ehr", "Appointment")
        torn.requests("ehr")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("SQLITE_READONLY_DBMOVED", "read-only"),
        ("SQLITE_FULL", "full"),
        ("SQLITE_IOERR_WRITE", "fails"),
        ("SQLITE_BUSY_SNAPSHOT", "busy"),
        ("SQLITE_CONSTRAINT_UNIQUE", "contradicts"),
        ("SQLITE_MISUSE", "SQLITE_MISUSE"),
    ],
)
def test_each_fault_says_what_to_do(name: str, said: str) -> None:
    error = sqlite3.OperationalError("Mrs Smith")
    error.sqlite_errorname = name
    told = database.translate(error, Path("l.db"))
    assert said in told.message and told.remedy and "Smith" not in str(told)


def test_a_full_disk_leaves_the_ledger_as_it_was(ledger: Ledger) -> None:
    connection = ledger._database.connection()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    page = [arrival(f"Appointment/{n}", "Patient/a", note="x" * 4000) for n in range(200)]
    with pytest.raises(LedgerError, match="full"):
        ledger.store("ehr", page, cause="x")
    connection.execute("PRAGMA max_page_count = 1000000")
    assert ledger.inventory("ehr", "Appointment") == [] and ledger.requests("ehr") == []
    assert ledger.store("ehr", page, cause="x").changed == 200


def test_a_ledger_that_may_not_be_written_is_told(ledger: Ledger) -> None:
    ledger._database.connection().execute("PRAGMA query_only = ON")
    with pytest.raises(LedgerError, match="read-only"):
        ledger.request("ehr", ["Patient/a"], "x")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path, clock: FixedClock) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match="cannot be made"):
        Ledger.open(tmp_path / "file" / "ledger.db", clock=clock)


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_file_system", lambda folder: "nfs4")
    with pytest.raises(LedgerError, match="network file system"):
        database.prepare_file(tmp_path / "l.db", create=True)


def test_a_closed_ledger_says_so(ledger: Ledger) -> None:
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.sources()


def test_a_write_inside_a_read_is_refused(ledger: Ledger) -> None:
    with ledger._reading(), pytest.raises(LedgerError, match="inside a read"):
        ledger.request("ehr", ["Patient/a"], "x")


def test_threads_write_one_after_the_other(ledger: Ledger) -> None:
    def work(number: int) -> None:
        for turn in range(10):
            page = [arrival(f"Appointment/{number}-{turn}", f"Patient/{number}")]
            ledger.store("ehr", page, cause="resource")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.inventory("ehr", "Appointment")) == 40
    gens = [request.gen for request in ledger.requests("ehr")]
    assert len(set(gens)) == 4 and max(gens) == 40


def test_a_transaction_holds_the_pen_from_its_beginning(ledger: Ledger, clock: FixedClock) -> None:
    """F14 d: a deferred transaction that reads, then writes, fails at the end, whatever the time-out."""
    with Ledger.open(ledger.path, clock=clock) as other:
        other._database.connection().execute("PRAGMA busy_timeout = 0")
        with ledger.transaction():
            ledger.sources()
            with pytest.raises(LedgerError, match="busy"):
                other.request("ehr", ["Patient/b"], "x")
            ledger.request("ehr", ["Patient/a"], "x")
        other.request("ehr", ["Patient/b"], "x")
    assert len(ledger.requests("ehr")) == 2


def test_no_statement_says_replace() -> None:
    texts = [value for name, value in vars(queries).items() if isinstance(value, str) and name.isupper()]
    assert len(texts) > 80
    assert not [text for text in texts if "REPLACE" in text.upper()]


_OTHER = """
import sys
from adapter.clock import SystemClock
from adapter.ledger import Ledger
with Ledger.open(sys.argv[1], clock=SystemClock()) as ledger, ledger.lock("run"):
    print("held", flush=True)
    sys.stdin.read()
"""


def _start(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def test_a_second_process_is_told_who_holds_the_lock(ledger: Ledger) -> None:
    with _start(_OTHER, str(ledger.path)) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with (
            pytest.raises(LedgerLocked, match=rf"`run`, process {other.pid} on \S+, since 20"),
            ledger.lock("sync"),
        ):
            pass
        ledger.request("ehr", ["Patient/a"], "command")  # short writes go beside it
        other.send_signal(signal.SIGKILL)
        other.wait()
    with ledger.lock("sync"), pytest.raises(LedgerLocked, match="`sync`"), ledger.lock("look"):
        pass
    with ledger.lock("again"):
        pass


_KILLED = """
import os, signal, sys
from datetime import timedelta
from adapter.clock import FixedClock
from adapter.ledger import Ledger, WalkRow
from tests.ledger.making import START, arrival
step = int(sys.argv[2])
with Ledger.open(sys.argv[1], clock=FixedClock(START)) as ledger:
    for number in range(3):
        at = START + timedelta(minutes=number)
        page = [arrival(f"Appointment/{number}-{i}", f"Patient/{i}", seq=2 * number + 1) for i in range(20)]
        seen = 0
        def trace(statement):
            global seen
            seen += 1
            if number == 2 and seen == step:
                os.kill(os.getpid(), signal.SIGKILL)
        ledger._database.connection().set_trace_callback(trace)
        ledger.store("ehr", page, cause="resource", walk=WalkRow("ehr", "Appointment", watermark=at))
    print(seen, flush=True)
"""


def test_a_kill_at_any_statement_leaves_page_and_watermark_together(tmp_path: Path) -> None:
    whole = _start(_KILLED, str(tmp_path / "whole.db"), "0")
    said, _ = whole.communicate()
    statements = int(said)
    assert statements > 60
    for step in (1, 2, 5, 12, 30, statements - 3, statements - 1, statements):
        place = tmp_path / f"killed-{step}.db"
        killed = _start(_KILLED, str(place), str(step))
        killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        with Ledger.open(place, clock=FixedClock(START)) as ledger:
            rows = len(ledger.inventory("ehr", "Appointment"))
            watermark = ledger.walk("ehr", "Appointment").watermark
            assert (rows, watermark) in ((40, at(1)), (60, at(2)))
            assert len(ledger.requests("ehr")) == 20
            assert ledger.check() == []


def test_an_exception_inside_a_transaction_leaves_nothing_of_it(ledger: Ledger) -> None:
    chart = look(ledger)
    with pytest.raises(KeyError), ledger.transaction():
        ledger.commit_looks([result(chart, next_look=at(9))])
        ledger.add_hold("ehr", "flood", rule="r", direction="open", count=300, tasks=["b-1-1"])
        raise KeyError
    assert ledger.next_looks("ehr") == {} and ledger.holds() == [] and len(ledger.requests("ehr")) == 1


def test_runs_commands_notes_and_sources_are_kept(ledger: Ledger, clock: FixedClock) -> None:
    run = ledger.begin_run("sync")
    ledger.end_run(run, {"opened": 3})
    (kept,) = ledger.runs()
    assert (kept.verb, kept.summary, kept.ended_at) == ("sync", {"opened": 3}, START)
    command = ledger.add_command("withdraw", {"rule": "r"})
    assert [(c.verb, c.arguments) for c in ledger.commands()] == [("withdraw", {"rule": "r"})]
    ledger.end_command(command)
    assert ledger.commands() == []
    ledger.keep_note("digest-day", "2026-03-02")
    assert (ledger.note("digest-day"), ledger.note("none")) == ("2026-03-02", "")
    assert [source.key for source in ledger.sources()] == ["k1"] and ledger.source("none") is None
