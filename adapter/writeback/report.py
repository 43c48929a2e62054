"""What a round of writes did."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """Counts of one round.

    ``written`` counts by type; ``unchanged`` is what needed no write, ``read_back`` what a person (or another
    system) had changed, so that a look comes first; ``deleted`` what was found deleted. ``lost`` are elements
    that the EHR did not keep as they were sent, ``differences`` what a dry run would write: both are for the
    person who asked. ``refused`` is true where the EHR refused access, which parks nothing. ``failed`` counts
    what did not come through and is tried again. ``errors`` hold no patient data.
    """

    written: dict[str, int] = field(default_factory=lambda: {"Task": 0, "CarePlan": 0})
    unchanged: int = 0
    read_back: int = 0
    deleted: int = 0
    parked: int = 0
    unknown: int = 0
    failed: int = 0
    refused: bool = False
    differences: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def looks(self) -> int:
        """How many resources wait for a look before they can be written."""
        return self.read_back + self.deleted
