"""The running service: each source in its own time and thread, the commands of other verbs, heartbeats, a clean stop.

APScheduler starts one job per source every second, never two of one source at a time. A job does what is due: polls
in order, looks, writes, and a page of the sweep. What a job cannot do it says, waits and tries again; other sources
hear nothing of it. Where a run of Baton ends, by whatever hand, the next one goes on from the ledger.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler

from adapter import control, notes
from adapter.app import App
from adapter.clock import MOST_DRIFT, StoppableClock, Stopping
from adapter.connection import TYPES, Connection
from adapter.engine import Engine
from adapter.errors import BatonError, LedgerError, RateLimited, ServerError, Unsafe
from adapter.fhirjson import dumps
from adapter.polling.sweep import Sweep
from adapter.report import PassOptions, SourceReport, SyncReport
from adapter.settings import Settings

TICK_S = 1.0
BEAT_S = 10.0
GRACE_S = 6.0  # a stop may take ten seconds in all
LISTEN_S = 0.5  # how long a signal may wait to be heard
_FIRST_REST_S, _LONGEST_REST_S = 5.0, 300.0
_REPEAT_AFTER_S = 600.0  # a fault that goes on is told again after this

#: Writes one line of the service's log: level, event, and values that hold no patient data.
Log = Callable[..., None]


@dataclass(slots=True)
class Teller:
    """Tells a fault once, again only after a while, and when it is over."""

    log: Log
    source: str
    _told: dict[str, float] = field(default_factory=dict)

    def faults(self, texts: list[str]) -> None:
        """What is wrong as of this round; what was wrong before and is not named is over."""
        now = time.monotonic()
        for text in dict.fromkeys(texts):
            if now - self._told.get(text, float("-inf")) >= _REPEAT_AFTER_S:
                self.log("warning", "fault", source=self.source, what=text)
                self._told[text] = now
        for text in set(self._told) - set(texts):
            del self._told[text]
            self.log("info", "over", source=self.source, what=text)


@dataclass(slots=True)
class Worker:
    """One source's work. :meth:`tick` does what is due; nothing that goes wrong here leaves it."""

    engine: Engine
    clock: StoppableClock
    log: Log
    take_over: bool = False
    _connection: Connection | None = None
    _next: dict[str, float] = field(default_factory=dict)
    _rest_until: float = 0.0
    _failures: int = 0
    _broken: int = 0
    _sweep: Iterator[None] | None = None
    _sweeping: Sweep | None = None
    _beat_at: float = float("-inf")
    _state: str = "starting"
    _beaten: str = ""
    _tell: Teller = field(init=False)

    def __post_init__(self) -> None:
        self._tell = Teller(self.log, self.name)

    @property
    def name(self) -> str:
        """The source's name."""
        return self.engine.settings.name

    def tick(self) -> None:
        """Do what is due now."""
        if self.clock.stopped.is_set() or self.clock.monotonic() < self._rest_until:
            return
        mine = SourceReport(self.name)
        try:
            self._work(mine)
            self._failures = 0
            self._state = "in trouble" if mine.errors else "well"
            self._tell.faults(mine.errors)
        except Stopping:
            return
        except Unsafe as fault:
            self._trouble(fault, "stopped: a person has to decide", mine)
            self._connection = None
        except (ServerError, LedgerError) as fault:
            self._trouble(fault, "in trouble", mine)
        except Exception as fault:  # a fault of ours at one source must not stop the others
            self._trouble(BatonError(_place(fault)), "in trouble", mine)
        self._beat()

    # --- one round

    def _work(self, mine: SourceReport) -> None:
        report = SyncReport()
        connection = self._connected(mine)
        due = self._due()
        if due:
            unfinished = connection.poll(mine, due)
            connection.refresh(mine)
            self._walked(due, unfinished)
        self._look_at_the_clock(mine)
        self.clock.sleep(0.0)
        connection.look(report, mine, self._between)
        if self._anything_to_write():
            connection.deliver(report, mine)
        self._sweep_on(connection, mine)
        self._told(mine, report)

    def _connected(self, mine: SourceReport) -> Connection:
        if self._connection is None:
            self._connection = self.engine.connect(mine, PassOptions(take_over=self.take_over))
            self.take_over = False
            self._next = {}
            self.log("info", "connected", source=self.name)
        return self._connection

    def _due(self) -> list[str]:
        now = self.clock.monotonic()
        return [type for type in TYPES if now >= self._next.get(type, float("-inf"))]

    def _walked(self, types: list[str], unfinished: list[str]) -> None:
        """When each is due again: after its interval, or sooner where its walk broke off, later each time."""
        now = self.clock.monotonic()
        self._broken = self._broken + 1 if unfinished else 0
        soon = _FIRST_REST_S * 2.0 ** min(self._broken, 10)
        for type in types:
            interval = self.engine.settings.every(type).total_seconds()
            self._next[type] = now + (min(interval, soon) if type in unfinished else interval)

    def _anything_to_write(self) -> bool:
        return bool(self.engine.ledger.due_writes(self.name, self.engine.now, 1))

    def _between(self, text: str, done: int = 0, total: int = 0) -> None:
        self.clock.sleep(0.0)
        self._beat()

    def _look_at_the_clock(self, mine: SourceReport) -> None:
        """Told before any deadline acts on it; the server's time counts in any case (F58)."""
        clock = self.engine.client.clock
        skew = clock.skew()
        if skew is not None and abs(skew) > MOST_DRIFT:
            ahead = "ahead of" if skew > timedelta(0) else "behind"
            minutes = round(abs(skew).total_seconds() / 60)
            mine.errors.append(
                f"this machine's clock is about {minutes} min {ahead} the server's, which counts"
            )
        if clock.jumped:
            self.log(
                "warning",
                "clock",
                source=self.name,
                what="the server's clock jumped",
                by_s=clock.jumped.total_seconds(),
            )
            clock.jumped = timedelta(0)

    def _told(self, mine: SourceReport, report: SyncReport) -> None:
        new, tasks, writes = _counts(mine.changed), _counts(report.tasks), _counts(report.writes)
        if new or tasks or writes:
            self.log("info", "round", source=self.name, new=new, tasks=tasks, writes=writes)
        if mine.quarantined:
            self.log("warning", "quarantine", source=self.name, rows=mine.quarantined)
        for number in report.holds:
            self.log("warning", "hold", source=self.name, number=number)
        for note in mine.notes:
            self.log("debug", "note", source=self.name, what=note)

    # --- the sweep, a page at a time

    def _sweep_on(self, connection: Connection, mine: SourceReport) -> None:
        if self._sweep is None:
            self._sweeping = self._next_sweep(connection)
            self._sweep = self._sweeping.steps() if self._sweeping else None
        if self._sweep is None or self._sweeping is None:
            return
        try:
            next(self._sweep)
        except StopIteration:
            connection.swept(self._sweeping.report)
            missed = self._sweeping.report.missed
            self.log(
                "warning" if missed else "info",
                "sweep",
                source=self.name,
                what=self._sweeping.report.sentence(),
            )
            self._sweep = self._sweeping = None
        except ServerError as fault:
            connection.sweep_failed(self._sweeping.report)
            self._sweep = self._sweeping = None
            mine.errors.append(f"the sweep stopped: {fault.message}")

    def _next_sweep(self, connection: Connection) -> Sweep | None:
        type = connection.sweep_due()
        return connection.sweep(type) if type else None

    # --- trouble

    def _trouble(self, fault: BatonError, state: str, mine: SourceReport) -> None:
        rest = min(_LONGEST_REST_S, _FIRST_REST_S * 2.0 ** min(self._failures, 10))
        if isinstance(fault, RateLimited):
            rest = max(rest, fault.retry_after)
        if isinstance(fault, Unsafe):
            rest = _LONGEST_REST_S
        self._failures += 1
        self._rest_until = self.clock.monotonic() + rest
        self._state = f"{state}: {fault.message}"
        self._tell.faults([*mine.errors, str(fault)])

    def _beat(self) -> None:
        if self.clock.monotonic() - self._beat_at < BEAT_S and self._state == self._beaten:
            return
        self._beat_at, self._beaten = self.clock.monotonic(), self._state
        try:
            said = {"at": datetime.now(UTC).isoformat(), "state": self._state}
            self.engine.ledger.keep_note(notes.beat(self.name), dumps(said).decode())
        except LedgerError as fault:
            self._tell.faults([str(fault)])


