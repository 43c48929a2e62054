"""Quantities: a number with a unit, and as much of UCUM as rules and the HL7 suite ask for."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

CALENDAR = ("year", "month", "week", "day", "hour", "minute", "second", "millisecond")
_UCUM_TIME = {"wk": "week", "d": "day", "h": "hour", "min": "minute", "s": "second", "ms": "millisecond"}
_PREFIXES = {"k": 3, "h": 2, "da": 1, "d": -1, "c": -2, "m": -3, "u": -6, "n": -9}
# unit → (factor, base, power). Calendar years and months are not the UCUM ones, which have a fixed length.
_UNITS: dict[str, tuple[Decimal, str, int]] = {
    "1": (Decimal(1), "", 0),
    "%": (Decimal("0.01"), "", 0),
    "g": (Decimal(1), "g", 1),
    "[lb_av]": (Decimal("453.59237"), "g", 1),
    "[oz_av]": (Decimal("28.349523125"), "g", 1),
    "m": (Decimal(1), "m", 1),
    "[in_i]": (Decimal("0.0254"), "m", 1),
    "[ft_i]": (Decimal("0.3048"), "m", 1),
    "L": (Decimal("0.001"), "m", 3),
    "l": (Decimal("0.001"), "m", 3),
    "s": (Decimal(1), "s", 1),
    "min": (Decimal(60), "s", 1),
    "h": (Decimal(3600), "s", 1),
    "d": (Decimal(86_400), "s", 1),
    "wk": (Decimal(604_800), "s", 1),
    "mo": (Decimal(2_629_800), "s", 1),
    "a": (Decimal(31_557_600), "s", 1),
    "week": (Decimal(604_800), "s", 1),
    "day": (Decimal(86_400), "s", 1),
    "hour": (Decimal(3600), "s", 1),
    "minute": (Decimal(60), "s", 1),
    "second": (Decimal(1), "s", 1),
    "millisecond": (Decimal("0.001"), "s", 1),
    "month": (Decimal(1), "month", 1),
    "year": (Decimal(12), "month", 1),
}
_METRIC = frozenset({"g", "m", "L", "l", "s"})
_FACTOR = re.compile(r"(?P<unit>\[\w+\]|[A-Za-z%]+|1)(?P<power>[+-]?\d+)?")
_TEXT = re.compile(r"\s*(?P<value>[+-]?\d+(?:\.\d+)?)\s*(?:'(?P<ucum>[^']+)'|(?P<word>[a-z]+))?\s*")


@dataclass(frozen=True, slots=True)
class Quantity:
    """``value`` in ``unit``: a UCUM code, or a calendar word in the singular where ``by_calendar``."""

    value: Decimal
    unit: str = "1"
    by_calendar: bool = False

    @staticmethod
    def ucum(value: Decimal, code: str) -> Quantity:
        """With a UCUM code; calendar words in quotes are taken as calendar words."""
        word = code.removesuffix("s")
        return Quantity(value, word, True) if word in CALENDAR else Quantity(value, code)

    @staticmethod
    def calendar(value: Decimal, word: str) -> Quantity:
        """With a calendar word, singular or plural."""
        return Quantity(value, word.removesuffix("s"), True)

    @staticmethod
    def of(text: str) -> Quantity | None:
        """What a text says: ``1``, ``1 day``, ``1 'wk'``; None where it says none."""
        found = _TEXT.fullmatch(text)
        if found is None:
            return None
        value = Decimal(found["value"])
        if found["ucum"]:
            return Quantity.ucum(value, found["ucum"])
        if found["word"] is None:
            return Quantity(value)
        return (
            Quantity.calendar(value, found["word"]) if found["word"].removesuffix("s") in CALENDAR else None
        )

    @property
    def time_unit(self) -> str:
        """The unit of date arithmetic (``year`` … ``millisecond``), "" where it is none."""
        return self.unit if self.by_calendar else _UCUM_TIME.get(self.unit, "")

    def __str__(self) -> str:
        if not self.by_calendar:
            return f"{self.value} '{self.unit}'"
        return f"{self.value} {self.unit}{'' if self.value == 1 else 's'}"


@lru_cache(maxsize=512)
def dimension(unit: str) -> tuple[Decimal, tuple[tuple[str, int], ...]] | None:
    """A unit as a factor and the powers of base units; None for a unit that is not known here."""
    factor, powers = Decimal(1), Counter[str]()
    for place, group in enumerate(unit.split("/")):
        for term in group.split("."):
            found = _FACTOR.fullmatch(term)
            known = _unit(found["unit"]) if found else None
            if found is None or known is None:
                return None
            power = int(found["power"] or 1) * (-1 if place else 1)
            size, base, times = known
            factor *= size**power
            powers[base] += times * power
    return factor, tuple(sorted((base, power) for base, power in powers.items() if power))


def _unit(name: str) -> tuple[Decimal, str, int] | None:
    if name in _UNITS:
        return _UNITS[name]
    for prefix, power in _PREFIXES.items():
        rest = name.removeprefix(prefix)
        if rest != name and rest in _METRIC:
            factor, base, times = _UNITS[rest]
            return factor * Decimal(10) ** power, base, times
    return None


def comparable(left: Quantity, right: Quantity) -> bool:
    """Whether both measure the same kind of thing in units known here."""
    mine, other = dimension(left.unit), dimension(right.unit)
    return mine is not None and other is not None and mine[1] == other[1]


def compare(left: Quantity, right: Quantity) -> int | None:
    """-1, 0 or 1; None where the units do not compare (a calendar month and a UCUM one among them)."""
    if left.unit == right.unit:
        return (left.value > right.value) - (left.value < right.value)
    if not comparable(left, right):
        return None
    mine, other = left.value * _factor(left), right.value * _factor(right)
    return (mine > other) - (mine < other)


def equal(left: Quantity, right: Quantity) -> bool | None:
    """FHIRPath ``=``: None where only the calendar could tell, False where the dimensions differ."""
    if compare(left, right) is not None:
        return compare(left, right) == 0
    return (
        None
        if {left.unit, right.unit} & {"year", "month"} and {left.unit, right.unit} & {"a", "mo"}
        else False
    )


def equivalent(left: Quantity, right: Quantity) -> bool:
    """FHIRPath ``~``: equal when rounded to what the less precise one says."""
    if {left.unit, right.unit} in ({"year", "a"}, {"month", "mo"}):
        return left.value == right.value
    if not comparable(left, right):
        return left == right
    mine, other = left.value, right.value * _factor(right) / _factor(left)
    return nearly(mine, other)


def nearly(left: Decimal, right: Decimal) -> bool:
    """Equal when both are rounded to the digits of the one that has fewer."""
    digits = min(_digits(left), _digits(right))
    return round(left, digits) == round(right, digits)


def times(left: Quantity, right: Quantity) -> Quantity | None:
    """The product, in base units where the units differ; None for units not known here."""
    return _combined(left, right, "*")


def over(left: Quantity, right: Quantity) -> Quantity | None:
    """The quotient; None for units not known here or a zero below."""
    return _combined(left, right, "/") if right.value else None


def added(left: Quantity, right: Quantity) -> Quantity | None:
    """The sum, in the finer unit; None where the units do not go together."""
    if left.unit == right.unit:
        return Quantity(left.value + right.value, left.unit, left.by_calendar)
    if not comparable(left, right):
        return None
    finer = left if _factor(left) <= _factor(right) else right
    total = (left.value * _factor(left) + right.value * _factor(right)) / _factor(finer)
    return Quantity(total, finer.unit, finer.by_calendar)


def _combined(left: Quantity, right: Quantity, op: str) -> Quantity | None:
    mine, other = dimension(left.unit), dimension(right.unit)
    if mine is None or other is None:
        return None
    sign = 1 if op == "*" else -1
    value = left.value * mine[0] * (right.value * other[0]) ** sign
    powers = Counter(dict(mine[1]))
    for base, power in other[1]:
        powers[base] += power * sign
    unit = ".".join(f"{base}{power if power != 1 else ''}" for base, power in sorted(powers.items()) if power)
    return Quantity(value, unit or "1")


def _factor(quantity: Quantity) -> Decimal:
    known = dimension(quantity.unit)
    return known[0] if known else Decimal(1)


def _digits(value: Decimal) -> int:
    exponent = value.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
