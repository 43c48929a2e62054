"""Patients: not polled over the population, but read by id when somebody is to be looked at (F38), and searched for
where a resource names one by an identifier alone (F47)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from adapter.errors import AccessRefused, NotFhir, NotFound, Rejected, ServerError
from adapter.ledger import Arrival
from adapter.polling.context import PollingContext
from adapter.polling.intake import sight_of, take_page
from adapter.polling.reader import Batch, Look, Reader, live
from adapter.references import parse_reference

FRESH = timedelta(days=1)
NOBODY_FOUND = "404, and no other Patient is found"
_CONTROLS = 3  # known Patients that are asked for before a 404 is believed
_ROUNDS = 10  # how far links are followed: a person has at most ten Patients
_MOST_SEARCHES = 100  # for identifiers, in one pass: what is left is asked for in the next
_MOST_BEARERS = 20  # whose identifier it is is then told as well as with more


@dataclass(slots=True)
class PatientsReport:
    """What a refresh came to: how many Patients were read, are new in content, and why some were not.

    ``failed``: for the time being, without a refusal.
    """

    read: int = 0
    changed: int = 0
    gone: int = 0
    errors: list[str] = field(default_factory=list)
    failed: bool = False


class PatientReader:
    """Keeps the Patients fresh that looks need. One per source; it remembers what it read."""

    def __init__(self, context: PollingContext) -> None:
        self._context = context
        self._reader = Reader(context)
        self._read_at: dict[str, datetime] = {}

    def refresh_pending(self, named: Iterable[str] = ()) -> PatientsReport:
        """Read the Patients of all who wait for a look, and ``named`` ones, unless read within a day."""
        return self.refresh([*self._context.ledger.waiting(self._context.source), *named])

    def refresh(self, patients: Iterable[str], *, always: bool = False) -> PatientsReport:
        """Read "Patient/id"s in lists of up to fifty, and whom they are linked to.

        Fresh ones are left out unless ``always``. Each read is recorded, so that an unchanged Patient counts
        as read.
        """
        report = PatientsReport()
        wanted = [ref for ref in dict.fromkeys(patients) if ref.startswith("Patient/")]
        seen: set[str] = set()
        for _ in range(_ROUNDS):
            wanted = [ref for ref in wanted if ref not in seen]
            todo = wanted if always else self._stale(wanted)
            if not todo:
                return report
            seen.update(wanted)
            try:
                wanted = self._read(todo, report)
            except ServerError as fault:
                report.errors.append(str(fault))
                report.failed = True
                return report
        return report

    def find_named(self) -> PatientsReport:
        """Search for the Patients whom resources name by an identifier alone, each identifier by itself.

        What was found is stored, which gives those resources to them. Where Patients cannot be searched so, it
        stays with those that are read for other reasons.
        """
        report, context = PatientsReport(), self._context
        if not self._can_search():
            return report
        wanted = context.ledger.identifiers_to_ask(context.source, context.now(), _MOST_SEARCHES)
        for identifier in wanted:
            try:
                trusted = self._find(identifier, report)
            except (AccessRefused, NotFhir, NotFound, Rejected):
                trusted = False
            except ServerError as fault:
                report.errors.append(str(fault))
                report.failed = True
                return report
            context.ledger.asked_identifier(context.source, identifier, context.now())
            if not trusted:
                return report  # the others would be answered no better: one is tried with each pass
        return report

    def _can_search(self) -> bool:
        capability = self._context.capability
        offered = capability.search_params("Patient") if capability else frozenset()
        return not offered or "identifier" in offered

    def _find(self, identifier: str, report: PatientsReport) -> bool:
        """Store all Patients who bear an identifier; whether the answer can be trusted to be about it."""
        batch = Batch()
        for page in self._context.pages("Patient", [("identifier", _token(identifier)), ("_count", "10")]):
            sight = sight_of(page, self._context.now())
            batch.sight = batch.sight or sight
            taken = take_page(page, "Patient", sight, self._context)
            if page.warnings or any(identifier not in found.identifiers for found in live(taken.arrivals)):
                return False  # a server that does not know the parameter shows anybody
            batch.taken.arrivals += taken.arrivals
            batch.taken.quarantine += taken.quarantine
            if len(batch.taken.arrivals) >= _MOST_BEARERS:
                break
        stored = self._reader.store(batch.taken, "resource")
        report.read += len(batch.taken.arrivals)
        report.changed += stored.changed
        self._record(batch.taken.refs(), batch)
        known = self._context.ledger.bearers(self._context.source, identifier)
        self.refresh(known - set(batch.taken.refs()), always=True)  # who was not found may bear it no more
        return True

    def _stale(self, refs: list[str]) -> list[str]:
        context, limit = self._context, self._context.now() - FRESH
        unread = [ref for ref in refs if self._read_at.get(ref, limit) <= limit]
        held = context.ledger.received_at(context.source, unread)
        return [ref for ref in unread if (held.get(ref) or limit) <= limit or ref in self._read_at]

    def _read(self, refs: list[str], report: PatientsReport) -> list[str]:
        """Read and store; the Patients that these are linked to."""
        batch = self._reader.read_all(refs)
        missing, doubtful = self._missing(batch)
        batch.refused.update(dict.fromkeys(doubtful, NOBODY_FOUND))
        batch.taken.arrivals += [self._reader.tombstone(look) for look in missing]
        stored = self._reader.store(batch.taken, "resource")
        report.read += len(refs) - len(batch.refused)
        report.changed += stored.changed
        report.gone += len(batch.gone) + len(missing)
        report.errors += [
            f"Patients cannot be read ({why}) → baton check" for why in sorted(set(batch.refused.values()))
        ]
        self._record(refs, batch)
        return [other for arrival in live(batch.taken.arrivals) for other in self._links(arrival)]

    def _missing(self, batch: Batch) -> tuple[list[Look], list[str]]:
        """Of what is 404: who counts as deleted, and who does not, since no Patient at all is found (F18).

        A sign-in that lost its scope, or a tenant header that got lost, answers so for everybody.
        """
        if not batch.missing or batch.gone or any(True for _ in live(batch.taken.arrivals)):
            return batch.missing, []
        refs = [look.ref for look in batch.missing]
        if self._finds_another(refs):
            return batch.missing, []
        return [], refs

    def _finds_another(self, missing: list[str]) -> bool:
        """Whether a Patient that is known is still found by id."""
        context = self._context
        known = context.ledger.alive(context.source, "Patient", limit=len(missing) + _CONTROLS)
        others = [ref for ref in known if ref not in missing][:_CONTROLS]
        return self._reader.finds_one_of(others)

    def _record(self, refs: list[str], batch: Batch) -> None:
        context, sight = self._context, batch.sight
        if sight is None:
            return
        with context.ledger.transaction(durable=False):  # what is lost with the power is read again
            for ref in refs:
                reason = batch.refused.get(ref, "")
                context.ledger.record_read(
                    context.source,
                    ref,
                    "Patient",
                    at=sight.date,
                    seq=sight.sent_seq,
                    complete=not reason,
                    reason=reason,
                )
                if not reason:
                    self._read_at[ref] = sight.date

    def _links(self, patient: Arrival) -> list[str]:
        links = patient.body.get("link")
        others = (
            [one.get("other") for one in links if isinstance(one, dict)] if isinstance(links, list) else []
        )
        found = (parse_reference(other, self._context.client.bases).local for other in others)
        return [ref for ref in found if ref.startswith("Patient/")]


def _token(identifier: str) -> str:
    """ "system|value" as a search has to have it: what a value holds of the signs that part values is escaped."""
    system, _, value = identifier.partition("|")
    return f"{_escaped(system)}|{_escaped(value)}"


def _escaped(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "\\,|$" else sign for sign in text)
