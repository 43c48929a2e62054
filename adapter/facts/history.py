"""History: which resources of a chart are so long over that a look need not read them. Pure.

Most of a chart is history: orders that were fulfilled, visits and stays that took place, what was reported of them,
answers of a payer who has said the same since. No rule says anything of them, and nothing that is open hangs on them;
to read and judge them at each look costs more than all the rest. So the ledger keeps a :class:`Trace` of each resource
beside whom it names, and a chart leaves out what :func:`left_out` finds.

A look without what is left out comes to the very same (a test compares the two on charts drawn at random). Of orders,
visits, stays and reports:

- Its rules refuse it by its status, or it is older than all of them go (:class:`Horizon`).
- No task was ever about it, and nothing that stays names it, bears one of its numbers, or is named by it: an order is
  left out with all that belongs to it, or not at all.
- It was over before any visit that stays on the chart was made: what asks for a *later* visit cannot mean it.
- It names one patient, and its own links are plain: what is put in an unusual way stays.

Of a payer's answers all but the newest of those that say word for word the same of the same Coverages.

Nothing here is remembered from look to look: each judges anew, by the rows and settings of its own moment.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any, Final, NamedTuple
from zlib import crc32

from msgspec import Struct

from adapter.facts.elements import identifier_key, object_of, objects
from adapter.facts.times import parse_when
from adapter.fhirjson import digest
from adapter.model import Json, Known
from adapter.references import Bases, parse_reference

#: Raise it when what a trace says changes: those of every ledger are told anew.
EDITION = 1
_ORDER, _VISIT, _STAY = "ServiceRequest", "Appointment", "Encounter"
_ANSWER = "CoverageEligibilityResponse"
#: With these an order, a visit or a stay is over.
OVER: Mapping[str, frozenset[str]] = {
    _ORDER: frozenset({"completed", "revoked"}),
    _VISIT: frozenset({"fulfilled", "cancelled", "noshow"}),
    _STAY: frozenset({"finished"}),
}
CAME, LEFT = "fulfilled", "finished"
#: Stands for the status of a report, a document or a message: it is over as soon as all is of which it tells.
TELLS = "tells"
#: Stands for the status of an answer that a later one may repeat; what it says is told in place of what it names.
SAID = "said"
_OF_VISIT, _OF_ORDER = OVER[_VISIT], OVER[_ORDER]
_TELLING = ("basedOn", "encounter", "context.related", "context.encounter")
#: Where a resource names orders, visits and stays (:mod:`adapter.facts.links`), by path.
_NAMED_AT: Mapping[str, tuple[str, ...]] = {
    _ORDER: ("basedOn", "replaces", "encounter"),
    _VISIT: ("basedOn", "reasonReference", "supportingInformation"),
    _STAY: ("basedOn", "appointment"),
    "DiagnosticReport": _TELLING,
    "DocumentReference": _TELLING,
    "Communication": _TELLING,
}
UNTOLD = "?"
"""What a resource names, where that cannot be told: then all of the person's stays on the chart."""
NEVER = 1 << 40
"""A second that lies before nothing: when something was made that no fact puts in order."""


class Trace(NamedTuple):
    """What tells, without the resource, whether it may be left out.

    ``ended``: by which second all of it was over; None where it is not, or cannot be told. ``made``: at which second
    a visit was made; None: when it was first seen. ``names``: the orders, visits and stays that it names and the
    numbers that it could be known by, parted by spaces. An answer has :data:`SAID`, the second of its ``created``,
    and a digest of all that it says.
    """

    status: str = ""
    ended: int | None = None
    made: int | None = NEVER
    names: str = ""


NO_TRACE = Trace()
UNKNOWN_TRACE = Trace(names=UNTOLD)


Row = tuple[str, str, int | None, int, str, int, int, int]
"""A resource on a chart: its ref, its trace, and when it came; a plain tuple, for every look makes one of each."""
_REF: Final = 0
_STATUS: Final = 1
_ENDED: Final = 2
_MADE: Final = 3
_NAMES: Final = 4
_SEQ: Final = 5
_WALK_SEQ: Final = 6
_RECEIVED: Final = 7


