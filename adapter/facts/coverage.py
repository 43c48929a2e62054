"""Coverage: which answer is the live one, how the last attempt went, what is said of one order.

Eligibility comes from CoverageEligibilityResponses and from the Da Vinci CRD extension on an order or
its visits. An active response never changes; a recheck is a new one. The order of two is by ``created``
at the coarser of both precisions, then by lastUpdated; never by arrival. A tie that disagrees is
unknown (F6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any, Generic, TypeVar

from msgspec import Struct

from adapter.facts.codes import Codebook
from adapter.facts.elements import (
    coding_keys,
    coverage_information,
    identifiers,
    object_of,
    objects,
    status_of,
    text_of,
)
from adapter.facts.links import Resolver
from adapter.facts.times import When, last_instant, parse_period, parse_when
from adapter.model import Json, Snapshot, SnapshotState
from adapter.once import once
from adapter.references import Bases, parse_reference

_SPEAKING = frozenset({"complete", "partial", ""})  # one in four has no outcome, and an answer all the same
_COVER, _AUTHORIZATION = "cover", "authorization"
_COVERED = {"covered": "covered", "not-covered": "excluded", "conditional": "conditional"}
_NEEDED = {
    "no-auth": "authorization-not-needed",
    "auth-needed": "authorization-needed",
    "performpa": "authorization-needed",  # the performer has to ask: somebody has to
    "satisfied": "authorization-satisfied",
    "conditional": "conditional",
}
_SATISFIED = "authorization-satisfied"

V = TypeVar("V")


class Statement(Struct, Generic[V], frozen=True):
    """What one source says of one thing, with the two times that put it in order."""

    value: V
    source: Snapshot
    created: When | None
    last_updated: datetime | None
    coverage: str = ""
    service: str = ""  # CRD speaks of billing codes one by one: those do not contradict each other
    case: bool = True  # about this very order, not about its class in the plan


class Verdict(Struct, Generic[V], frozen=True):
    """The newest statements that count; ``unsure`` where the newest ones disagree."""

    statements: tuple[Statement[V], ...] = ()
    unsure: bool = False


class Benefits(Struct, frozen=True):
    """All live statements that fit an order; ``missing`` names Coverages that have to be read first."""

    statements: tuple[Statement[str], ...] = ()
    unsure: bool = False
    missing: tuple[str, ...] = ()


class _Named(Struct, frozen=True):
    """One ``insurance`` of an answer: the Coverage meant, its own copy of it, and what is said."""

    key: str
    said: Json
    contained: Json = {}


class _Item(Struct, frozen=True):
    """One ``item`` of an insurance, and the codes of its service."""

    said: Json
    codes: frozenset[str]


class Eligibility:
    """The answers on one chart, sorted by what they speak of."""

    def __init__(
        self,
        snapshots: Iterable[Snapshot],
        resolver: Resolver,
        bases: Bases,
        zone: tzinfo,
        codebook: Codebook,
        *,
        coverage_is_read: bool = True,
    ) -> None:
        """``coverage_is_read`` is false where the source has no Coverages at all: then none is waited for."""
        held = list(snapshots)
        self._coverages = {s.ref: s for s in held if s.type == "Coverage"}
        self._answers = [s for s in held if s.type == "CoverageEligibilityResponse" and _live(s)]
        self._resolver, self._bases, self._zone, self._codebook = resolver, bases, zone, codebook
        self._coverage_is_read = coverage_is_read
        self._active = [a for a in self._answers if status_of(a.body) == "active"]
        self._named = {a.ref: tuple(self._insurances(a)) for a in self._active}
        self._read: dict[int, tuple[_Item, ...]] = {}

    @property
    def unattached(self) -> tuple[str, ...]:
        """Active answers that name no Coverage and fit none for certain: to be listed."""
        return tuple(sorted(a.ref for a in self._active if not self._meant(a)))

    def answer(self, coverage: str) -> Verdict[bool]:
        """The newest answers that say whether a Coverage is in force."""
        said = [
            self._statement(inforce, answer)
            for answer in self._active
            if text_of(answer.body.get("outcome")) in _SPEAKING
            for named in self._named[answer.ref]
            if named.key == coverage and isinstance(inforce := named.said.get("inforce"), bool)
        ]
        return _verdict(said, self._zone)

    def attempt(self, coverage: str) -> Verdict[str]:
        """The newest checks of a Coverage, whatever came of them."""
        said = [
            self._statement(text_of(answer.body.get("outcome")), answer)
            for answer in self._active
            if coverage in self._meant(answer)
        ]
        return _verdict(said, self._zone)

    def benefits(self, order: Snapshot, visits: Sequence[Snapshot] = ()) -> Benefits:
        """What live answers, and CRD on the order or its visits, say of one order."""
        stands_on = self._resolver.refs(order.body.get("insurance"), "Coverage")
        said = [*self._from_answers(order.body, stands_on), *self._from_crd((order, *visits))]
        missing = {s.coverage for _, s in said if self._is_unread(s.coverage)}
        said = [(a, s) for a, s in said if s.coverage not in missing and self._counts(s.coverage)]
        found: list[Statement[str]] = []
        unsure = False
        for aspect, coverage in sorted({(aspect, s.coverage) for aspect, s in said}):
            verdict = self._newest([s for a, s in said if (a, s.coverage) == (aspect, coverage)])
            unsure = unsure or verdict.unsure
            found.extend(verdict.statements)
        return Benefits(tuple([_as_shown(s) for s in found]), unsure, tuple(sorted(missing)))

    def never_says(self, says: str) -> bool:
        """Whether no answer could say so of any order, and none contradicts another, whichever of them fit it."""
        return self._sayable is not None and says not in self._sayable

    @once
    def _sayable(self) -> frozenset[str] | None:
        """All that the answers could say; None where two disagree, or a Coverage has to be read first."""
        cover, authorization = set[str](), set[str]()
        for answer in self._active:
            if text_of(answer.body.get("outcome")) not in _SPEAKING:
                continue
            authorized = bool(answer.body.get("preAuthRef"))
            for named in self._named[answer.ref]:
                if self._is_unread(named.key):
                    return None
                for item in objects(named.said.get("item")):
                    cover.add(_cover(item))
                    authorization.add(_authorization(item, authorized))
        said = [aspect - {""} for aspect in (cover, authorization)]
        return None if max(map(len, said)) > 1 else frozenset().union(*said)

    def live(self, coverage: Json, on: When | None = None) -> bool:
        """Whether a Coverage is active and, where a time is given, its period covers that time."""
        if status_of(coverage) not in ("active", ""):
            return False
        return on is None or self.covers(coverage, on)

    def covers(self, coverage: Json, on: When) -> bool:
        """Whether a Coverage's period covers a time; an open end covers everything."""
        period = parse_period(coverage.get("period"), self._zone)
        begun = period.start is None or period.start.instant < last_instant(on, self._zone)
        if period.start is not None and period.start.instant == on.instant:
            begun = True
        return begun and (period.end is None or on.instant <= last_instant(period.end, self._zone))

    def _statement(
        self, value: V, answer: Snapshot, coverage: str = "", *, case: bool = True
    ) -> Statement[V]:
        created = parse_when(answer.body.get("created"), self._zone)
        return Statement(value, answer, created, answer.last_updated, coverage, case=case)

    def _insurances(self, answer: Snapshot) -> Iterable[_Named]:
        for said in objects(answer.body.get("insurance")):
            named = said.get("coverage")
            key = self._resolver.ref(named, "Coverage")
            if key:  # an address: it is no contained copy
                yield _Named(key, said, {})
                continue
            contained = _contained(answer.body, parse_reference(named, self._bases).contained)
            yield _Named(key or self._same_as(contained) or _own_key(answer, contained), said, contained)

    def _same_as(self, contained: Json) -> str:
        """The Coverage that a contained copy is: by identifier, else by the subscriber's number."""
        for read in (_identifiers, _subscriber):
            wanted = read(contained)
            fits = [ref for ref, s in self._coverages.items() if _live(s) and wanted & read(s.body)]
            if len(fits) == 1:
                return fits[0]
        return ""

    def _meant(self, answer: Snapshot) -> frozenset[str]:
        """The Coverages that an answer is about; an error often names none (MAPPING, pitfall 9)."""
        named = frozenset(n.key for n in self._named[answer.ref] if n.key)
        if named:
            return named
        asked = parse_reference(answer.body.get("request"), self._bases).key()
        same = [a for a in self._active if asked and asked == self._asked(a)]
        by_request = frozenset(n.key for a in same for n in self._named[a.ref] if n.key)
        if by_request:
            return by_request
        created = parse_when(answer.body.get("created"), self._zone)
        live = [ref for ref, s in self._coverages.items() if _live(s) and self.live(s.body, created)]
        return frozenset(live) if len(live) == 1 else frozenset()

    def _asked(self, answer: Snapshot) -> str:
        return parse_reference(answer.body.get("request"), self._bases).key()

    def _from_answers(self, order: Json, stands_on: list[str]) -> list[tuple[str, Statement[str]]]:
        found: list[tuple[str, Statement[str]]] = []
        kind = self._codebook.kind(order) if self._active else None
        code = coding_keys(order.get("code")) if self._active else frozenset()
        for answer in self._active:
            if text_of(answer.body.get("outcome")) not in _SPEAKING:
                continue
            for named in self._named[answer.ref]:
                if named.said.get("inforce") is False or (stands_on and named.key not in stands_on):
                    continue
                if named.contained and not self.live(named.contained):
                    continue
                fitting = self._fitting(named.said, order, kind, code)
                for aspect, says, case in _items_say(fitting, bool(answer.body.get("preAuthRef"))):
                    found.append((aspect, self._statement(says, answer, named.key, case=case)))
        return found

    def _fitting(
        self, insurance: Json, order: Json, kind: str | None, code: frozenset[str]
    ) -> list[list[Json]]:
        """The items that speak of an order: those of its code, then those of its kind's class."""
        items = self._items(insurance)
        exact = [item.said for item in items if not code.isdisjoint(item.codes)]
        plain = [item.said for item in items if not item.codes]
        by_class = [i for i in plain if self._codebook.speaks_of(i.get("category"), order, kind)]
        return [exact, by_class]

    def _items(self, insurance: Json) -> tuple[_Item, ...]:
        """The items of one insurance with their codes: read once, though every order asks."""
        held = self._read.get(id(insurance))  # part of a snapshot's body, which outlives this object
        if held is None:
            held = tuple(
                [
                    _Item(item, coding_keys(item.get("productOrService")))
                    for item in objects(insurance.get("item"))
                ]
            )
            self._read[id(insurance)] = held
        return held

    def _from_crd(self, carriers: Iterable[Snapshot]) -> list[tuple[str, Statement[str]]]:
        found: list[tuple[str, Statement[str]]] = []
        for carrier in carriers:
            for extension in coverage_information(carrier.body):
                told = _parts(extension)
                coverage = self._resolver.ref(told.get("coverage"), "Coverage")
                created = parse_when(told.get("date"), self._zone)
                service = " ".join(sorted(coding_keys(told.get("billingCode"))))
                for aspect, says in _crd_says(told):
                    found.append((aspect, Statement(says, carrier, created, None, coverage, service)))
        return found

    def _is_unread(self, coverage: str) -> bool:
        return coverage.startswith("Coverage/") and coverage not in self._coverages and self._coverage_is_read

    def _counts(self, coverage: str) -> bool:
        """An ended or cancelled Coverage makes what was said under it moot."""
        held = self._coverages.get(coverage)
        return held is None or (_live(held) and self.live(held.body))

    def _newest(self, said: list[Statement[str]]) -> Verdict[str]:
        """The newest; but a plan's "needs authorization" takes back no authorization that was given."""
        if any(s.value == _SATISFIED for s in said):
            said = [s for s in said if s.case]
        return _verdict(said, self._zone)


