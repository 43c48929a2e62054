"""What a poll came to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class PollResult:
    """One type's poll. All texts are safe to print.

    ``received`` counts rows on pages, ``changed`` those that are new in content. ``complete``: the walk has
    reached its end, so that absence may be believed as of its beginning. ``errors`` say why not, ``notes``
    what else a person should know. ``blind`` is why the type cannot be read at all, ``suspect`` why the
    source's writes have to stop. ``patients`` are named by what was received.
    """

    source: str
    type: str
    received: int = 0
    changed: int = 0
    same: int = 0
    quarantined: int = 0
    deleted: int = 0
    pages: int = 0
    complete: bool = False
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    blind: str = ""
    suspect: str = ""
    patients: set[str] = field(default_factory=set)
