"""Names of the small notes that one part of a Baton leaves in the ledger for another. They hold no patient data."""

from __future__ import annotations

SERVICE = "service"  # {"at", "pid", "running"} of the service
RULES = "rules"  # {rule: the template of its need} of the edition that was active last
KEPT = "kept"  # {edition: elements}: what was kept of a type under each edition
PAUSED_RULES = "paused-rules"  # rules that a person has paused or withdrawn
PAUSED_SINCE = "paused-since:"  # + a source's name: when a person paused it


def busy_day(source: str) -> str:
    """How many changes a source's day has brought so far, and its busiest one: {"day", "counts", "busiest"}."""
    return f"busy-day:{source}"


def beat(source: str) -> str:
    """A source's heartbeat: {"at", "state"}."""
    return f"beat:{source}"


def patients_asked(source: str) -> str:
    """When it was last asked which Patients of open work have to be read again."""
    return f"patients-asked:{source}"


def traces(source: str) -> str:
    """By what elements, and which version of them, the traces of a source's rows were told."""
    return f"traces:{source}"


def answer(command: int) -> str:
    """What came of a command, as JSON."""
    return f"command:{command}"


def sweep(source: str, type: str) -> str:
    """What the latest sweep of a type said."""
    return f"sweep:{source}:{type}"
