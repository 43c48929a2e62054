"""Local codes: what kind of order, who cancelled, which setting.

Value sets are asked first, then code maps, then what the standards themselves say.

A code that nothing maps is absent, so unknown; it is noted for counting and never guessed. Of real
orders two in three have no category, and an EHR's own code sets fit no published value set.

Code maps (``config/codes/``; "system|code" → meaning, "|code" for a coding without a system):

- ``order-kind``: referral, imaging, procedure, laboratory, or any kind that rules name; ``ignore`` for
  no order to act
- ``cancelled-by``: provider or patient
- ``setting``: inpatient, emergency, ambulatory or virtual
- ``benefit-class``: the class of a benefit → the kind of order that it speaks of, or ``valueset:name`` where it
  speaks of some of a kind only: of the orders whose code is in that value set

Value sets of the same meaning are asked by name: :data:`KIND_SETS`, :data:`CANCELLED_SETS`,
:data:`IGNORED_SET`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from adapter.facts.elements import coding_key, codings, objects, text_of
from adapter.model import Json
from adapter.once import remember

# Asked in this order: where a category says two things, the first named here wins.
KIND_SETS: Mapping[str, str] = {
    "imaging": "imaging",
    "laboratory": "laboratory",
    "referral": "referral",
    "procedure": "procedure",
}
CANCELLED_SETS: Mapping[str, str] = {"provider": "cancelled-by-provider", "patient": "cancelled-by-patient"}
IGNORED_SET = "no-order-to-act"  # code status, portable medical orders: active for years, nothing to arrange
IGNORED = "ignore"
OF_VALUESET = "valueset:"

_SNOMED = "http://snomed.info/sct"
_ACT_CODE = "http://terminology.hl7.org/CodeSystem/v3-ActCode"
_CANCELLATION = "http://terminology.hl7.org/CodeSystem/appointment-cancellation-reason"
_US_CORE_CATEGORY = "http://hl7.org/fhir/us/core/CodeSystem/us-core-category"

# What the standards themselves say; a site's own map comes before it.
STANDARD: Mapping[str, Mapping[str, str]] = {
    "order-kind": {
        f"{_SNOMED}|108252007": "laboratory",  # http://hl7.org/fhir/ValueSet/servicerequest-category
        f"{_SNOMED}|363679005": "imaging",
        f"{_SNOMED}|387713003": "procedure",
        f"{_SNOMED}|3457005": "referral",
        f"{_SNOMED}|103696004": "referral",
        f"{_SNOMED}|306206005": "referral",
        f"{_US_CORE_CATEGORY}|PMO": IGNORED,  # portable medical order
        f"{_SNOMED}|304253006": IGNORED,  # not for resuscitation
        f"{_SNOMED}|304252001": IGNORED,  # for resuscitation
    },
    "setting": {
        **{f"{_ACT_CODE}|{code}": "inpatient" for code in ("IMP", "ACUTE", "NONAC", "OBSENC")},
        f"{_ACT_CODE}|EMER": "emergency",
        f"{_ACT_CODE}|VR": "virtual",
        **{f"{_ACT_CODE}|{code}": "ambulatory" for code in ("AMB", "HH", "FLD", "SS", "PRENC")},
    },
    "cancelled-by": {},
    "benefit-class": {},
}
# Servers drop the system of Encounter.class; these codes mean nothing else there.
_BARE_SETTINGS = {key.rpartition("|")[2]: meaning for key, meaning in STANDARD["setting"].items()}


class ValueSets(Protocol):
    """What the mapping's value sets answer."""

    def member(self, valueset: str, coding: Json) -> bool:
        """Whether a Coding belongs to a named value set; false where there is no such set."""


class NoValueSets:
    """No value set at all."""

    def member(self, valueset: str, coding: Json) -> bool:
        return False