class Horizon(Struct, frozen=True):
    """How far back the rules of one source go at one moment.

    ``before``: by status (those of :data:`OVER` differ by type), the second before which all has to be over.
    ``took_place``: the statuses of an order that a rule measures by what took place: whether there was more than is
    on the chart has to be known by the types in ``known``. ``idle``: those with which nothing took place may have.
    ``answers``: whether what a payer has repeated may be left out.
    """

    before: Mapping[str, int]
    answers: bool = True
    took_place: frozenset[str] = frozenset()
    idle: frozenset[str] = frozenset()
    known: frozenset[str] = frozenset()


def trace_of(type: str, body: Json, bases: Bases) -> Trace:
    """The trace of a live resource, by what is kept of it."""
    if type == _ANSWER:
        return _answer(body, bases)
    paths = _NAMED_AT.get(type)
    if paths is None:
        return NO_TRACE
    names = _names(type, body, paths, bases)
    status = body.get("status")
    if type == _VISIT:
        made, start, end = (_second(body.get(name)) for name in ("created", "start", "end"))
        over = None if made is None or start is None else max(made, start, end or start) + 1
        if end is None and "end" in body:
            over = None
        return _trace(type, status, over, made if made is not None or "created" not in body else 0, names)
    if type == _ORDER:
        authored = _second(body.get("authoredOn"))
        return _trace(type, status, None if authored is None else authored + 1, NEVER, names)
    if type == _STAY:
        left = _second(object_of(body.get("period")).get("end"))
        return _trace(type, status, None if left is None else left + 1, NEVER, names)
    return Trace(TELLS, 0, NEVER, names)


def _answer(body: Json, bases: Bases) -> Trace:
    created, insurances = _second(body.get("created")), objects(body.get("insurance"))
    if created is None or not insurances or body.get("status") != "active" or "contained" in body:
        return NO_TRACE
    if not all(
        [parse_reference(one.get("coverage"), bases).local.startswith("Coverage/") for one in insurances]
    ):
        return NO_TRACE
    return Trace(
        SAID, created, NEVER, digest([body["insurance"], body.get("outcome"), body.get("preAuthRef")])[:16]
    )


def _trace(type: str, status: Any, over: int | None, made: int | None, names: str) -> Trace:
    if isinstance(status, str) and status in OVER[type]:
        return Trace(status, over, made, names)
    return Trace("", None, made, names)