def newest(said: Sequence[Statement[V]], zone: tzinfo) -> tuple[Statement[V], ...]:
    """The statements that no other one supersedes.

    Times of unlike precision make an order that need not be transitive (a day beside two times of that day).
    Where it runs in a circle, the whole circle is the newest, whatever the sequence that they came in.
    """
    if len(said) > 1 and all([s.created is not None and not s.created.day_only for s in said]):
        # Of times to the second the latest alone count, and they make no circles.
        latest = max([s.created.instant for s in said if s.created])
        said = [s for s in said if s.created and s.created.instant == latest]
    if len(said) == 1:
        return tuple(said)
    beaten_by = {i: {j for j, b in enumerate(said) if _newer(b, a, zone)} for i, a in enumerate(said)}
    reach = {i: _closure(i, beaten_by) for i in beaten_by}
    return tuple(said[i] for i in beaten_by if all(i in reach[j] for j in reach[i]))


def _closure(start: int, edges: Mapping[int, set[int]]) -> set[int]:
    seen: set[int] = set()
    waiting = list(edges[start])
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting.extend(edges[node])
    return seen


def _newer(a: Statement[Any], b: Statement[Any], zone: tzinfo) -> bool:
    order = _compare_created(a.created, b.created, zone)
    if order == 0 and a.last_updated is not None and b.last_updated is not None:
        return a.last_updated > b.last_updated
    return order > 0


