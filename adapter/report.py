"""What a pass is asked, and what it says that it did: by source, and in all. No text here holds patient data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol


class Progress(Protocol):
    """Told what is going on, and how far where that is known."""

    def __call__(self, text: str, done: int = 0, total: int = 0) -> None: ...


def no_progress(text: str, done: int = 0, total: int = 0) -> None:
    """Nobody is told."""


@dataclass(frozen=True, slots=True)
class PassOptions:
    """How a pass is made.

    ``only`` are the targets ("Task/...", "CarePlan/...") of a saved plan: of them what is still wanted is
    written, and nothing else. ``dry_run`` belongs on a copy of the ledger.
    """

    take_over: bool = False
    dry_run: bool = False
    only: frozenset[str] | None = None
    progress: Progress = no_progress
    sweep: bool = False


@dataclass(slots=True)
class SourceReport:
    """What a pass did at one source. ``polled`` counts what was received, by type; ``errors`` are safe to print.

    ``blind`` are types that cannot be read here at all: not offered, or refused.
    """

    name: str
    polled: dict[str, int] = field(default_factory=dict)
    changed: dict[str, int] = field(default_factory=dict)
    quarantined: int = 0
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: bool = False
    blind: list[str] = field(default_factory=list)
    swept: list[str] = field(default_factory=list)


@dataclass(slots=True)
class SyncReport:
    """What a pass did in all."""

    sources: list[SourceReport] = field(default_factory=list)
    tasks: Counter[str] = field(default_factory=Counter)
    writes: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    holds: list[int] = field(default_factory=list)
    failed: int = 0
    waiting: int = 0  # in quarantine, parked or held, since this pass or an earlier one

    def as_json(self) -> dict[str, Any]:
        """The object that ``sync --json`` prints."""
        return {
            "sources": [
                {
                    "name": s.name,
                    "polled": s.polled,
                    "changed": s.changed,
                    "quarantined": s.quarantined,
                    "errors": s.errors,
                    "swept": s.swept,
                }
                for s in self.sources
            ],
            "tasks": {
                name: self.tasks[name]
                for name in ("opened", "revised", "completed", "withdrawn", "held", "escalated")
            },
            "writes": {name: self.writes[name] for name in ("Task", "CarePlan", "unchanged", "parked")},
        }

    @property
    def exit_code(self) -> int:
        """0 done, 1 a source failed, 3 done with something that needs a person."""
        if any(source.failed for source in self.sources):
            return 1
        blind = any(source.blind for source in self.sources)
        return 3 if self.waiting or self.holds or self.failed or blind else 0