@dataclass(slots=True)
class Codebook:
    """Value sets and code maps of one source. ``unmapped`` collects (map, "system|code") for counting."""

    valuesets: ValueSets = field(default_factory=NoValueSets)
    maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unmapped: set[tuple[str, str]] = field(default_factory=set)
    _kinds: dict[tuple[str, str], str | None] = field(default_factory=dict, repr=False, compare=False)
    _ignored: dict[tuple[str, str], bool] = field(default_factory=dict, repr=False, compare=False)
    _benefits: dict[tuple[str, ...], frozenset[str]] = field(default_factory=dict, repr=False, compare=False)
    _laid: tuple[Mapping[str, Mapping[str, str]], Codebook] | None = field(
        default=None, repr=False, compare=False
    )

    def at(self, maps: Mapping[str, Mapping[str, str]]) -> Codebook:
        """This codebook with a source's own maps laid over it; both count into the same ``unmapped``.

        The same maps (the very object, as one source's settings hold it) give the same codebook again.
        """
        if not maps:
            return self
        if self._laid is None or self._laid[0] is not maps:
            self._laid = maps, self._with(maps)
        return self._laid[1]

    def _with(self, maps: Mapping[str, Mapping[str, str]]) -> Codebook:
        merged = {name: {**self.maps.get(name, {}), **maps.get(name, {})} for name in {*self.maps, *maps}}
        return Codebook(self.valuesets, merged, self.unmapped)

    def kind(self, order: Json) -> str | None:
        """The kind of an order: from its category, else from its code."""
        for element in ("category", "code"):
            found = self._kind_of(order.get(element))
            if found and found != IGNORED:
                return found
        self._note("order-kind", order.get("category"), order.get("code"))
        return None

    def category_kind(self, order: Json) -> str | None:
        """The kind as the category alone says it."""
        return self._kind_of(order.get("category"))

    def ignored(self, order: Json) -> bool:
        """Whether an order asks for nothing to be arranged: a code status, a portable medical order."""
        for coding in (*codings(order.get("category")), *codings(order.get("code"))):
            key = _system_and_code(coding)
            held = self._ignored.get(key)
            if held is None:
                held = remember(self._ignored, key, self._is_ignored(coding), _MOST_CODES)
            if held:
                return True
        return False

    def _is_ignored(self, coding: Json) -> bool:
        return self.valuesets.member(IGNORED_SET, coding) or self._mapped("order-kind", coding) == IGNORED

    def cancelled_by(self, visit: Json) -> str | None:
        """ "provider" or "patient", by the reason of a cancelled visit."""
        reason = visit.get("cancelationReason") or visit.get("cancellationReason")  # R4; R5 and typists
        for coding in codings(reason):
            found = self._in_sets(CANCELLED_SETS, coding) or self._mapped("cancelled-by", coding)
            found = found or _standard_canceller(coding)
            if found in CANCELLED_SETS:
                return found
        self._note("cancelled-by", reason)
        return None

    def setting(self, encounter: Json) -> str | None:
        """ "inpatient", "emergency", "ambulatory" or "virtual", by the class of an Encounter."""
        for coding in codings(encounter.get("class")):
            found = self._mapped("setting", coding)
            if not found and not coding.get("system"):
                found = _BARE_SETTINGS.get(text_of(coding.get("code")))
            if found:
                return found
        self._note("setting", encounter.get("class"))
        return None

    def benefit_kinds(self, category: Any) -> frozenset[str]:
        """The kinds of order that a class of benefit speaks of; several are written with blanks between."""
        keys = tuple(map(coding_key, codings(category)))
        held = self._benefits.get(keys)
        if held is None:
            found = [self._mapped("benefit-class", coding) for coding in codings(category)]
            if not any(found):
                self._note("benefit-class", category)
            kinds = frozenset(kind for kinds in found if kinds for kind in kinds.split())
            held = remember(self._benefits, keys, kinds, _MOST_CODES)
        return held

    def speaks_of(self, category: Any, order: Json, kind: str | None) -> bool:
        """Whether a class of benefit speaks of an order: of its kind, or of a value set that its code is in."""
        means = self.benefit_kinds(category)
        return kind in means or any(
            self.valuesets.member(named, coding)
            for meaning in means
            if (named := meaning.removeprefix(OF_VALUESET)) != meaning
            for coding in codings(order.get("code"))
        )

    def _kind_of(self, element: Any) -> str | None:
        found = {kind for coding in codings(element) if (kind := self._coding_kind(coding))}
        if len(found) < 2:
            return found.pop() if found else None
        for kind in (IGNORED, *KIND_SETS):
            if kind in found:
                return kind
        return min(found, default=None)

    def _coding_kind(self, coding: Json) -> str | None:
        """Value sets first, then maps: remembered, for there are few codes and every order asks."""
        key = _system_and_code(coding)
        held = self._kinds.get(key, _NOT_ASKED)
        if held is _NOT_ASKED:
            kind = self._in_sets(KIND_SETS, coding) or self._mapped("order-kind", coding)
            held = remember(self._kinds, key, kind, _MOST_CODES)
        return held

    def _in_sets(self, sets: Mapping[str, str], coding: Json) -> str | None:
        return next((means for means, name in sets.items() if self.valuesets.member(name, coding)), None)

    def _mapped(self, name: str, coding: Json) -> str | None:
        key = coding_key(coding)
        for codes in (self.maps.get(name, {}), STANDARD.get(name, {})):
            if key in codes:
                return codes[key]
        return None

    def _note(self, name: str, *elements: Any) -> None:
        keys = (coding_key(coding) for element in _each(elements) for coding in codings(element))
        self.unmapped.update((name, key) for key in keys if key)


_NOT_ASKED = "not asked"
_MOST_CODES = 20_000  # a bound for nonsense: an EHR has some thousand codes of orders


def _system_and_code(coding: Json) -> tuple[str, str]:
    return text_of(coding.get("system")), text_of(coding.get("code"))


def unmapped(bodies: Iterable[Json], codebook: Codebook) -> Counter[tuple[str, str]]:
    """How many resources bear codes that mean nothing here, by (map, "system|code").

    Orders that are active and ask for action, visits that were cancelled, encounters: what a map could make speak.
    """
    found: Counter[tuple[str, str]] = Counter()
    mine = Codebook(codebook.valuesets, codebook.maps)
    for body in bodies:
        mine.unmapped.clear()
        _ask(mine, body)
        found.update(mine.unmapped)
    return found


def _ask(codebook: Codebook, body: Json) -> None:
    type, status = body.get("resourceType"), body.get("status")
    if type == "ServiceRequest" and status == "active" and not codebook.ignored(body):
        codebook.kind(body)
    elif type == "Appointment" and status == "cancelled":
        codebook.cancelled_by(body)
    elif type == "Encounter":
        codebook.setting(body)


def _each(elements: Iterable[Any]) -> Iterable[Any]:
    return [part for element in elements for part in objects(element)]


def _standard_canceller(coding: Json) -> str | None:
    """HL7's reasons carry the party as a prefix: "pat-cpp", "prov-pers"; "maint" is the clinic's machine."""
    if coding.get("system") != _CANCELLATION:
        return None
    party = text_of(coding.get("code")).partition("-")[0]
    return {"pat": "patient", "prov": "provider", "maint": "provider"}.get(party)
