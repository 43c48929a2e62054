"""What expressions compute with: collections that know whether they may contain more, and how values compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from types import MappingProxyType
from typing import Any, NamedTuple

from msgspec import Struct

from adapter.mapping.fhirpath import quantity, temporal
from adapter.mapping.fhirpath.faults import EvaluationError
from adapter.mapping.fhirpath.quantity import Quantity
from adapter.mapping.fhirpath.temporal import Moment

UNSURE = "?"
"""A gap that no reading settles: an element of a loaded resource is absent."""

NO_GAPS: frozenset[str] = frozenset()
UNSURE_GAP = frozenset({UNSURE})

Pair = tuple[list[Any], frozenset[str]]
"""A :class:`Value` without its name: what closures pass on. The list is never changed once it is in a pair."""


class Value(NamedTuple):
    """A collection, and why it may contain more.

    ``gaps`` are the types whose reading could add to it (or settle it, where it is an unknown boolean), and "?"
    where an absent element is the reason. An empty Value without gaps is *empty and known*; as the answer of a
    condition it is unknown, and nothing needs to be read.
    """

    items: list[Any]
    gaps: frozenset[str] = NO_GAPS

    @property
    def missing(self) -> frozenset[str]:
        """The types to read: the gaps that a reading could close."""
        return self.gaps - UNSURE_GAP

    @property
    def open(self) -> bool:
        """Whether it may contain more."""
        return bool(self.gaps)

    @property
    def truth(self) -> bool | None:
        """The answer of a condition; None is unknown.

        Raises:
            EvaluationError: where it is no boolean, or several.
        """
        return truth(self, standard=False)


NOTHING_FOUND = Value([])
"""Empty and known. As of every Value, its list is never changed."""


def as_value(pair: Pair) -> Value:
    """A pair by its name: the same object where it is one already."""
    return pair if type(pair) is Value else tuple.__new__(Value, pair)  # a third of what Value(…) takes


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """A function that Baton adds. ``call(input, args)`` takes and gives a :class:`Value`.

    ``types`` are the resource types that it reads. ``on_focus``: it speaks of the focus of the rule, whatever
    stands around it, and so stands alone or after ``%resource``.
    """

    name: str
    min_args: int
    max_args: int
    call: Callable[..., Value]
    types: frozenset[str] = NO_GAPS
    on_focus: bool = False


class Env(Struct, frozen=True):
    """What one evaluation sees. ``variables`` are Values, plain lists, or called when first asked for.

    ``functions`` overrides the ``call`` of the specs that the expression was compiled with. ``zone`` is that of
    times without one. ``now`` serves ``now()`` and ``today()`` in standard mode; rules have none.
    """

    resource: Any
    variables: Mapping[str, Any] = MappingProxyType({})
    functions: Mapping[str, Callable[..., Value]] = MappingProxyType({})
    zone: tzinfo = UTC
    now: datetime | None = None


class Run:
    """The state of one evaluation: the environment, the variables asked for, the innermost loop's place."""

    __slots__ = ("env", "index", "memo", "resource", "standard", "texts", "total", "zone")

    def __init__(self, env: Env, *, standard: bool) -> None:
        self.env = env
        self.resource = env.resource
        self.zone = env.zone
        self.standard = standard
        self.texts = not standard  # may strings be times?
        self.memo: dict[str, Any] = {}  # name → Pair
        self.index: int | None = None
        self.total: Pair = NOTHING_FOUND

    def variable(self, name: str) -> Pair:
        """A variable's Value, computed once.

        Raises:
            EvaluationError: where the environment has none of that name.
        """
        held = self.memo.get(name)
        if held is None:
            if name not in self.env.variables:
                raise EvaluationError(f"%{name} is not set")
            found = self.env.variables[name]
            if type(found) is not Value:
                found = found() if callable(found) else found
            held = self.memo[name] = as_pair(found)
        return held

    def function(self, name: str, own: Callable[..., Value]) -> Callable[..., Value]:
        """What a function that Baton adds is called by here; ``own`` where the environment has no other."""
        return self.env.functions.get(name, own)

    def told(self, name: str, own: Callable[..., Value]) -> Pair:
        """What a function without arguments says of the focus."""
        return as_pair(self.function(name, own)(Value([self.resource]), []))