def _compare_created(a: When | None, b: When | None, zone: tzinfo) -> int:
    """1, 0 or -1 at the coarser precision of both; 0 where either is missing."""
    if a is None or b is None:
        return 0
    if not a.day_only and not b.day_only:
        return (a.instant > b.instant) - (a.instant < b.instant)
    letters = min(len(w.text) for w in (a, b) if w.day_only)
    first, second = (w.instant.astimezone(zone).date().isoformat()[:letters] for w in (a, b))
    return (first > second) - (first < second)


def _verdict(said: Sequence[Statement[V]], zone: tzinfo) -> Verdict[V]:
    latest = newest(said, zone)
    by_service: dict[str, list[Statement[V]]] = {}
    for statement in latest:
        by_service.setdefault(statement.service, []).append(statement)
    if any(len({s.value for s in group}) > 1 for group in by_service.values()):
        return Verdict(unsure=True)
    groups = [group for _, group in sorted(by_service.items())]
    return Verdict(tuple([max(group, key=_standing) if len(group) > 1 else group[0] for group in groups]))


def _standing(statement: Statement[Any]) -> tuple[str, str, str]:
    """A fixed choice among statements that agree."""
    created, updated = statement.created, statement.last_updated
    return (
        created.instant.isoformat() if created else "",
        updated.isoformat() if updated else "",
        statement.source.ref,
    )