def _second(value: Any) -> int | None:
    """The second of a time that says its zone; None of any other."""
    if type(value) is not str or (value[-1:] != "Z" and value[-6:-5] not in ("+", "-")):
        return None
    when = parse_when(value, UTC)
    return None if when is None or when.day_only else int(when.instant.timestamp() // 1)


def _names(type: str, body: Json, paths: Iterable[str], bases: Bases) -> str:
    found: dict[str, None] = {}
    for path in paths:
        outer, _, inner = path.partition(".")
        element = body.get(outer)
        if element is None:
            continue
        if inner:
            element = object_of(element).get(inner)
        for one in element if isinstance(element, list) else [element]:
            if one is None:
                continue
            said = parse_reference(one, bases)
            if said.local:
                if said.type in OVER:
                    found[said.local] = None
            elif said.identifier:
                found[_number(said.identifier)] = None
            elif said.urn:
                return UNTOLD
    if type in OVER:
        for identifier in (*objects(body.get("identifier")), *objects(body.get("requisition"))):
            if key := identifier_key(identifier):
                found[_number(key)] = None
    return " ".join(found)


def _number(key: str) -> str:
    """A number by which something may be known, short: that two are alike keeps a little more than it must."""
    return f"#{crc32(key.encode('utf-8', 'surrogatepass')):x}"


def left_out(
    rows: Sequence[Row], tasks: Collection[str], known: Mapping[str, Known], horizon: Horizon
) -> Collection[str]:
    """The refs of a person's rows that a look need not read; ``tasks`` are the refs that its tasks speak of."""
    before = horizon.before
    over: _Over = {}
    said: dict[str, list[Row]] = {}  # answers by what they say
    bound: set[str] = set()  # what stays, and what that names
    floor = NEVER  # when the first of the visits that stay was made
    for row in rows:
        ref, status, ended, made, names = row[:5]
        if names == UNTOLD:
            return ()
        if status == SAID:
            said.setdefault(names, []).append(row)
        elif ended is not None and ended < before.get(status, 0) and ref not in tasks:
            over[ref] = row, names.split() if names else _NONE
        else:
            bound.add(ref)
            if names:
                bound.update(names.split())
            if made < floor:
                floor = made
    if over:
        _keep(over, bound, floor)
        if horizon.took_place:
            _keep_what_may_go_on(over, bound, known, horizon)
    if not horizon.answers:
        return over.keys()
    return {*over, *[ref for group in said.values() if len(group) > 1 for ref in _repeated(group, tasks)]}


def _repeated(group: Sequence[Row], tasks: Collection[str]) -> list[str]:
    """The answers of a group that a later one repeats; not those that came after it, nor what a task speaks of."""
    newest = max(group, key=_created)
    return [
        row[_REF]
        for row in group
        if _created(row) < _created(newest) and row[_SEQ] <= newest[_SEQ] and row[_REF] not in tasks
    ]


def _created(row: Row) -> int:
    return row[_ENDED] or 0


_Over = dict[str, tuple[Row, list[str]]]
"""What may be left out by ref, each with what it names."""
_NONE: list[str] = []


def _keep(over: _Over, bound: set[str], floor: int) -> None:
    """Take out of ``over`` what anything that stays is bound to, until nothing is."""
    while stays := [
        ref
        for ref, (row, names) in over.items()
        if ref in bound
        or not bound.isdisjoint(names)
        or ((row[_ENDED] or 0) >= floor and row[_STATUS] in _OF_VISIT)
    ]:
        for ref in stays:
            row, names = over.pop(ref)
            bound.add(ref)
            bound.update(names)
            floor = min(floor, row[_MADE])


def _keep_what_may_go_on(over: _Over, bound: set[str], known: Mapping[str, Known], horizon: Horizon) -> None:
    """Take out of ``over`` the orders that a rule measures by what took place, where that is not certain."""
    while over:
        came = _came(over)
        families: set[str] = set()  # what came for one order of a family came for all
        orders: list[tuple[Row, list[str]]] = []
        for ref, one in over.items():
            row, names = one
            if row[_STATUS] in horizon.took_place:
                orders.append(one)
            if row[_STATUS] in _OF_ORDER and _ORDER in row[_NAMES]:
                families.update([part for name in names if name.startswith(_ORDER) for part in (ref, name)])
        certain = _all_known(known, [row for row, _ in orders], horizon.known)
        stays = [
            row
            for row, names in orders
            if not (certain or _all_known(known, [row], horizon.known))
            or row[_REF] in families
            or _may_be_new(row, names, came, horizon)
        ]
        if not stays:
            return
        bound.update([row[_REF] for row in stays])
        _keep(over, bound, NEVER)


def _came(over: _Over) -> dict[str, int]:
    """By which second all had ended that took place for an order, by its ref or one of its numbers.

    A visit whose stay is told ended when the stay did, whatever its own status says.
    """
    stays: dict[str, int] = {}
    for row, names in over.values():
        if row[_STATUS] == LEFT:
            _ended(stays, names, row[_ENDED] or NEVER)
    came = dict(stays)
    for ref, (row, names) in over.items():
        status = row[_STATUS]
        if status in _OF_VISIT:
            ended = max([stays.get(name, 0) for name in (ref, *names)]) if stays else 0
            if status == CAME:
                ended = max(ended, row[_ENDED] or NEVER)
            if ended:
                _ended(came, names, ended)
    return came


def _ended(came: dict[str, int], names: Iterable[str], by: int) -> None:
    for name in names:
        if came.get(name, 0) < by:
            came[name] = by


def _may_be_new(row: Row, names: Iterable[str], came: Mapping[str, int], horizon: Horizon) -> bool:
    """Whether what took place for an order, by its ref or any of its numbers, may lie this side of the horizon."""
    last = came.get(row[_REF], 0)
    for name in names:
        last = max(last, came.get(name, 0))
    if last:
        return last >= horizon.before[row[_STATUS]]
    return row[_STATUS] not in horizon.idle


def _all_known(known: Mapping[str, Known], rows: Sequence[Row], types: Iterable[str]) -> bool:
    """Whether all of some types is known since every one of some orders came (mapping.scope.Freshness)."""
    if not rows:
        return True
    _, _, _, _, _, seqs, walks, times, *_ = zip(*rows, strict=False)
    seq, walk, walked, received = max(seqs), max(walks), min(walks), max(times)
    for type in types:
        said = known.get(type)
        if said is None:
            return False
        if said.declared_none:
            continue
        if said.blind or said.bounded or said.at is None:
            return False
        since = said.seq > seq and said.at.timestamp() >= received
        if not (since or (type == _ORDER and walked > 0 and said.seq >= walk)):
            return False
    return True
