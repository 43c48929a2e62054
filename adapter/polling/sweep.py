"""The full sweep: every id and version that a server has of a type, against what the ledger holds.

Polls see what is stamped; a write that was stamped early and shown late, a stamp that went back, a resource that
left a filter are invisible to them for ever. A sweep compares id *and* version (F7: ids and counts alone would
prove nothing) and heals by reading what differs. What the next poll will bring anyway is not called missed: only
rows stamped before the watermark at the sweep's beginning are.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

from adapter.facts.times import parse_when
from adapter.fhir import Entry
from adapter.ledger import Held, WalkRow
from adapter.model import SnapshotState
from adapter.polling.context import PollingContext
from adapter.polling.intake import Intake
from adapter.polling.reader import Reader, unknown_quarantine

CAUSE = "sweep"
_ID_AND_META = ("_elements", "id,meta")


@dataclass(slots=True)
class SweepReport:
    """What a sweep of one type found.

    ``listed`` counts what the server has, ``missed`` what no poll would ever have brought, ``gone`` what was
    deleted without a trace. ``lost`` are own Tasks that the server does not know though nobody deleted them.
    ``complete``: every page came, and none with a ``warned`` that it may not be all.
    """

    type: str
    listed: int = 0
    missed: int = 0
    gone: int = 0
    doubtful: int = 0
    lost: tuple[str, ...] = ()
    why: dict[str, int] = field(default_factory=dict)
    warned: bool = False
    complete: bool = False

    def sentence(self) -> str:
        """ "0 missed of 1,204", and why where some were."""
        said = f"{self.type}: {self.missed} missed of {self.listed}"
        reasons = ", ".join(f"{number} {reason}" for reason, number in sorted(self.why.items()))
        if self.warned:
            said += "; the server warned that its list may not be all, so nothing is proved"
        if self.gone:
            said += f"; {self.gone} deleted without a trace"
        return f"{said} ({reasons}); they are read now" if self.missed else said


@dataclass(frozen=True, slots=True)
class _Row:
    ref: str
    version: str
    stamp: datetime | None


class Sweep:
    """Sweeps one type of one source, some pages at a time, so that nothing else has to wait for it."""

    def __init__(self, context: PollingContext, type: str) -> None:
        self._context = context
        self._reader = Reader(context)
        self.report = SweepReport(type)

    def run(self) -> SweepReport:
        """The whole sweep at once.

        Raises:
            ServerError: the server fails or refuses; nothing was concluded from its silence.
        """
        for _ in self.steps():
            pass
        return self.report

    def steps(self) -> Generator[None]:
        """The sweep, handing back after every page.

        Raises:
            ServerError: as for :meth:`run`.
        """
        type, context = self.report.type, self._context
        walk = context.ledger.walk(context.source, type)
        seen: set[str] = set()
        for page in context.pages(type, [*context.filters(type), *self._since(), *self._asked()]):
            rows = [row for row in map(_row, page.entries) if row and row.ref not in seen]
            seen.update(row.ref for row in rows)
            self._compare(rows, walk)
            self.report.warned = self.report.warned or bool(page.warnings)
            yield
        self.report.listed = len(seen)
        if not self.report.warned:  # a list that may have been cut says nothing of what it leaves out (F64)
            yield from self._unlisted(seen)
        self.report.complete = not self.report.warned

    def _asked(self) -> Iterator[tuple[str, str]]:
        yield _ID_AND_META
        yield ("_sort", "_lastUpdated")
        yield ("_count", str(max(200, self._context.page_size)))

    def _since(self) -> Iterator[tuple[str, str]]:
        since = self._context.since.get(self.report.type)
        if since is not None:
            yield ("_lastUpdated", f"ge{since:%Y-%m-%dT%H:%M:%SZ}")

    # --- what the server has and the ledger has not

    def _compare(self, rows: list[_Row], walk: WalkRow) -> None:
        held = self._context.ledger.inventory_of(self._context.source, [row.ref for row in rows])
        differing = [row for row in rows if _differs(row, held.get(row.ref))]
        if not differing:
            return
        self._heal([row.ref for row in differing])
        for row in differing:
            if _never_polled_again(row, walk):
                self.report.missed += 1
                reason = "never seen" if row.ref not in held else "held in another version"
                self.report.why[reason] = self.report.why.get(reason, 0) + 1

    def _heal(self, refs: list[str]) -> None:
        """Read by id, and store as a poll would: the listing stands under the same filters, so all is in scope."""
        context, taken = self._context, self._reader.read_all(refs).taken
        quarantine = unknown_quarantine(context, taken.quarantine)
        context.ledger.store(
            context.source, taken.arrivals, cause=CAUSE, quarantine=quarantine, now=context.clock.now()
        )

    # --- what the ledger has and the server has not

    def _unlisted(self, seen: set[str]) -> Generator[None]:
        context, type, after = self._context, self.report.type, ""
        while refs := context.ledger.alive(context.source, type, after=after):
            after = refs[-1]
            absent = [ref for ref in refs if ref not in seen]
            for start in range(0, len(absent), 50):
                self._bury(absent[start : start + 50])
                yield

    def _bury(self, refs: list[str]) -> None:
        batch = self._reader.read_all(refs)
        taken = Intake([*batch.taken.arrivals], [*batch.taken.quarantine])
        missing = [look for look in batch.missing if not look.ref.startswith("Task/")]
        self.report.lost += tuple(look.ref for look in batch.missing if look.ref.startswith("Task/"))
        if missing and self.report.listed:  # something was found there, so a 404 means what it says (F18)
            taken.arrivals += [self._reader.tombstone(look) for look in missing]
            self.report.gone += len(missing)
        self.report.gone += len(batch.gone)
        self.report.doubtful += len(batch.refused)
        self._reader.store(taken, CAUSE)


def _row(entry: Entry) -> _Row | None:
    resource = entry.resource
    if entry.mode in ("include", "outcome") or resource is None:
        return None
    id, type, meta = resource.get("id"), resource.get("resourceType"), resource.get("meta")
    if not isinstance(id, str) or not isinstance(type, str) or type == "OperationOutcome":
        return None
    known = meta if isinstance(meta, dict) else {}
    version, stamp = known.get("versionId"), parse_when(known.get("lastUpdated"), UTC)
    return _Row(f"{type}/{id}", version if isinstance(version, str) else "", stamp.instant if stamp else None)


def _differs(row: _Row, held: Held | None) -> bool:
    """By version; where the server gives none, by its stamp; where it gives neither, it has to be read."""
    if held is None or held.state is SnapshotState.DELETED:
        return True
    if row.version and held.version:
        return row.version != held.version
    if row.stamp is not None and held.last_updated is not None:
        return row.stamp != held.last_updated
    return True


def _never_polled_again(row: _Row, walk: WalkRow) -> bool:
    """Stamped before the watermark: no later poll asks for it."""
    if walk.watermark is None:
        return False
    return row.stamp is None or row.stamp < walk.watermark
