"""Links: which visits, encounters, results and documents belong to which order. Pure, over one chart.

A link is *explicit* where a resource names the order, by reference or by identifier; *asserted* (a
person said so) and *likely* have a place in :class:`Link` and are not made here. A reference may be
relative, absolute, versioned, ``urn:uuid:`` or logical; one to another server is never taken as ours (F46).

Orders form families: a child (``basedOn`` another order) fulfils its parent, and an order that ``replaces``
another inherits what belonged to it (F20). A visit serves one order, the earliest by authoredOn and id,
unless it names several by reference or they share a requisition (F62).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adapter.facts.elements import coding_keys, identifier_key, identifiers, object_of, objects, text_of
from adapter.model import Json, Snapshot, SnapshotState
from adapter.once import once
from adapter.references import Bases, parse_reference

_URI_SYSTEM = "urn:ietf:rfc:3986"
# An identifier typed as anything else (a visit number, a medical record number) may be shared by
# unrelated things.
_ORDER_IDENTIFIER_TYPES = frozenset({"PLAC", "PGN", "FILL"})
_ID = re.compile(r"[A-Za-z0-9\-._]{1,128}")
_VISIT_ELEMENTS = tuple(  # what comes later says why
    [(name, f"Appointment.{name}") for name in ("reasonReference", "supportingInformation", "basedOn")]
)
_NONE: list[Snapshot] = []


@dataclass(frozen=True, slots=True)
class Link:
    """One thing that belongs to one order, both as "Type/id"; ``because`` names the path that says so."""

    order: str
    thing: str
    strength: str = "explicit"  # explicit | asserted | likely
    because: str = ""


class Resolver:
    """Finds the resource of the chart that a Reference means."""

    def __init__(self, by_type: Mapping[str, list[Snapshot]], bases: Bases) -> None:
        self._bases = bases
        self._by_type = by_type

    @once
    def _by_identifier(self) -> dict[str, set[str]]:
        """Refs by "Type:system|value"; made when the first logical reference asks."""
        found: dict[str, set[str]] = defaultdict(set)
        for type, listed in self._by_type.items():
            for snapshot in listed:
                for key in identifiers(snapshot.body.get("identifier")):
                    found[f"{type}:{key}"].add(snapshot.ref)
        return found

    def ref(self, element: Any, type: str) -> str:
        """ "Type/id" of the resource of ``type`` that is meant; "" where none is, or where several would fit.

        A local reference is given back even where the resource itself is not on the chart.
        """
        if isinstance(element, dict) and len(element) == 1:  # nearly every one: "Type/id" and nothing else
            text = element.get("reference")
            if isinstance(text, str) and text.startswith(f"{type}/") and _ID.fullmatch(text, len(type) + 1):
                return text
        said = parse_reference(element, self._bases)
        if said.local:
            return said.local if said.type == type else ""
        if said.foreign or said.contained:
            return ""
        if said.urn:
            return self._of_urn(said.urn, type)
        if not said.identifier:
            return ""
        return self._only(self._by_identifier.get(f"{type}:{said.identifier}", ()))

    def refs(self, elements: Any, type: str) -> list[str]:
        """:meth:`ref` of each element of a list, each once, in order."""
        if not elements:
            return []
        listed = elements if isinstance(elements, list) else [elements]
        if len(listed) == 1:
            ref = self.ref(listed[0], type)
            return [ref] if ref else []
        return list(dict.fromkeys(ref for ref in (self.ref(e, type) for e in listed) if ref))

    def _of_urn(self, urn: str, type: str) -> str:
        found = self._only(self._by_identifier.get(f"{type}:{_URI_SYSTEM}|{urn}", ()))
        if found or not urn.startswith("urn:uuid:"):
            return found
        ref = f"{type}/{urn.removeprefix('urn:uuid:')}"
        return ref if any(ref == held.ref for held in self._by_type.get(type, ())) else ""

    @staticmethod
    def _only(refs: Iterable[str]) -> str:
        found = list(refs)
        return found[0] if len(found) == 1 else ""


class Links:
    """What belongs to what on one chart. All answers are "Type/id" references in a stable order."""

    def __init__(self, by_type: Mapping[str, list[Snapshot]], bases: Bases) -> None:
        """``by_type`` are the live resources of the chart, each list by ref."""
        self._by_type = by_type
        self.resolver = Resolver(by_type, bases)
        self._orders = {s.ref: s for s in self._of_type("ServiceRequest")}
        self._parents = self._named_by_orders("basedOn")
        self._replaced = self._named_by_orders("replaces")
        self._children = _inverse(self._parents)
        self._replacing = _inverse(self._replaced)
        self._visits_of_encounter = {
            e.ref: self.resolver.refs(e.body.get("appointment"), "Appointment")
            for e in self._of_type("Encounter")
        }
        self._encounters_of_visit = _inverse(self._visits_of_encounter)
        self._things: dict[str, list[str]] = defaultdict(list)
        self._named: dict[str, list[str]] = {}
        for thing, orders in self._of_things():
            if orders:
                self._named[thing] = list(orders)
                for order in orders:
                    self._things[order].append(thing)

    @property
    def links(self) -> tuple[Link, ...]:
        """Every link, with the path that says so."""
        return tuple(
            Link(order, thing, because=why)
            for thing, orders in self._of_things()
            for order, why in orders.items()
        )

    def parents(self, order: str) -> list[str]:
        """The orders that an order is ``basedOn``; they need not be on the chart."""
        return self._parents.get(order, [])

    def replaced(self, order: str) -> list[str]:
        """The orders that an order replaces, and those that they replaced."""
        return [ref for ref in _reach([order], self._replaced) if ref != order]

    def family(self, order: str) -> list[str]:
        """An order, what it replaces, and the children of all of them: what fulfils one, fulfils it."""
        if not self._replaced and not self._children:
            return [order]
        return _reach([order], self._replaced, self._children)

    def heads(self, order: str) -> list[str]:
        """The orders under which an order is shown: its topmost parent, and what replaced that."""
        if not self._parents and not self._replacing:
            return [order]
        return [
            ref
            for ref in _reach([order], self._parents, self._replacing)
            if not self._parents.get(ref) and not self._replacing.get(ref)
        ] or [order]

    def of_order(self, order: str, type: str) -> list[str]:
        """The resources of ``type`` that belong to an order or its family, sorted."""
        if type not in self._by_type:
            return []
        start = f"{type}/"
        members = self.family(order)
        if len(members) == 1:
            things = self._things.get(order, [])
            if len(things) < 2:
                return things if things and things[0].startswith(start) else []
        found = {
            thing for member in members for thing in self._things.get(member, ()) if thing.startswith(start)
        }
        return sorted(found)

    def _of_type(self, type: str) -> list[Snapshot]:
        return self._by_type.get(type, _NONE)

    def orders_of(self, thing: str) -> list[str]:
        """The orders that a visit, encounter, result or document belongs to, children as their parents."""
        return sorted({head for order in self._named.get(thing, ()) for head in self.heads(order)})

    def encounters_of(self, visit: str) -> list[str]:
        """The encounters that name a visit as their appointment."""
        return self._encounters_of_visit.get(visit, [])

    def visits_of(self, encounter: str) -> list[str]:
        """The visits that an encounter names as its appointments."""
        return self._visits_of_encounter.get(encounter, [])

    def of_encounter(self, encounter: str, type: str) -> list[str]:
        """The resources of ``type`` that name an encounter, at ``encounter`` or ``context.encounter``."""
        return [s.ref for s in self._of_type(type) if encounter in self._encounters_named(s)]

    def _named_by_orders(self, element: str) -> dict[str, list[str]]:
        found = {
            ref: [r for r in self.resolver.refs(named, "ServiceRequest") if r != ref]
            for ref, order in self._orders.items()
            if (named := order.body.get(element))
        }
        return {ref: named for ref, named in found.items() if named}

    def _of_things(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Each visit, encounter, result and document with its orders, and the path that says so."""
        visits = self._visit_links()
        encounters = dict(self._encounter_links(visits))
        yield from self._with_encounters(visits, encounters).items()
        yield from encounters.items()
        for type in ("DiagnosticReport", "DocumentReference"):
            for snapshot in self._of_type(type):
                yield snapshot.ref, self._evidence(snapshot, visits, encounters)

    def _visit_links(self) -> dict[str, dict[str, str]]:
        links: dict[str, dict[str, str]] = {}
        refs = self.resolver.refs
        for visit in self._of_type("Appointment"):
            body, found = visit.body, {}
            for element, why in _VISIT_ELEMENTS:
                if element in body:
                    for ref in refs(body[element], "ServiceRequest"):
                        found[ref] = why
            links[visit.ref] = found or self._by_identifier(visit)
        return links

    @once
    def _order_identifiers(self) -> dict[str, list[tuple[str, Json]]]:
        """Orders by every number that they bear, each with the Identifier that says it."""
        found: dict[str, list[tuple[str, Json]]] = defaultdict(list)
        for ref, order in self._orders.items():
            body = order.body
            if said := body.get("identifier"):
                for identifier in objects(said):
                    if key := identifier_key(identifier):
                        found[key].append((ref, identifier))
            if "requisition" in body and (key := _requisition(order)):
                found[key].append((ref, _ANY_NUMBER))
        return found

    def _by_identifier(self, visit: Snapshot) -> dict[str, str]:
        """The one order that shares a number with a visit, with those of its requisition (F62)."""
        keys = identifiers(visit.body.get("identifier"))
        orders = self._order_identifiers if keys else {}
        if orders.keys().isdisjoint(keys):
            return {}
        found = {ref for key in keys for ref, said in orders.get(key, ()) if _is_number_of_order(said)}
        if not found:
            return {}
        first = min(found, key=self._age)
        group = _requisition(self._orders[first])
        served = [
            o for o in sorted(found) if o == first or (group and _requisition(self._orders[o]) == group)
        ]
        return dict.fromkeys(served, "Appointment.identifier")

    def _age(self, order: str) -> tuple[str, str]:
        return text_of(self._orders[order].body.get("authoredOn")) or "9999", order

    def _encounter_links(self, visits: Mapping[str, dict[str, str]]) -> Iterator[tuple[str, dict[str, str]]]:
        for encounter in self._of_type("Encounter"):
            named = self.resolver.refs(encounter.body.get("basedOn"), "ServiceRequest")
            found = dict.fromkeys(named, "Encounter.basedOn")
            for visit in self._visits_of_encounter[encounter.ref]:
                for order in visits.get(visit, ()):
                    found.setdefault(order, "Encounter.appointment")
            yield encounter.ref, found

    def _with_encounters(
        self, visits: dict[str, dict[str, str]], encounters: Mapping[str, dict[str, str]]
    ) -> dict[str, dict[str, str]]:
        """A visit that names no order belongs to those of its encounter: visit ← encounter → order."""
        if not encounters:
            return visits
        for visit, found in visits.items():
            for encounter in self.encounters_of(visit) if not found else ():
                for order, why in encounters.get(encounter, {}).items():
                    if why == "Encounter.basedOn":
                        found.setdefault(order, "Encounter.appointment+basedOn")
        return visits

    def _evidence(
        self,
        snapshot: Snapshot,
        visits: Mapping[str, dict[str, str]],
        encounters: Mapping[str, dict[str, str]],
    ) -> dict[str, str]:
        """What a result or document names; only where it names no order, its encounter's orders."""
        context = object_of(snapshot.body.get("context"))
        element = "basedOn" if snapshot.type == "DiagnosticReport" else "context.related"
        named = snapshot.body.get("basedOn") if element == "basedOn" else context.get("related")
        found = self.resolver.refs(named, "ServiceRequest")
        if found:
            return dict.fromkeys(found, f"{snapshot.type}.{element}")
        through = [order for e in self._encounters_named(snapshot) for order in encounters.get(e, ())]
        through += [o for v in self.resolver.refs(named, "Appointment") for o in visits.get(v, ())]
        return dict.fromkeys(through, f"{snapshot.type}.encounter")

    def _encounters_named(self, snapshot: Snapshot) -> list[str]:
        context = object_of(snapshot.body.get("context"))
        named = [snapshot.body.get("encounter"), *_listed(context.get("encounter"))]
        return self.resolver.refs([element for element in named if element], "Encounter")


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _requisition(order: Snapshot) -> str:
    return identifier_key(object_of(order.body.get("requisition")))


_ANY_NUMBER: Json = {}  # a requisition: an Identifier of no type


def _is_number_of_order(identifier: Json) -> bool:
    types = {key.rpartition("|")[2] for key in coding_keys(identifier.get("type"))}
    return not types or bool(types & _ORDER_IDENTIFIER_TYPES)


def _inverse(named: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    if not named:
        return {}
    found: dict[str, list[str]] = defaultdict(list)
    for ref, others in sorted(named.items()):
        for other in others:
            found[other].append(ref)
    return dict(found)


def _reach(start: Iterable[str], *edges: Mapping[str, list[str]]) -> list[str]:
    """All that can be reached from ``start``, in a stable order; cycles end by themselves."""
    seen: dict[str, None] = {}
    waiting = list(start)
    while waiting:
        ref = waiting.pop(0)
        if ref not in seen:
            seen[ref] = None
            waiting.extend(other for edge in edges for other in edge.get(ref, ()))
    return list(seen)


def body_of(snapshot: Snapshot | None) -> Json:
    """The body of a live snapshot, else an empty one."""
    return snapshot.body if snapshot is not None and snapshot.state is SnapshotState.LIVE else {}
