"""The ledger: snapshots, requests, tasks with their events, care plans and the outbox, in one SQLite file.

Only this package knows SQL. Everything it raises is a :class:`~adapter.errors.LedgerError`.
"""

from adapter.ledger.fold import EventError, as_set, difference, fold, fold_all
from adapter.ledger.outbox import LeaseTaken
from adapter.ledger.records import (
    LONGEST_REQUEST_S,
    MAX_PERSON,
    Arrival,
    Attempt,
    CommandRow,
    Held,
    HoldRow,
    LookResult,
    Named,
    OutboxRow,
    QuarantineRow,
    RunRow,
    SourceRow,
    Stored,
    WalkRow,
)
from adapter.ledger.store import Ledger

__all__ = [
    "LONGEST_REQUEST_S",
    "MAX_PERSON",
    "Arrival",
    "Attempt",
    "CommandRow",
    "EventError",
    "Held",
    "HoldRow",
    "LeaseTaken",
    "Ledger",
    "LookResult",
    "Named",
    "OutboxRow",
    "QuarantineRow",
    "RunRow",
    "SourceRow",
    "Stored",
    "WalkRow",
    "as_set",
    "difference",
    "fold",
    "fold_all",
]