def _items_say(fitting: list[list[Json]], authorized: bool) -> Iterable[tuple[str, str, bool]]:
    """(aspect, says, about this case) of one answer's items; the exact ones silence those of the class."""
    readers: tuple[tuple[str, Callable[[Json], str]], ...] = (
        (_COVER, _cover),
        (_AUTHORIZATION, lambda item: _authorization(item, authorized)),
    )
    for aspect, read in readers:
        said = next((told for group in fitting if (told := {read(i) for i in group} - {""})), set())
        for says in sorted(said):
            yield aspect, says, aspect == _COVER or authorized


def _cover(item: Json) -> str:
    excluded = item.get("excluded")
    return "excluded" if excluded is True else "covered" if excluded is False else ""


def _authorization(item: Json, authorized: bool) -> str:
    """The answer's preAuthRef is the authorization itself, for what it says needs one."""
    required = item.get("authorizationRequired")
    if authorized and required is not False:
        return _SATISFIED
    if not isinstance(required, bool):
        return ""
    return "authorization-needed" if required else "authorization-not-needed"


def _crd_says(told: Json) -> Iterable[tuple[str, str]]:
    covered = _COVERED.get(text_of(told.get("covered")))
    if covered:
        yield _COVER, covered
    needed = _NEEDED.get(text_of(told.get("pa-needed")))
    if told.get("satisfied-pa-id"):
        needed = _SATISFIED
    if needed:
        yield _AUTHORIZATION, needed


def _parts(extension: Json) -> dict[str, Any]:
    """The parts of a complex extension by name: the one ``value[x]`` of each."""
    return {
        text_of(part.get("url")): next((v for k, v in part.items() if k.startswith("value")), None)
        for part in objects(extension.get("extension"))
    }


def _contained(answer: Json, id: str) -> Json:
    found = (c for c in objects(answer.get("contained")) if id and c.get("id") == id)
    return next(found, {})


def _identifiers(coverage: Json) -> frozenset[str]:
    return identifiers(coverage.get("identifier"))


def _subscriber(coverage: Json) -> frozenset[str]:
    """Number and dependent together: the number alone is a family's (F45)."""
    number = text_of(coverage.get("subscriberId"))
    person = text_of(object_of(coverage.get("beneficiary")).get("reference"))
    return frozenset({f"{number}/{text_of(coverage.get('dependent'))}/{person}"}) if number else frozenset()


def _own_key(answer: Snapshot, contained: Json) -> str:
    """A key that copies of one Coverage share, though they have no address; "" where none is named."""
    if not contained:
        return ""
    told = min(_identifiers(contained) | _subscriber(contained), default="")
    return f"#{told or answer.ref}"


def _as_shown(said: Statement[str]) -> Statement[str]:
    """A statement as rules see it: only a Coverage with an address is named."""
    coverage = said.coverage if said.coverage.startswith("Coverage/") else ""
    return Statement(said.value, said.source, said.created, said.last_updated, coverage)


def _live(snapshot: Snapshot) -> bool:
    return snapshot.state is SnapshotState.LIVE
