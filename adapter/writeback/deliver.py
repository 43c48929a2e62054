"""Delivery: from the outbox to the EHR, Tasks before care plans.

Each delivery reads the resource first. A version that the ledger has not taken in is stored, a look is asked
for, and the delivery ends (F2); the attempt is committed before it is sent (F15); what was read is the base
of the update, and its version the If-Match. No HTTP inside a transaction of the ledger.

While a write is on its way, the next ones are prepared, and the answer before it taken in: the EHR is what is waited
for. Of one resource never more than one write is under way; of a source one until a write has gone well, then two, and
one again after whatever went wrong. The attempts of some that are prepared are committed together: a disk takes longer
for each commit than the rest of a write takes here. What is not sent after all is taken back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from adapter.errors import (
    AccessRefused,
    NotFhir,
    OutcomeUnknown,
    RateLimited,
    RetryableError,
    ServerError,
    Unsafe,
)
from adapter.fhir import Answer, FhirClient
from adapter.ledger import LeaseTaken, Ledger, OutboxRow
from adapter.writeback import codes
from adapter.writeback.ahead import FEWEST, ReadAhead, Reading
from adapter.writeback.arrivals import Keeper, WholeKeeper
from adapter.writeback.contexts import Contexts, DeliverySettings
from adapter.writeback.identity import WriterContext
from adapter.writeback.plan_delivery import PlanDelivery
from adapter.writeback.report import Report
from adapter.writeback.sending import Sender, Steps, Write
from adapter.writeback.task_delivery import TaskDelivery
from adapter.writeback.valid import NotRenderable

__all__ = ["Delivery", "DeliverySettings", "Report"]

VERIFY_EVERY_S = 60.0
GIVE_UP_AFTER = 3  # failures in a row: the server is down, not the resource
BACKOFF_S = 30.0
BACKOFF_CAP_S = 3600.0
LINE = 2  # writes on their way at once, where all goes well
GROUP = 4  # writes whose attempts are committed together


@dataclass(slots=True)
class _Begun:
    """A delivery that has begun: the write that it wants now, and the answer to it that is awaited.

    ``new`` is what :meth:`Ledger.begin_each` has told of its attempt.
    """

    row: OutboxRow
    steps: Steps
    write: Write | None = None
    new: bool = True
    answer: Future[Answer] | None = None


@dataclass(slots=True)
class _Round:
    """What the deliveries of one round share."""

    now: datetime
    report: Report
    dry_run: bool
    pool: ThreadPoolExecutor
    prepared: list[_Begun] = field(default_factory=list)  # no attempt of theirs is committed yet
    ready: deque[_Begun] = field(default_factory=deque)  # attempt committed, not sent
    under_way: deque[_Begun] = field(default_factory=deque)
    line: int = 1  # how many may be on their way


@dataclass(slots=True)
class Delivery:
    """Writes what the outbox of one source holds. Call :meth:`run` under the ledger's lock.

    ``keeper`` trims what is stored the way polling does; without one Tasks are kept whole.
    """

    client: FhirClient
    ledger: Ledger
    writer: WriterContext
    settings: DeliverySettings
    keeper: Keeper | None = None
    _sender: Sender = field(init=False)
    _verified: float = field(init=False, default=float("-inf"))
    _in_a_row: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        keeper = self.keeper or WholeKeeper(self.client.bases)
        self._sender = Sender(self.client, self.ledger, self.writer, self.settings, keeper)

    def run(self, now: datetime, *, dry_run: bool = False) -> Report:
        """Deliver what is due at ``now``; with ``dry_run`` only say what would be written.

        A source that refuses access ends the round and parks nothing (F21).

        Raises:
            Unsafe: this ledger may not write here (any more), or must adopt first.
        """
        report = Report()
        if self.writer.adopt:
            raise Unsafe(f"{self.settings.source.name}: adopt what stands in the EHR before writing")
        if not dry_run and self.writer.quiet_until and now < self.writer.quiet_until:
            report.errors.append(f"nothing is written until {self.writer.quiet_until:%H:%M:%S} (take-over)")
            return report
        self._verified, self._in_a_row = float("-inf"), 0
        with ThreadPoolExecutor(LINE, thread_name_prefix="write") as pool:
            self._rounds(_Round(now, report, dry_run, pool))
        return report

    def _rounds(self, round: _Round) -> None:
        """Batch after batch, until nothing is due or the round has to end."""
        done: set[str] = set()
        while rows := self._due(round.now, done):
            contexts = Contexts(self.ledger, self.settings, self.writer, self.client.bases)
            try:
                with ExitStack() as stack:
                    reading = self._reading(rows, stack, round)
                    for row in rows:
                        done.add(row.target)
                        if not self._one(row, contexts, reading, round):
                            return
                    if not self._send_rest(round):
                        return
            finally:
                goes_on = self._finish(round)
            if not goes_on:
                return

    def _reading(self, rows: Sequence[OutboxRow], stack: ExitStack, round: _Round) -> Reading:
        """How what stands there is read: ahead, where many Tasks wait. A dry run sends nothing but GET."""
        system = codes.need_system(self.writer.namespace)
        tasks = [row.target.removeprefix("Task/") for row in rows if row.target.startswith("Task/")]
        if len(tasks) < FEWEST:
            return Reading(self._sender, system)
        rows_of = self.ledger.tasks_by_id(tasks)
        held = [task for id in tasks if (task := rows_of.get(id)) is not None and not task.gone]
        return stack.enter_context(ReadAhead(self._sender, system, held, batches=not round.dry_run))

    def _due(self, now: datetime, done: set[str]) -> list[OutboxRow]:
        """Tasks first; plans only when no Task is left, so that each names what has just been
        acknowledged.
        """
        source = self.settings.source.name
        only = self.settings.only
        most = self.settings.batch + len(done) if only is None else 10_000_000
        found = self.ledger.due_writes(source, now, most)
        fresh = [row for row in found if row.target not in done and (only is None or row.target in only)]
        tasks = [row for row in fresh if row.target.startswith("Task/")]
        return tasks or fresh

    def _one(self, row: OutboxRow, contexts: Contexts, reading: Reading, round: _Round) -> bool:
        """Prepare one resource's write, and send one that is ready; False where the round ends."""
        self.client.clock.sleep(0.0)  # a service that was told to stop ends between two resources
        if self._paused(row):
            return True
        begun = _Begun(row, self._steps(row, contexts, reading, round))

        def first() -> Write:
            if not round.dry_run:
                self._verify()
            return next(begun.steps)

        goes_on = self._advance(begun, first, round)
        if begun.write is None or not goes_on:
            return goes_on
        round.prepared.append(begun)
        if len(round.prepared) >= GROUP:
            self._begin(round)
        return self._send(round) if round.ready else True

    def _steps(self, row: OutboxRow, contexts: Contexts, reading: Reading, round: _Round) -> Steps:
        now, report, dry_run = round.now, round.report, round.dry_run
        if row.target.startswith("Task/"):
            return TaskDelivery(self._sender, contexts, row, now, report, dry_run, reading).steps()
        return PlanDelivery(self._sender, contexts, row, now, report, dry_run).steps()

    def _advance(self, begun: _Begun, step: Callable[[], Write], round: _Round) -> bool:
        """Let a delivery go on to its next write, or to its end; False where the round has to end."""
        begun.write = None
        try:
            begun.write = step()
        except StopIteration:
            self._in_a_row = 0
        except ServerError as fault:
            return self._failed(begun.row, fault, round)
        except NotRenderable as fault:
            round.report.errors.append(f"{begun.row.target}: {fault.message}")
            if not round.dry_run:
                self.ledger.park(begun.row.target, "not valid")
                round.report.parked += 1
        except LeaseTaken:
            pass
        return True

    def _send(self, round: _Round) -> bool:
        """Send the next write that is ready, once there is room; False where the round ends."""
        goes_on, made_room = self._room(round)
        if not goes_on:
            return False
        self._put(round.ready.popleft(), round)
        return made_room is None or self._take_in(made_room, round)

    def _send_rest(self, round: _Round) -> bool:
        """Send all that is prepared; False where the round ends."""
        self._begin(round)
        while round.ready:
            self.client.clock.sleep(0.0)
            if not self._send(round):
                return False
        return True

    def _begin(self, round: _Round) -> None:
        """Commit attempts; a delivery of whose resource another one is under way ends here."""
        prepared, round.prepared = round.prepared, []
        attempts = [self._sender.attempt(begun.write) for begun in prepared if begun.write is not None]
        taken = self.ledger.begin_each(attempts) if attempts else {}
        for begun in prepared:
            if begun.row.target in taken:
                begun.new = taken[begun.row.target]
                round.ready.append(begun)
            else:
                begun.steps.close()

    def _room(self, round: _Round) -> tuple[bool, _Begun | None]:
        """Wait until one more may be on its way: whether the round goes on, and what was answered well.

        That is taken in while the next one is on its way; what went wrong is at once, and may end the round.
        """
        while len(round.under_way) >= round.line:
            first = round.under_way.popleft()
            if _went_well(first):
                return True, first
            if not self._take_in(first, round):
                return False, None
        return True, None

    def _put(self, begun: _Begun, round: _Round) -> None:
        """Send a write whose attempt is committed."""
        assert begun.write is not None
        begun.answer = round.pool.submit(self._sender.put, begun.write)
        round.under_way.append(begun)

    def _take_in(self, begun: _Begun, round: _Round) -> bool:
        """Wait for the answer and let the delivery end, with whatever more it sends; False where the round ends."""
        while begun.answer is not None:
            awaited, begun.answer = begun.answer, None
            round.line = LINE if awaited.exception() is None else 1
            goes_on = self._advance(begun, partial(_answered, begun.steps, awaited), round)
            if begun.write is None or not goes_on:
                return goes_on
            if self.ledger.begin_each([self._sender.attempt(begun.write)]):
                begun.answer = round.pool.submit(self._sender.put, begun.write)
            else:
                begun.steps.close()
        return True

    def _finish(self, round: _Round) -> bool:
        """Take back what was not sent, and take in what is on its way still; False where the round has to end."""
        self._take_back(round)
        goes_on = True
        while round.under_way:  # what was sent is taken in whatever came of the one before
            goes_on = self._take_in(round.under_way.popleft(), round) and goes_on
        return goes_on

    def _take_back(self, round: _Round) -> None:
        """What the round's end has kept from being sent is due again at once."""
        unsent, round.ready = round.ready, deque()
        for begun in (*round.prepared, *unsent):
            begun.steps.close()
        round.prepared.clear()
        if unsent:
            self.ledger.unsent({begun.row.target: begun.new for begun in unsent}, round.now)

    def _paused(self, row: OutboxRow) -> bool:
        """Whether a person paused the rule of an open task; what ended goes out all the same."""
        if not self.settings.paused or not row.target.startswith("Task/"):
            return False
        task = self.ledger.task(row.target.removeprefix("Task/"))
        return task is not None and task.open and task.rule in self.settings.paused

    def _verify(self) -> None:
        ticks = self.client.clock.monotonic()
        if ticks - self._verified >= VERIFY_EVERY_S:
            self.writer.verify()
            self._verified = ticks

    def _failed(self, row: OutboxRow, fault: ServerError, round: _Round) -> bool:
        now, report = round.now, round.report
        report.errors.append(f"{row.target}: {fault}")
        report.failed += 1
        if round.dry_run:
            return not isinstance(fault, AccessRefused | RetryableError)
        if isinstance(fault, AccessRefused):
            report.refused = True
            self._later(row, now, failed=False)
            return False
        if isinstance(fault, OutcomeUnknown):
            report.unknown += 1
            self.ledger.unknown(row.target, now + timedelta(seconds=self.settings.longest_request_s))
        elif isinstance(fault, RateLimited):
            self._later(row, now + timedelta(seconds=max(1.0, fault.retry_after)), failed=False)
            return False
        else:
            self._later(row, now + backoff(row.failures), failed=True)
            if not isinstance(fault, RetryableError | NotFhir):
                return True
        self._in_a_row += 1
        return self._in_a_row < GIVE_UP_AFTER

    def _later(self, row: OutboxRow, at: datetime, *, failed: bool) -> None:
        held = self.ledger.outbox_row(row.target)
        # An attempt that was answered with a refusal has changed nothing; an unknown one stays unknown.
        self.ledger.later(row.target, at, answered=bool(held and held.state == "leased"), failed=failed)


def _went_well(begun: _Begun) -> bool:
    """Wait for the answer: whether it is one."""
    return begun.answer is not None and begun.answer.exception() is None


def _answered(steps: Steps, answer: Future[Answer]) -> Write:
    """Give a delivery its answer, or the fault that came instead."""
    try:
        given = answer.result()
    except ServerError as fault:
        return steps.throw(fault)
    return steps.send(given)


def backoff(failures: int) -> timedelta:
    """How long a resource rests after so many failures."""
    return timedelta(seconds=min(BACKOFF_CAP_S, BACKOFF_S * 2.0 ** min(failures, 10)))
