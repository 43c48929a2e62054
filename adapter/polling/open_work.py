"""Open work, read again by id once a business day, whatever the polls see (F7).

Late commits, stamps that go back and resources that left a filter are invisible to every poll; what people
are working on must not be wrong for longer than a day because of that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from adapter.errors import ServerError
from adapter.model import SnapshotState
from adapter.polling.context import PollingContext
from adapter.polling.intake import Intake
from adapter.polling.reader import Batch, Look, Reader


@dataclass(slots=True)
class RereadReport:
    """What a rereading came to.

    ``lost`` are Tasks that the server does not know (404) though nobody deleted them: a delivery writes them
    again. ``doubtful`` are refs that could be neither read nor called gone.
    """

    read: int = 0
    changed: int = 0
    gone: int = 0
    lost: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    complete: bool = False
    errors: list[str] = field(default_factory=list)


class OpenWork:
    """Rereads what open tasks hang on at one source."""

    def __init__(self, context: PollingContext) -> None:
        self._context = context
        self._reader = Reader(context)

    def due(self, day: str) -> bool:
        """Whether the business day ``day`` ("2026-03-02") has not been done yet."""
        row = self._context.ledger.source(self._context.source)
        return row is not None and row.reread_day != day

    def reread(self, day: str) -> RereadReport:
        """Read the Task, focus and links of every open task; the day is noted once all could be asked."""
        report = self.read(sorted(self._context.ledger.open_work_refs(self._context.source)))
        row = self._context.ledger.source(self._context.source)
        if report.complete and row is not None:
            self._context.ledger.save_source(replace(row, reread_day=day))
        return report

    def read(self, refs: Iterable[str]) -> RereadReport:
        """Read these now, and store what they are."""
        report = RereadReport()
        refs = self._ever_there(list(refs))
        try:
            batch = self._reader.read_all(refs)
            buried, doubtful = self._missing(batch)
        except ServerError as fault:
            report.errors.append(str(fault))
            return report
        batch.taken.arrivals += [self._reader.tombstone(look) for look in buried]
        tasks, rest = _parted(batch.taken)
        changed = self._reader.store(tasks, "read-back").changed if tasks.arrivals else 0
        changed += self._reader.store(rest, "resource").changed
        report.read, report.changed = len(refs) - len(batch.refused), changed
        report.gone = len(batch.gone) + len(buried)
        report.lost = tuple(look.ref for look in batch.missing if look.ref.startswith("Task/"))
        report.doubtful = tuple([*batch.refused, *doubtful])
        report.errors += [f"open work cannot be read ({why})" for why in sorted(set(batch.refused.values()))]
        report.complete = True
        return report

    def _ever_there(self, refs: list[str]) -> list[str]:
        """Without own Tasks that were never seen in the EHR: not written yet, or only being written."""
        own = [ref for ref in refs if ref.startswith("Task/")]
        seen = self._context.ledger.snapshots(self._context.source, own)
        return [ref for ref in refs if not ref.startswith("Task/") or ref in seen]

    def _missing(self, batch: Batch) -> tuple[list[Look], list[str]]:
        """Of what is 404: what counts as deleted, and what does not, since nothing at all is found."""
        missing = [look for look in batch.missing if not look.ref.startswith("Task/")]
        if not missing:
            return [], []
        if self._answers(batch):
            return missing, []
        return [], [look.ref for look in missing]

    def _answers(self, batch: Batch) -> bool:
        """Whether anything is found by id, of the batch or of the walks' anchors."""
        if any(arrival.state is not SnapshotState.DELETED for arrival in batch.taken.arrivals):
            return True
        anchors = (walk.anchor_ref for walk in self._context.ledger.walks(self._context.source))
        return self._reader.finds_one_of(ref for ref in anchors if ref)


def _parted(taken: Intake) -> tuple[Intake, Intake]:
    tasks = [arrival for arrival in taken.arrivals if arrival.type == "Task"]
    rest = [arrival for arrival in taken.arrivals if arrival.type != "Task"]
    return Intake(tasks, []), Intake(rest, taken.quarantine)