class Service:
    """All sources of one Baton, until it is told to stop."""

    def __init__(self, settings: Settings, log: Log, *, take_over: bool = False) -> None:
        self._settings = settings
        self._log = log
        self._take_over = take_over
        self.clock = StoppableClock()
        self._told = False
        self._wall = (time.time(), time.monotonic())

    def run(self) -> int:
        """Work until SIGTERM or SIGINT; 0 after a clean stop.

        Raises:
            BatonError: it cannot begin: a mapping at fault, a ledger in use.
        """
        with App.open(self._settings, clock=self.clock) as app, app.ledger.lock("run"), self._signals():
            run = app.ledger.begin_run("run")
            app.activate()
            workers = [
                Worker(app.engine(s.name), self.clock, self._log, self._take_over)
                for s in self._settings.sources
            ]
            self._log("info", "started", sources=[worker.name for worker in workers])
            scheduler = self._scheduled(app, workers)
            try:
                self._wait()
                self._log("info", "stopping")
            finally:
                self._end(scheduler, app)
            app.ledger.end_run(run, {})
            self._beat(app, running=False)
        self._log("info", "stopped")
        return 0

    def stop(self) -> None:
        """Tell it to stop; :meth:`run` returns within ten seconds."""
        self.clock.stopped.set()

    def _wait(self) -> None:
        """Until told to stop. It wakes up to listen: a signal that comes just before a wait begins does not end it."""
        while not self._told and not self.clock.stopped.wait(LISTEN_S):
            pass

    def _scheduled(self, app: App, workers: list[Worker]) -> BackgroundScheduler:
        scheduler = BackgroundScheduler(
            executors={"default": ThreadPoolExecutor(len(workers) + 1)},
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
            timezone=UTC,
        )
        for worker in workers:
            scheduler.add_job(
                worker.tick, "interval", seconds=TICK_S, id=worker.name, next_run_time=datetime.now(UTC)
            )
        scheduler.add_job(
            self._tick, "interval", [app], seconds=TICK_S, id="", next_run_time=datetime.now(UTC)
        )
        scheduler.start()
        return scheduler

    def _tick(self, app: App) -> None:
        """What other verbs asked for; the service's own heartbeat; this machine's clock."""
        try:
            for command in app.ledger.commands():
                said = control.perform(app, command.verb, command.arguments)
                app.ledger.keep_note(notes.answer(command.id), said)
                app.ledger.end_command(command.id)
                self._log("info", "command", verb=command.verb)
            self._beat(app, running=True)
            self._look_at_the_clock()
        except Stopping:
            return
        except LedgerError as fault:
            self._log("warning", "fault", what=str(fault))

    def _beat(self, app: App, *, running: bool) -> None:
        now = datetime.now(UTC).isoformat()
        app.ledger.keep_note(
            notes.SERVICE, dumps({"at": now, "pid": os.getpid(), "running": running}).decode()
        )

    def _look_at_the_clock(self) -> None:
        wall, ticks = time.time(), time.monotonic()
        jumped = (wall - self._wall[0]) - (ticks - self._wall[1])
        self._wall = (wall, ticks)
        if abs(jumped) > MOST_DRIFT.total_seconds():
            what = "this machine's clock jumped; deadlines go by the servers' time"
            self._log("warning", "clock", what=what, by_s=round(jumped))

    # --- stopping

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT set the stop; only the main thread may listen."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def told(number: int, frame: FrameType | None) -> None:
            self._told = True  # and no lock: the thread that is interrupted may hold the very one of the stop

        before = {number: signal.signal(number, told) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _end(self, scheduler: BackgroundScheduler, app: App) -> None:
        """Let each job come to its next step; where a server does not answer, end all the same."""
        self.clock.stopped.set()
        last = threading.Timer(GRACE_S, self._leave, [app])
        last.daemon = True
        last.start()
        scheduler.shutdown(wait=True)
        last.cancel()

    def _leave(self, app: App) -> None:
        """A server has not answered in time. Every step is a transaction, so this is as safe as a kill."""
        self._log(
            "warning", "leaving", what="a server does not answer; the next start looks for what was sent"
        )
        self._beat(app, running=False)
        os._exit(0)


def _place(fault: Exception) -> str:
    """Where a fault of our own happened: no value of it, which could be a patient's."""
    frames = [f for f in traceback.extract_tb(fault.__traceback__) if "adapter" in f.filename]
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"a fault of Baton's own ({type(fault).__name__} at {place}); please report it"


def _counts(numbers: Mapping[str, int]) -> str:
    """ "Task 3, CarePlan 1"; what is nought is left out."""
    return ", ".join(f"{name} {number}" for name, number in numbers.items() if number)
