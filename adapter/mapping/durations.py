"""Spans of time as mappings write them: ``3 business days``, ``14 days``, ``4h``."""

from __future__ import annotations

import re
from enum import StrEnum

from msgspec import Struct


class Unit(StrEnum):
    """What is counted. Minutes and hours pass in UTC; the others are counted on the source's calendar."""

    MINUTES = "minutes"
    HOURS = "hours"
    DAYS = "days"
    WEEKS = "weeks"
    MONTHS = "months"
    BUSINESS_HOURS = "business hours"
    BUSINESS_DAYS = "business days"
    BUSINESS_MORNINGS = "business mornings"

    @property
    def counts_days(self) -> bool:
        """Whether the result is a day for people, not a time of day."""
        return self is not Unit.MINUTES and self is not Unit.HOURS and self is not Unit.BUSINESS_HOURS


_SHORT = {"m": Unit.MINUTES, "h": Unit.HOURS, "d": Unit.DAYS, "w": Unit.WEEKS}
_FORM = re.compile(
    r"(?P<count>\d{1,6})(?:(?P<short>[mhdw])|\s+(?P<business>business\s+)?(?P<unit>minute|hour|day|week|month|morning)s?)"
)


class Duration(Struct, frozen=True):
    """A number of units, never negative."""

    count: int
    unit: Unit

    def __str__(self) -> str:
        return f"{self.count} {self.unit}"


def parse_duration(text: str) -> Duration | None:
    """The duration that a text says; None where it says none."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        return None
    if found["short"]:
        return Duration(int(found["count"]), _SHORT[found["short"]])
    name = ("business " if found["business"] else "") + found["unit"] + "s"
    try:
        return Duration(int(found["count"]), Unit(name))
    except ValueError:
        return None