def as_pair(value: Any) -> Pair:
    """A Value, a list, one item or None, as a pair."""
    if type(value) is Value:
        return value if type(value.items) is list else (list(value.items), frozenset(value.gaps))
    if isinstance(value, (list, tuple)):
        return [item for item in value if item is not None], NO_GAPS
    return ([] if value is None else [value]), NO_GAPS


class Typed:
    """An item with its FHIR type (a type path of :mod:`model`) and, of a primitive, its id and extensions."""

    __slots__ = ("extra", "type", "value")

    def __init__(self, value: Any, type: str, extra: Any = None) -> None:
        self.value = value
        self.type = type
        self.extra = extra

    def system(self) -> Any:
        """The value as FHIRPath's own types have it: times as Moments, quantities as Quantities."""
        value, kind = self.value, self.type
        if type(value) is str:
            if kind in ("date", "dateTime", "instant"):
                moment = Moment.of(value)
                return value if moment is None else moment.as_kind("Date" if kind == "date" else "DateTime")
            return (Moment.time(value) or value) if kind == "time" else value
        if kind == "decimal" and type(value) is int:
            return Decimal(value)
        if kind in QUANTITIES and isinstance(value, Mapping):
            return quantity_of(value) or value
        return value


QUANTITIES = frozenset(
    {"Quantity", "Age", "Count", "Distance", "Duration", "SimpleQuantity", "MoneyQuantity"}
)


def plain(item: Any) -> Any:
    """An item without its FHIR type."""
    if type(item) is Typed:
        return item.system()
    return Decimal(str(item)) if type(item) is float else item


def bare(item: Any) -> Any:
    """An item as it leaves an expression: JSON values, and times as FHIR texts."""
    if type(item) is Typed:
        return item.value
    return str(item) if type(item) is Moment else item


def quantity_of(value: Any) -> Quantity | None:
    """A FHIR Quantity as FHIRPath's own; None where it has no number."""
    if isinstance(value, Quantity):
        return value
    if isinstance(value, Mapping) and isinstance(value.get("value"), (int, Decimal)):
        return Quantity(Decimal(value["value"]), str(value.get("code") or value.get("unit") or "1"))
    return None


def type_name(item: Any) -> str:
    """The name of an item's type, for messages and for ``type()``."""
    if type(item) is Typed:
        return item.type
    if isinstance(item, Moment):
        return item.kind
    if isinstance(item, Mapping):
        return str(item.get("resourceType", "object"))
    for kind, name in _NAMES:
        if isinstance(item, kind):
            return name
    return "DateTime" if temporal.moment_of(item, texts=False) else type(item).__name__


_NAMES: tuple[tuple[type, str], ...] = (
    (bool, "Boolean"),
    (int, "Integer"),
    (Decimal, "Decimal"),
    (float, "Decimal"),
    (str, "String"),
    (Quantity, "Quantity"),
)


def truth(pair: Pair, *, standard: bool) -> bool | None:
    """A pair in a place that wants a condition. Open or empty is None.

    Raises:
        EvaluationError: several values; in rules also one that is no boolean (FHIRPath takes it as true).
    """
    items, gaps = pair
    if gaps or not items:
        return None
    if len(items) > 1:
        raise EvaluationError("several values where one condition is wanted")
    found = plain(items[0])
    if found is True or found is False:
        return bool(found)
    if standard:
        return True
    raise EvaluationError(f"{type_name(items[0])} stands where a condition is wanted")


def one(items: list[Any], what: str) -> Any:
    """The only item of a collection that has one.

    Raises:
        EvaluationError: where there are several.
    """
    if len(items) > 1:
        raise EvaluationError(f"several values where {what} wants one")
    return plain(items[0])


def equal(left: Any, right: Any, run: Run) -> bool | None:
    """FHIRPath ``=`` of two items; None where their precision leaves it open."""
    left, right = plain(left), plain(right)
    if type(left) is str and type(right) is str:
        if left == right:
            return True
        return _texts_equal(left, right, run) if run.texts else False
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, Quantity) or isinstance(right, Quantity):
        return _quantities_equal(left, right)
    if isinstance(left, (int, Decimal, Mapping, list)) or isinstance(right, (int, Decimal, Mapping, list)):
        return bool(left == right)
    return _moments_equal(left, right, run)


def _texts_equal(left: str, right: str, run: Run) -> bool | None:
    """Strings of a resource that are days or times as a whole are equal where the times are."""
    if len(left) < 10 or len(right) < 10 or not (left[:4].isdigit() and right[:4].isdigit()):
        return False
    return _moments_equal(left, right, run)


