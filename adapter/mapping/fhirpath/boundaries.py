"""``lowBoundary``, ``highBoundary``, ``precision`` and ``comparable``: how exact a value is."""

from __future__ import annotations

from calendar import monthrange
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from typing import Any

from adapter.mapping.fhirpath import quantity
from adapter.mapping.fhirpath.quantity import Quantity
from adapter.mapping.fhirpath.scalars import Scalar, whole
from adapter.mapping.fhirpath.temporal import Moment
from adapter.mapping.fhirpath.values import Run, quantity_of

_DEEP = Context(prec=60)
_DATE_DIGITS = {4: 1, 6: 2, 8: 3}
_DATETIME_DIGITS = {**_DATE_DIGITS, 10: 4, 12: 5, 14: 6, 17: 6}
_TIME_DIGITS = {2: 1, 4: 2, 6: 3, 9: 3}
_EARLIEST, _LATEST = 14 * 60, -12 * 60  # the zones in which a local time comes first and last


def _boundary(high: bool) -> Scalar:
    def call(run: Run, value: Any, digits: Any = None) -> Any:
        wanted = None if digits is None else whole(digits)
        if isinstance(value, Moment):
            return _moment_boundary(value, wanted, high)
        if isinstance(value, Quantity):
            bound = _number_boundary(value.value, wanted, high)
            return None if bound is None else Quantity(bound, value.unit, value.by_calendar)
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
            return _number_boundary(Decimal(value), wanted, high)
        return None

    return call


def _number_boundary(value: Decimal, digits: int | None, high: bool) -> Decimal | None:
    wanted = 8 if digits is None else digits
    if not 0 <= wanted <= 31:
        return None
    exponent = value.as_tuple().exponent
    half = Decimal(5).scaleb((exponent if isinstance(exponent, int) else 0) - 1)
    exact = value + half if high else value - half
    rounding = ROUND_CEILING if high else ROUND_FLOOR
    if wanted < -int(exponent):  # cutting digits off: the value itself bounds, not its half step
        exact = value
        if abs(value) < Decimal(1).scaleb(-wanted):
            return Decimal(0).scaleb(-wanted)
    bound = exact.quantize(Decimal(1).scaleb(-wanted), rounding, _DEEP)
    return bound


def _moment_boundary(value: Moment, digits: int | None, high: bool) -> Moment | None:
    table = {"Time": _TIME_DIGITS, "Date": _DATE_DIGITS}.get(value.kind, _DATETIME_DIGITS)
    wanted = (9 if value.kind == "Time" else 8 if value.kind == "Date" else 17) if digits is None else digits
    if wanted not in table:
        return None
    parts = _padded(value, high)[: table[wanted]]
    kind = "Date" if value.kind == "DateTime" and wanted <= 8 else value.kind
    offset = value.offset
    if kind == "DateTime" and offset is None:
        offset = _LATEST if high else _EARLIEST
    return Moment(kind, parts, offset if kind == "DateTime" else None, 3 if wanted in (9, 17) else 0)


def _padded(value: Moment, high: bool) -> tuple[int, ...]:
    """All parts, the missing ones at their least or greatest."""
    if value.kind == "Time":
        return value.parts + ((23, 59, 59_999_000) if high else (0, 0, 0))[len(value.parts) :]
    year, month = value.parts[0], value.parts[1] if len(value.parts) > 1 else 12
    ends = (year, 12, monthrange(year, month)[1], 23, 59, 59_999_000)
    return value.parts + (ends if high else (year, 1, 1, 0, 0, 0))[len(value.parts) :]


def _precision(run: Run, value: Any) -> int | None:
    """The number of digits that were written."""
    if isinstance(value, Moment):
        table = _TIME_DIGITS if value.kind == "Time" else _DATETIME_DIGITS
        most = {place: digits for digits, place in table.items() if digits not in (9, 17)}
        return most[len(value.parts)] + (3 if value.digits else 0)
    if isinstance(value, (int, Decimal)) and not isinstance(value, bool):
        exponent = Decimal(value).as_tuple().exponent
        return max(0, -exponent) if isinstance(exponent, int) else None
    return None


def _comparable(run: Run, value: Any, other: Any) -> bool | None:
    mine, theirs = quantity_of(value), quantity_of(other)
    return None if mine is None or theirs is None else quantity.comparable(mine, theirs)


BOUNDARIES: dict[str, tuple[int, int, Scalar]] = {
    "lowBoundary": (0, 1, _boundary(high=False)),
    "highBoundary": (0, 1, _boundary(high=True)),
    "precision": (0, 0, _precision),
    "comparable": (1, 1, _comparable),
}
"""Name → (least arguments, most arguments, function)."""
