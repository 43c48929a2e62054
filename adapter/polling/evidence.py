"""Evidence: types read for one patient, when a look asks for them.

It counts as absence only if all pages came, without warnings, and they answer the question that was asked
(F64): silently narrower scopes and cut lists answer 200, too.

A type that is polled is asked for so where its walk began before something that a look has to judge (F3). Where
many looks lack the same type, its walk is made once more instead: it answers them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from adapter.errors import AccessRefused, NotFhir, NotFound, Rejected, ServerError
from adapter.polling.context import PollingContext
from adapter.polling.intake import Intake, Sight, sight_of, take_page
from adapter.polling.patients import PatientReader
from adapter.polling.poller import Poller
from adapter.polling.reader import Reader, Sighting, reason_of
from adapter.polling.result import PollResult

LEAST_READS = 10  # of a polled type for single patients, before its walk is made once more

_UNREAD = "a row cannot be read"


@dataclass(frozen=True, slots=True)
class ReadReport:
    """One type read for one patient. ``reason`` says why it is not complete; safe to print.

    ``passing``: it failed and was not refused, so that the same read may come a minute later.
    """

    patient: str
    type: str
    complete: bool
    received: int = 0
    changed: int = 0
    reason: str = ""
    passing: bool = False


class Evidence:
    """Reads types for patients at one source; made for one run of looks.

    ``unread`` are the patients of whom a read failed for the time being: nothing else would wake them again.
    ``walked`` are the walks that were made once more; without a ``poller`` there are none.
    """

    def __init__(
        self, context: PollingContext, patients: PatientReader | None = None, poller: Poller | None = None
    ) -> None:
        self._context = context
        self._reader = Reader(context)
        self._patients = patients or PatientReader(context)
        self._poller = poller
        self._reads: Counter[str] = Counter()
        self._foreseen: Counter[str] = Counter()  # reads with those that are sure to come
        self._answered: dict[str, set[str]] = {}  # type → whom its second walk has answered
        self.unread: set[str] = set()
        self.walked: dict[str, PollResult] = {}

    def foresee(self, lacking: Mapping[str, int]) -> None:
        """Take note that so many persons are about to be read for, by type: what many lack is walked at once."""
        for type, number in lacking.items():
            self._foreseen[type] = self._reads[type] + number

    def read_for(self, patient: str, type: str, *, held: Iterable[str] = ()) -> ReadReport:
        """Read all of a type for "Patient/id", store it, and record as of when absence may be believed.

        Args:
            patient: the patient.
            type: any type; "Patient" reads the Patient itself by id, "Task" our own open Tasks of the person.
            held: refs of the type that are held of this patient: those that do not come back are read by id,
                since a deletion shows in no search.

        A refusal or a passing fault is recorded with its reason and is no exception.
        """
        match type:
            case "Patient":
                report = self._patient(patient)
            case "Task":
                report = self._own_tasks(patient)
            case _ if not held and self._answered_by_walk(patient, type):
                return ReadReport(patient, type, True)
            case _:
                report = self._read(patient, type, held)
        if report.passing:
            self.unread.add(patient)
        return report

    def retry_refused(self) -> None:
        """Try one read of each type that was refused for somebody; if it comes, all of them are looked at again."""
        ledger, source = self._context.ledger, self._context.source
        for type, patient in ledger.refused_reads(source).items():
            if not ledger.walk(source, type).declared_none and self.read_for(patient, type).complete:
                ledger.request(source, [patient], f"seen:{type}")
                ledger.forget_refusals(source, type)

    def ask_again(self) -> None:
        """Ask for another look, with the next pass, at those of whom a read failed for the time being."""
        if self.unread:
            self._context.ledger.request(self._context.source, sorted(self.unread), "unread")
            self.unread.clear()

    def _answered_by_walk(self, patient: str, type: str) -> bool:
        """Whether the type's second walk answers for a patient, whom it answers once: who lacks the type still,
        or again, is asked for alone.

        Where fewer lack it, as far as is known, than the walk had pages when it was last made, they are read for
        singly. Should more of them come, both together cost at most twice what the better one would have.
        """
        if self._poller is None or type not in self._context.polled:
            return False
        if type not in self.walked:
            self._reads[type] += 1
            reads = max(self._reads[type], self._foreseen[type])
            if reads <= max(LEAST_READS, self._poller.pages[type]) or not self._walks(type):
                return False
            self.walked[type] = self._poller.poll(type)
        answered = self._answered.setdefault(type, set())
        if not self.walked[type].complete or patient in answered:
            return False
        answered.add(patient)
        return True

    def _walks(self, type: str) -> bool:
        """Whether a walk can tell of absence: it came through before, and no filter hides anything."""
        row = self._context.ledger.walk(self._context.source, type)
        return row.known_at is not None and not (row.bounded or row.blind or row.declared_none)

    def _read(self, patient: str, type: str, held: Iterable[str]) -> ReadReport:
        try:
            taken, sight, reason = self._search(patient, type)
            self._confirm(taken, held)
        except (AccessRefused, NotFound, Rejected, NotFhir) as fault:
            return self._refused(patient, type, reason_of(fault))
        except ServerError as fault:
            return ReadReport(patient, type, False, reason=reason_of(fault), passing=True)
        stored = self._reader.store(taken, "evidence")
        if stored.waiting and not reason:
            reason = _UNREAD
        self._context.ledger.record_read(
            self._context.source,
            patient,
            type,
            at=sight.date,
            seq=sight.sent_seq,
            complete=not reason,
            reason=reason,
        )
        return ReadReport(patient, type, not reason, len(taken.arrivals), stored.changed, reason)

    def _search(self, patient: str, type: str) -> tuple[Intake, Sight, str]:
        """All rows, the sight of the first page, and why they may not be all."""
        context = self._context
        id = patient.partition("/")[2]
        params = [("patient", id), ("_count", str(context.page_size))]
        taken, first, reason = Intake(), None, ""
        strangers = rows = 0
        for page in context.pages(type, params):
            sight = sight_of(page, context.now(), first.sent_seq if first else 0)
            first = first or sight
            found = take_page(page, type, sight, context)
            own = [a for a in found.arrivals if not a.patients or patient in a.patients]
            strangers += len(found.arrivals) - len(own)
            rows += len(found.arrivals)
            taken.arrivals += own
            taken.quarantine += [q for q in found.quarantine if not q.patients or patient in q.patients]
            if page.warnings:
                reason = "; ".join(issue.safe() for issue in page.warnings)[:200]
        assert first is not None
        if not reason and taken.quarantine:
            reason = _UNREAD
        if not reason and strangers and strangers == rows:
            reason = "the rows are of other patients"
        return taken, first, reason

    def _confirm(self, taken: Intake, held: Iterable[str]) -> None:
        for ref in dict.fromkeys(held):
            if ref in taken.refs():
                continue
            look = self._reader.look(ref)
            taken.arrivals += look.taken.arrivals
            taken.quarantine += look.taken.quarantine
            if look.sighting is Sighting.MISSING:
                taken.arrivals.append(self._reader.tombstone(look))

    def _refused(self, patient: str, type: str, reason: str) -> ReadReport:
        context = self._context
        context.ledger.record_read(
            context.source,
            patient,
            type,
            at=context.now(),
            seq=context.ledger.seq.next(),
            complete=False,
            reason=reason,
        )
        return ReadReport(patient, type, False, reason=reason)

    def _own_tasks(self, patient: str) -> ReadReport:
        """What a person did to our open Tasks is known before a deadline acts on them (F28)."""
        context = self._context
        held = context.ledger.tasks(context.source, open_only=True, patient=patient)
        since, seq = context.now(), context.ledger.seq.next()
        try:
            batch = self._reader.read_all([f"Task/{task.id}" for task in held if task.seen_version])
        except ServerError as fault:
            return ReadReport(patient, "Task", False, reason=reason_of(fault), passing=True)
        if batch.refused:
            return self._refused(patient, "Task", next(iter(batch.refused.values())))
        stored = self._reader.store(batch.taken, "read-back")
        began = batch.sight.date if batch.sight else since
        context.ledger.record_read(context.source, patient, "Task", at=began, seq=seq, complete=True)
        return ReadReport(patient, "Task", True, len(batch.taken.arrivals), stored.changed)

    def _patient(self, patient: str) -> ReadReport:
        done = self._patients.refresh([patient], always=True)
        reason = done.errors[0] if done.errors else ""
        return ReadReport(patient, "Patient", not reason, done.read, done.changed, reason, done.failed)
