"""References between resources: parse them, bring them to one form, find the patients that a resource names.

A reference may be relative ("Patient/1"), absolute, versioned ("…/_history/3"), ``urn:uuid:`` within a Bundle,
contained ("#p1"), or logical (an identifier). Only the configured base and its aliases are *ours*: a foreign
absolute reference is never shortened, else another server's Patient/5 would become our Patient/5 (F46).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

Json = Mapping[str, Any]

_TYPED = re.compile(r"^([A-Z][A-Za-z]+)/([A-Za-z0-9\-._]{1,128})(?:/_history/[^/?#]+)?(?:[?#].*)?$")


@dataclass(frozen=True, slots=True)
class Reference:
    """What a Reference element says, in one form.

    ``local`` is "Type/id" where it points into the same server, else "". ``foreign`` is the absolute URL of
    another server, ``urn`` a "urn:…", ``contained`` an id without "#". ``identifier`` is "system|value" of a
    logical reference; one without a system matches nobody and is not kept (F47).
    """

    local: str = ""
    foreign: str = ""
    urn: str = ""
    contained: str = ""
    identifier: str = ""
    type: str = ""

    @property
    def id(self) -> str:
        """The id of a local reference, else ""."""
        return self.local.partition("/")[2]

    def key(self) -> str:
        """One text that equal references share: local, foreign, urn, or the identifier; "" where it is empty."""
        return self.local or self.foreign or self.urn or self.identifier


class Bases:
    """The URLs under which one source knows itself: its base and its ``aliases``."""

    def __init__(self, base_url: str, aliases: Iterable[str] = ()) -> None:
        self.urls = tuple(_plain(url) for url in (base_url, *aliases) if url)

    def shorten(self, url: str) -> str | None:
        """The part after our base, or None where the URL is not ours."""
        plain = _plain(url)
        for base in self.urls:
            if plain == base or plain.startswith(base + "/"):
                return plain[len(base) + 1 :]
        return None


NO_BASES = Bases("")


_NOWHERE = Reference()


def parse_reference(element: Any, bases: Bases = NO_BASES) -> Reference:
    """The one form of a Reference element (or of its bare text). Nonsense gives an empty Reference, never an error."""
    if type(element) is not dict:  # what a parser makes; anything else takes the longer way
        if isinstance(element, str):
            element = {"reference": element}
        if not isinstance(element, Mapping):
            return _NOWHERE
    text = element.get("reference")
    if type(text) is str and len(text) <= _LONGEST and "identifier" not in element and "type" not in element:
        return _literal(text, bases)
    logical = _identifier(element.get("identifier"))
    said = element.get("type") if isinstance(element.get("type"), str) else ""
    if not isinstance(text, str):
        return Reference(identifier=logical, type=said or "")
    return _parsed(text, logical, said or "", bases)


_LONGEST = 300  # letters of a reference that is worth remembering


@lru_cache(maxsize=16_384)  # most references are a text alone, and the same ones come again and again
def _literal(text: str, bases: Bases) -> Reference:
    return _parsed(text, "", "", bases)


def _parsed(text: str, logical: str, said: str, bases: Bases) -> Reference:
    if not text:
        return Reference(identifier=logical, type=said)
    if text.startswith("#"):
        return Reference(contained=text[1:], identifier=logical, type=said)
    if text.startswith("urn:"):
        return Reference(urn=text, identifier=logical, type=said)
    if "://" in text:
        short = bases.shorten(text)
        if short is None:
            return Reference(foreign=_plain(text), identifier=logical, type=said or _type_in(text))
        text = short
    found = _TYPED.match(text)
    if not found:
        return Reference(identifier=logical, type=said)
    return Reference(local=f"{found[1]}/{found[2]}", identifier=logical, type=found[1])


def references_in(value: Any) -> Iterator[Json]:
    """Every Reference element below ``value``, contained resources included."""
    if isinstance(value, Mapping):
        if isinstance(value.get("reference"), str):
            yield value
        for part in value.values():
            yield from references_in(part)
    elif isinstance(value, list):
        for part in value:
            yield from references_in(part)


# Where each type names its patient. Appointment has no subject: the patient is one of its participants.
_PATIENT_PATHS: Mapping[str, tuple[str, ...]] = {
    "CarePlan": ("subject",),
    "Coverage": ("beneficiary",),
    "CoverageEligibilityResponse": ("patient",),
    "DiagnosticReport": ("subject",),
    "DocumentReference": ("subject",),
    "Encounter": ("subject",),
    "ServiceRequest": ("subject",),
    "Task": ("for",),
}


def patient_elements(resource: Json) -> list[Any]:
    """The Reference elements by which a resource may name its patients, in order; Patient itself has none."""
    kind = resource.get("resourceType")
    if kind == "Appointment":
        people = resource.get("participant")
        return [p.get("actor") for p in people if isinstance(p, Mapping)] if isinstance(people, list) else []
    return [
        resource[name] for name in _PATIENT_PATHS.get(str(kind), ("subject", "patient")) if name in resource
    ]


def patients_of(resource: Json, bases: Bases = NO_BASES) -> tuple[str, ...]:
    """The "Patient/id" references that a resource names now, each once. A Patient names itself."""
    if resource.get("resourceType") == "Patient":
        return (f"Patient/{resource['id']}",) if resource.get("id") else ()
    found: dict[str, None] = {}
    for element in patient_elements(resource):
        if type(element) is dict and "Patient/" not in _text(element):
            continue  # a place, a practitioner: not worth parsing
        parsed = parse_reference(element, bases)
        if parsed.local.startswith("Patient/"):
            found[parsed.local] = None
    return tuple(found)


def _text(element: Json) -> str:
    text = element.get("reference")
    return text if isinstance(text, str) else ""


def _identifier(element: Any) -> str:
    if not isinstance(element, Mapping):
        return ""
    system, value = element.get("system"), element.get("value")
    return (
        f"{system}|{value}" if isinstance(system, str) and isinstance(value, str) and system and value else ""
    )


def _plain(url: str) -> str:
    """A URL with its scheme and host in lower case, default port and last slash gone."""
    try:
        parts = urlsplit(url.strip())
    except ValueError:  # "http://[x": whoever wrote it, it is nobody's address
        return url.rstrip("/")
    if not parts.scheme or not parts.netloc:
        return url.rstrip("/")
    host = parts.netloc.lower()
    for scheme, port in (("http", ":80"), ("https", ":443")):
        if parts.scheme.lower() == scheme:
            host = host.removesuffix(port)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme.lower()}://{host}{parts.path.rstrip('/')}{query}"


def _type_in(url: str) -> str:
    found = re.search(r"/([A-Z][A-Za-z]+)/[^/]+(?:/_history/[^/]+)?$", url)
    return found[1] if found else ""
