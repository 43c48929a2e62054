"""The running service: stopped cleanly, one source's trouble its own, other verbs heard, deadlines and clocks told."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapter import control, notes
from adapter.app import App
from adapter.cli import main
from adapter.clock import StoppableClock
from adapter.report import SourceReport
from adapter.sandbox import Sandbox
from adapter.sandbox.cohort import cohort
from adapter.service import Service, Worker
from adapter.settings import load

LIMIT_S = 30.0


@dataclass
class Lines:
    """The log of a service, which a test can wait on."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    _news: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, level: str, event: str, **values: Any) -> None:
        with self._news:
            self.lines.append({"level": level, "event": event, **values})
            self._news.notify_all()

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first line that is wanted, as soon as it is there."""
        with self._news:
            assert self._news.wait_for(lambda: any(map(wanted, self.lines)), LIMIT_S), self.lines
            return next(line for line in self.lines if wanted(line))

    def events(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == name]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as server:
        _seed(server)
        yield server


def _seed(server: Sandbox) -> None:
    now = datetime.now(UTC)
    server.load(cohort(now, UTC, run="t"), at=now - timedelta(days=2))


def _config(folder: Path, *bases: str, **more: Any) -> Path:
    sources = [
        {
            "name": f"s{n}",
            "base_url": base,
            "environment": "test",
            "write_back": True,
            "limits": {"retries": 0, "connect": "2s"},
            **more,
        }
        for n, base in enumerate(bases)
    ]
    file = folder / "baton.yaml"
    whole = {"ledger": str(folder / "ledger.db"), "namespace": "svc", "sources": sources}
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return file


def _dead() -> str:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/fhir"


@dataclass
class Running:
    """A service in a thread of this process."""

    service: Service
    log: Lines
    thread: threading.Thread


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[Path], Running]]:
    begun: list[Running] = []

    def starting(config: Path) -> Running:
        log = Lines()
        service = Service(load(config), log)
        running = Running(service, log, threading.Thread(target=service.run))
        running.thread.start()
        begun.append(running)
        return running

    yield starting
    for running in begun:
        running.service.stop()
        running.thread.join(LIMIT_S)
        assert not running.thread.is_alive()


def test_a_dead_source_does_not_delay_a_living_one(
    sandbox: Sandbox, tmp_path: Path, start: Callable[[Path], Running]
) -> None:
    running = start(_config(tmp_path, _dead(), sandbox.base_url))
    running.log.wait_for(lambda line: line["event"] == "round" and line["source"] == "s1")
    assert len(sandbox.all("Task")) >= 8
    told = running.log.wait_for(lambda line: line["event"] == "fault" and line["source"] == "s0")
    assert "no server answers" in told["what"]


def test_a_withdrawal_is_done_by_the_running_service(
    sandbox: Sandbox, tmp_path: Path, start: Callable[[Path], Running]
) -> None:
    config = _config(tmp_path, sandbox.base_url)
    running = start(config)
    running.log.wait_for(lambda line: line["event"] == "round" and "opened" in str(line.get("tasks")))
    with App.open(load(config)) as app:
        taken = control.withdraw(app, "schedule-referral", dry_run=False)
        assert taken
    running.log.wait_for(
        lambda line: line["event"] == "round" and "Task" in str(line.get("writes")) and not line["tasks"]
    )
    left = {task["id"]: task["status"] for task in sandbox.all("Task")}
    assert {left[row["id"]] for row in taken} == {"cancelled"}


def test_a_pause_is_heeded_and_a_resume_too(
    sandbox: Sandbox, tmp_path: Path, start: Callable[[Path], Running]
) -> None:
    config = _config(tmp_path, sandbox.base_url, interval="1s")
    with App.open(load(config)) as app:
        app.engine("s0").known_to_ledger()
        control.pause(app, "s0")
        running = start(config)
        running.log.wait_for(lambda line: line["event"] == "round")
        assert sandbox.all("Task") == []
        control.resume(app, "s0")
        running.log.wait_for(lambda line: "Task" in str(line.get("writes")))
    assert len(sandbox.all("Task")) >= 8


def _worker(app: App, log: Lines, name: str = "s0") -> Worker:
    return Worker(app.engine(name), StoppableClock(), log)


def _now(worker: Worker) -> None:
    """Whatever rests or waits for its interval is due now."""
    worker._rest_until = 0.0
    worker._next.clear()
    worker.tick()


def test_a_server_that_goes_away_costs_only_time(tmp_path: Path) -> None:
    log = Lines()
    with Sandbox() as server:
        _seed(server)
        app = App.open(load(_config(tmp_path, server.base_url)))
        worker = _worker(app, log)
        worker.tick()
        written = len(server.all("Task"))
        assert written >= 8
        chart, port = server.snapshot(), int(server.base_url.rpartition(":")[2].partition("/")[0])
    with app:
        _now(worker)
        faults = {line["what"] for line in log.events("fault")}
        assert faults
        with Sandbox(port=port) as again:
            again.restore(chart)
            _now(worker)
            assert {line["what"] for line in log.events("over")} == faults
            assert len(again.all("Task")) == written
            assert not app.ledger.outbox("parked")


def test_a_walk_that_broke_off_is_tried_again_before_its_interval(sandbox: Sandbox, tmp_path: Path) -> None:
    log = Lines()
    config = _config(tmp_path, sandbox.base_url, interval="1h")
    with App.open(load(config)) as app:
        worker = _worker(app, log)
        sandbox.habits.refused = {"Appointment": 500}
        worker.tick()
        soon = worker._next["Appointment"] - worker.clock.monotonic()
        late = worker._next["ServiceRequest"] - worker.clock.monotonic()
        assert soon < 60 < 3500 < late


def test_each_type_has_its_own_interval(sandbox: Sandbox, tmp_path: Path) -> None:
    config = _config(tmp_path, sandbox.base_url, interval={"Task": "30s", "Appointment": "2m"})
    with App.open(load(config)) as app:
        worker = _worker(app, Lines())
        worker.tick()
        now = worker.clock.monotonic()
        spans = {type: round((at - now) / 10) * 10 for type, at in worker._next.items()}
    assert spans == {
        "Task": 30,
        "Appointment": 120,
        "ServiceRequest": 300,
        "CoverageEligibilityResponse": 300,
    }


@pytest.mark.parametrize("skew", [timedelta(minutes=10), timedelta(minutes=-10)])
def test_a_clock_that_differs_is_told_before_anything_opens(
    sandbox: Sandbox, tmp_path: Path, skew: timedelta
) -> None:
    log = Lines()
    sandbox.habits.skew = skew
    with App.open(load(_config(tmp_path, sandbox.base_url))) as app:
        connection = app.engine("s0")
        worker = _worker(app, log)
        mine = SourceReport("s0")
        worker._work(mine)
        assert any("clock is about 10 min" in fault for fault in mine.errors)
        assert abs(connection.now - datetime.now(UTC) - skew) < timedelta(minutes=1)  # the server's counts


def test_an_unsafe_start_stops_that_source_and_says_so(sandbox: Sandbox, tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir(), second.mkdir()
    with App.open(load(_config(first, sandbox.base_url))) as app:
        app.sync()
    written = len(sandbox.all("Task"))
    log = Lines()
    with App.open(load(_config(second, sandbox.base_url))) as app:
        worker = _worker(app, log)
        worker.tick()
        assert "another ledger writes here" in log.events("fault")[0]["what"]
        assert str(json.loads(app.ledger.note(notes.beat("s0")))["state"]).startswith("stopped")
    assert len(sandbox.all("Task")) == written


def test_a_fault_of_our_own_stays_at_its_source_and_tells_no_value(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Lines()
    with App.open(load(_config(tmp_path, sandbox.base_url))) as app:

        def broken(*_: object) -> None:
            raise RuntimeError("CANARY")

        monkeypatch.setattr(Worker, "_work", broken)
        _worker(app, log).tick()
    [fault] = log.events("fault")
    assert "RuntimeError" in fault["what"] and "CANARY" not in fault["what"]


# ---- processes


@contextmanager
def _spawn(config: Path) -> Iterator[subprocess.Popen[str]]:
    """The service as a process, which does not outlive the test."""
    with subprocess.Popen(
        [str(Path(sys.executable).parent / "baton"), "--config", str(config), "run"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(process: subprocess.Popen[str], wanted: str) -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if wanted in line:
            return line
    raise AssertionError(f"the service ended without saying {wanted!r}")


def test_sigterm_stops_it_and_the_next_start_goes_on(sandbox: Sandbox, tmp_path: Path) -> None:
    config = _config(tmp_path, sandbox.base_url)
    with _spawn(config) as process:
        _line(process, "event=round")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    tasks = {task["id"]: task["meta"]["versionId"] for task in sandbox.all("Task")}
    with _spawn(config) as again:
        _line(again, "event=sweep")  # after polls, looks and writes
        again.send_signal(signal.SIGTERM)
        assert again.wait(10) == 0
    assert {task["id"]: task["meta"]["versionId"] for task in sandbox.all("Task")} == tasks


def test_a_signal_takes_no_lock_and_is_heard_whenever_it_comes(tmp_path: Path) -> None:
    """It may interrupt the thread that holds the lock of the stop, or come just before that thread begins to wait."""
    service = Service(load(_config(tmp_path, "http://127.0.0.1:1/fhir")), lambda *_said, **_more: None)
    with service._signals():
        signal.raise_signal(signal.SIGTERM)
        assert not service.clock.stopped.is_set()  # so nothing was taken that might have been held
        service._wait()


def test_sigterm_stops_it_though_a_server_never_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        config = _config(tmp_path, f"http://127.0.0.1:{silent.getsockname()[1]}/fhir")
        with _spawn(config) as process:
            asked, _ = silent.accept()
            with asked:
                asked.recv(100)  # the request is there, and no answer will come
                process.send_signal(signal.SIGTERM)
                assert process.wait(10) == 0
    assert _status(config, capsys)[1]["service"].startswith("stopped")


# ---- status


def _status(config: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    code = main(["--config", str(config), "status", "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_status_of_a_sound_baton(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(tmp_path, sandbox.base_url)
    with App.open(load(config)) as app:
        app.sync(sweep=True)
    code, said = _status(config, capsys)
    [source] = said["sources"]
    assert (code, source["needs"], source["parked"], source["quarantined"]) == (0, [], 0, 0)
    assert (source["backlog"], source["paused"]) == (0, False)
    assert source["lag_s"] < 60 and source["open_tasks"] >= 8
    assert "ServiceRequest: 0 missed of 19" in source["sweeps"]
    assert main(["--config", str(config), "status"]) == 0
    assert "tasks: " in capsys.readouterr().out


def test_status_says_what_needs_a_person(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(tmp_path, sandbox.base_url)
    first = sandbox.all("ServiceRequest")[0]["id"]
    sandbox.habits.misshapen = frozenset({f"ServiceRequest/{first}"})
    sandbox.habits.refused = {"CoverageEligibilityResponse": 403}
    with App.open(load(config)) as app:
        app.sync()
        app.ledger.keep_note(
            notes.SERVICE, json.dumps({"at": "2026-01-01T00:00:00+00:00", "pid": 1, "running": True})
        )
    code, said = _status(config, capsys)
    needs = " | ".join([*said["needs"], *said["sources"][0]["needs"]])
    assert code == 3
    assert "1 could not be read" in needs
    assert "CoverageEligibilityResponse cannot be read (403), which silences" in needs
    assert "the service ended without being stopped" in needs


@pytest.mark.parametrize("kind", ["round", "failed"])
def test_status_says_what_does_not_get_through(
    kind: str, sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A write that is read back again and again, or fails again and again, is said to a person in time."""
    config = _config(tmp_path, sandbox.base_url)
    with App.open(load(config)) as app:
        app.sync()
        target = f"Task/{app.ledger.tasks('s0', open_only=True)[0].id}"
        app.ledger.want([target])
        for _ in range(7):
            app.ledger.later(target, datetime.now(UTC), **{"failed": False, kind: True})
        assert _status(config, capsys)[0] == 0
        for _ in range(3):
            app.ledger.later(target, datetime.now(UTC), **{"failed": False, kind: True})
    code, said = _status(config, capsys)
    assert (code, said["sources"][0]["stuck"]) == (3, 1)
    assert "1 were tried for more than an hour" in said["sources"][0]["needs"][0]


def test_status_says_what_is_behind(
    sandbox: Sandbox, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = _config(tmp_path, sandbox.base_url)
    with App.open(load(config)) as app:
        app.sync()
        walk = app.ledger.walk("s0", "Appointment")
        app.ledger.save_walk(replace(walk, known_at=datetime.now(UTC) - timedelta(hours=5)))
    code, said = _status(config, capsys)
    assert code == 3 and "Appointment was not polled completely for 5 h" in said["sources"][0]["needs"][0]
    assert 17_000 < said["sources"][0]["lag_s"] < 19_000
