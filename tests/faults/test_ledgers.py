"""A ledger that cannot be used, or must not be: newer, corrupt, full, read-only, in use, a copy, restored."""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from adapter.clock import SystemClock
from adapter.ledger.database import held
from tests.faults.hospital import Hospital

VERBS = [["sync"], ["tasks"], ["ledger", "check"], ["quarantine", "list"]]


def baton(hospital: Hospital, *arguments: str, humble: bool = False) -> tuple[int, str]:
    """The command in a process of its own: exit code, stderr. ``humble``: modes bind it, as they do not bind root."""
    command = [sys.executable, "-c", _MAIN, "-c", str(hospital.config), *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, preexec_fn=_humbled if humble else None
    )
    assert "Traceback" not in done.stderr and "fault of Baton's own" not in done.stderr, done.stderr
    return done.returncode, done.stderr


_MAIN = "import sys; from adapter.cli import main; sys.exit(main(sys.argv[1:]))"


def _humbled() -> None:
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def test_a_ledger_of_a_newer_baton(hospital: Hospital) -> None:
    hospital.sync()
    db = sqlite3.connect(hospital.ledger)
    version = db.execute("PRAGMA user_version").fetchone()[0]
    db.execute(f"PRAGMA user_version = {version + 1}")
    db.close()
    before = hospital.ledger.read_bytes()
    for verb in VERBS:
        told = hospital.baton(*verb)
        assert told.code == 1 and "use the newer Baton" in told.sentence()
        assert str(hospital.ledger) in told.err and f"schema {version + 1}" in told.err
    assert hospital.ledger.read_bytes() == before
    db = sqlite3.connect(hospital.ledger)
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    hospital.ends_right()