def _quantities_equal(left: Any, right: Any) -> bool | None:
    mine, other = quantity_of(left), quantity_of(right)
    return False if mine is None or other is None else quantity.equal(mine, other)


def _moments_equal(left: Any, right: Any, run: Run) -> bool | None:
    mine, other = temporal.moment_of(left, texts=run.texts), temporal.moment_of(right, texts=run.texts)
    if mine is None or other is None or (mine.kind == "Time") != (other.kind == "Time"):
        return None if left is None or right is None else False
    span = _span(mine, other, run)
    if span is None:
        return None
    if span == (0, 0):
        return True
    return False if span[0] > 0 or span[1] < 0 else None


def _span(left: Moment, right: Moment, run: Run) -> tuple[int, int] | None:
    if not run.standard:
        return temporal.compare_in_zone(left, right, run.zone)
    sign = temporal.compare_standard(left, right)
    return None if sign is None else (sign, sign)


def order(left: Any, right: Any, run: Run) -> tuple[int, int] | None:
    """The least and the greatest that comparing two items can give (-1, 0, 1); None where that is open.

    Raises:
        EvaluationError: where they do not compare.
    """
    left, right = plain(left), plain(right)
    if isinstance(left, bool) or isinstance(right, bool):
        raise _clash(left, right)
    if isinstance(left, (int, Decimal)) and isinstance(right, (int, Decimal)):
        return _same((left > right) - (left < right))
    if isinstance(left, Quantity) or isinstance(right, Quantity):
        return _quantity_order(left, right)
    mine, other = temporal.moment_of(left, texts=run.texts), temporal.moment_of(right, texts=run.texts)
    if mine is not None and other is not None and (mine.kind == "Time") == (other.kind == "Time"):
        return _span(mine, other, run)
    if isinstance(left, str) and isinstance(right, str):
        return _same((left > right) - (left < right))
    raise _clash(left, right)


def _quantity_order(left: Any, right: Any) -> tuple[int, int] | None:
    mine, other = quantity_of(left), quantity_of(right)
    if mine is None or other is None:
        raise _clash(left, right)
    sign = quantity.compare(mine, other)
    return None if sign is None else _same(sign)


def _same(sign: int) -> tuple[int, int]:
    return sign, sign


def _clash(left: Any, right: Any) -> EvaluationError:
    return EvaluationError(f"{type_name(left)} does not compare with {type_name(right)}")


def collections_equal(left: list[Any], right: list[Any], run: Run) -> bool | None:
    """FHIRPath ``=`` of two collections: as many, and pairwise equal in order."""
    if len(left) != len(right):
        return False
    told = [equal(mine, other, run) for mine, other in zip(left, right, strict=True)]
    if False in told:
        return False
    return None if None in told else True


def equivalent(left: Any, right: Any, run: Run) -> bool:
    """FHIRPath ``~`` of two items: letters without case, numbers as precise as the less precise one."""
    left, right = plain(left), plain(right)
    if isinstance(left, str) and isinstance(right, str):
        return _folded(left) == _folded(right)
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, (int, Decimal)) and isinstance(right, (int, Decimal)):
        return quantity.nearly(Decimal(left), Decimal(right))
    if isinstance(left, Quantity) or isinstance(right, Quantity):
        mine, other = quantity_of(left), quantity_of(right)
        return mine is not None and other is not None and quantity.equivalent(mine, other)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(equivalent(left[key], right[key], run) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return collections_equivalent(left, right, run)
    return equal(left, right, run) is True


def collections_equivalent(left: list[Any], right: list[Any], run: Run) -> bool:
    """FHIRPath ``~`` of two collections: the same items in any order; two empty ones are equivalent."""
    rest = list(right)
    for mine in left:
        found = next((place for place, other in enumerate(rest) if equivalent(mine, other, run)), None)
        if found is None:
            return False
        del rest[found]
    return not rest


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def contains(items: list[Any], wanted: Any, run: Run) -> bool | None:
    """Whether an item is among others; None where only an undecided comparison stands in the way."""
    unsure = False
    for item in items:
        told = equal(item, wanted, run)
        if told:
            return True
        unsure = unsure or told is None
    return None if unsure else False


def unique(items: list[Any], run: Run) -> list[Any]:
    """Each item once, the first of equal ones."""
    found: list[Any] = []
    for item in items:
        if contains(found, item, run) is not True:
            found.append(item)
    return found