def _torn(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def _no_database(path: Path) -> None:
    path.write_bytes(b"this is a text\n" * 1000)


@pytest.mark.parametrize("harm", [_torn, _overwritten, _no_database], ids=["torn", "overwritten", "text"])
def test_a_corrupt_ledger(hospital: Hospital, harm: object) -> None:
    hospital.sync()
    hospital.baton("ledger", "export", str(hospital.folder / "backup.db"))
    assert callable(harm)
    harm(hospital.ledger)
    for beside in ("ledger.db-wal", "ledger.db-shm"):
        (hospital.folder / beside).unlink(missing_ok=True)
    before = len(hospital.sandbox.all("Task"))
    for verb in VERBS:
        told = hospital.baton(*verb)
        if verb == ["ledger", "check"] and told.err == "":
            assert told.code == 1 and ("corrupt" in told.out or "backup" in told.out), told
            continue
        assert told.code == 1 and "backup" in told.sentence() and str(hospital.ledger) in told.err, told
    assert len(hospital.sandbox.all("Task")) == before
    hospital.ledger.unlink()
    (hospital.folder / "backup.db").rename(hospital.ledger)
    told = hospital.baton("sync", "--take-over")
    assert told.code == 0, told
    hospital.ends_right()


def test_another_programs_database(hospital: Hospital) -> None:
    db = sqlite3.connect(hospital.ledger)
    db.execute("CREATE TABLE cats (name)")
    db.commit()
    db.close()
    told = hospital.baton("sync")
    assert told.code == 1 and "database of something else" in told.sentence()
    hospital.ledger.unlink()
    hospital.ends_right()


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a tiny disk")
    done = subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("a tiny disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk(hospital: Hospital, tiny_disk: Path) -> None:
    filler = tiny_disk / "filler"
    hospital.configure(ledger=str(tiny_disk / "ledger.db"))
    codes = []
    for room in range(8, 800, 90):  # from none at all to enough for the schema, for some rows, for most
        filler.write_bytes(b"x" * (4 * 1024 * 1024 - room * 1024 - _used(tiny_disk)))
        told = hospital.baton("sync")
        codes.append(told.code)
        if told.code:
            assert told.code == 1 and "full" in told.sentence() and "make room" in told.err
    assert codes.count(1) > 2
    filler.unlink()
    _let_the_longest_request_end(tiny_disk / "ledger.db")
    hospital.ends_right()


def _let_the_longest_request_end(ledger: Path) -> None:
    """A write that was under way when the disk was full is looked for in the EHR only after that."""
    with closing(sqlite3.connect(ledger, isolation_level=None)) as db:
        db.execute("UPDATE outbox SET not_before = NULL, attempt_at = '2026-01-01T00:00:00.000000+00:00'")


def _used(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.name != "filler")


@pytest.mark.parametrize("what", ["folder", "file"])
def test_a_read_only_place(hospital: Hospital, what: str) -> None:
    hospital.configure(ledger="var/ledger.db")
    hospital.sync()
    folder = hospital.folder / "var"
    path = folder if what == "folder" else folder / "ledger.db"
    mode = path.stat().st_mode
    path.chmod(0o500 if what == "folder" else 0o400)
    try:
        code, told = baton(hospital, "sync", humble=True)
        assert code == 1 and told.startswith("baton: ") and " → check the owner and mode" in told, told
        assert "ledger.db" in told and len(told.splitlines()) == 1
    finally:
        path.chmod(mode)
    hospital.ends_right()


def test_a_second_baton_on_the_same_ledger(hospital: Hospital) -> None:
    hospital.sync()
    with held(hospital.ledger, "sync", SystemClock()):
        asked = len(hospital.front.asked)
        code, told = baton(hospital, "sync")
        assert code == 2 and "in use: `sync`" in told and f"process {os.getpid()}" in told and " → " in told
        assert len(hospital.front.asked) == asked, "it asked and wrote nothing"
        assert baton(hospital, "tasks")[0] == 0, "reading is free"
    hospital.ends_right()


def test_a_second_baton_on_the_same_ehr(hospital: Hospital) -> None:
    """Another ledger under the same namespace; and one without a namespace of its own."""
    hospital.sync()
    hospital.configure(ledger="second.db")
    told = hospital.baton("sync")
    assert told.code == 1 and "another ledger writes here" in told.sentence() and "--take-over" in told.err
    hospital.config.write_text(hospital.config.read_text("utf-8").replace("namespace: faults\n", ""), "utf-8")
    told = hospital.baton("sync")
    assert told.code == 1 and "no namespace is configured" in told.sentence()
    assert len(hospital.tasks()) == 3, "nothing was written twice"
    hospital.configure()
    hospital.ends_right()


def test_two_sources_that_are_one_ehr(hospital: Hospital) -> None:
    hospital.sync()
    text = hospital.config.read_text("utf-8")
    source = text[text.index("- ") :].replace("name: ehr", "name: twin").replace("127.0.0.1", "localhost")
    hospital.config.write_text(text.rstrip() + "\n" + source, "utf-8")
    told = hospital.baton("sync")
    assert told.code == 1 and "another source of this ledger is the same EHR" in told.sentence()
    assert len(hospital.tasks()) == 3
    hospital.configure()
    hospital.ends_right()


def test_an_older_ledger_restored(hospital: Hospital) -> None:
    hospital.sync()
    yesterday = hospital.folder / "yesterday.db"
    hospital.baton("ledger", "export", str(yesterday))
    done = hospital.sandbox.all("Task")[0]
    hospital.sandbox.put({**done, "status": "completed"})
    hospital.sync()  # the ledger knows it, and yesterday's does not
    hospital.ledger.unlink()
    yesterday.rename(hospital.ledger)
    for beside in ("ledger.db-wal", "ledger.db-shm"):
        (hospital.folder / beside).unlink(missing_ok=True)
    before = {task["id"]: task for task in hospital.sandbox.all("Task")}
    told = hospital.baton("sync")
    assert told.code == 1 and "older than the EHR" in told.sentence() and "--take-over" in told.err
    assert {task["id"]: task for task in hospital.sandbox.all("Task")} == before, "it wrote nothing"
    assert hospital.baton("sync", "--take-over").code == 0
    hospital.ends_right()
    after = {task["id"]: task["status"] for task in hospital.sandbox.all("Task")}
    assert after == {id: task["status"] for id, task in before.items()}, "what was finished stays finished"
