"""Texts with holes: ``Schedule {code.text ?? code.coding.display ?? 'the visit'}[ on {start}]``.

``{expr}`` takes the first value, ``a ?? b`` is the first non-empty one, and ``[…]`` drops out where a hole in it is
empty. In words a date reads "Fri 5 Dec" in the source's zone and a missing hole leaves no gap; in needs and groups
values are canonical, and a hole that has not exactly one value makes the whole unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from decimal import Decimal
from typing import Any

from msgspec import Struct

from adapter.facts.times import When
from adapter.mapping.fhirpath import Value
from adapter.mapping.values import NOTHING, Chain, when_of
from adapter.references import NO_BASES, Bases, parse_reference

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_FULL_DATE = re.compile(r"\d{4}-\d\d-\d\d(T[\d:.]+(Z|[+-]\d\d:\d\d)?)?")
# What SNOMED CT appends to a fully specified name, "Physiotherapy of chest (regime/therapy)": no word for people.
_SNOMED_TAG = re.compile(
    r"\s*\((?:procedure|regime/therapy|finding|disorder|situation|observable entity|physical object|event|"
    r"qualifier value|body structure|morphologic abnormality|occupation|person|substance|product|environment|"
    r"record artifact|assessment scale|staging scale|specimen)\)$"
)
_STOPS = tuple(f" {stop}" for stop in ".,;:!?")


class TemplateFault(Exception):
    """A template that cannot be read. ``offset`` counts characters from its beginning."""

    def __init__(self, message: str, remedy: str, offset: int) -> None:
        super().__init__(message)
        self.message, self.remedy, self.offset = message, remedy, offset


@dataclass(frozen=True, slots=True)
class Hole:
    """An expression in braces; ``offset`` is where it begins in the template."""

    chain: Chain
    offset: int


@dataclass(frozen=True, slots=True)
class Group:
    """What stands in square brackets."""

    parts: tuple[str | Hole, ...]


Part = str | Hole | Group
Compile = Callable[[str, int], Chain]
Resolve = Callable[[Chain], Value]


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template."""

    text: str
    parts: tuple[Part, ...]

    @property
    def prefix(self) -> str:
        """What stands before the first hole: rules of one need share it."""
        first = self.parts[0] if self.parts else ""
        return first if isinstance(first, str) else ""

    @property
    def literal(self) -> str:
        """The text without its holes and optional groups."""
        return "".join(part for part in self.parts if isinstance(part, str))

    def holes(self) -> Iterator[Hole]:
        """Every hole, in order."""
        for part in self.parts:
            for inner in part.parts if isinstance(part, Group) else (part,):
                if isinstance(inner, Hole):
                    yield inner


class Filled(Struct, frozen=True):
    """A canonical text, or None and the gaps because of which it is unknown."""

    text: str | None
    gaps: frozenset[str] = NOTHING


def parse_template(text: str, compile_chain: Compile) -> Template:
    """Parse a template; ``compile_chain`` turns the text of a hole (and its offset) into expressions.

    Raises:
        TemplateFault: where a brace or bracket has no partner, or a group stands in a group.
    """
    return Template(text, tuple(_merge(_parts(text, 0, len(text), compile_chain, False))))


def words(template: Template, resolve: Resolve, zone: tzinfo) -> str:
    """The text for people. What is unknown or absent leaves no gap."""
    said = []
    for part in template.parts:
        if type(part) is Group:
            inner = [_spoken(piece, resolve, zone) for piece in part.parts]
            said.append("" if "" in inner else "".join(inner))
        else:
            said.append(_spoken(part, resolve, zone))
    return _tidy("".join(said))


def _tidy(text: str) -> str:
    """One space between words, none before a stop."""
    text = " ".join(text.split())
    for stop in _STOPS:
        if stop in text:
            text = text.replace(stop, stop[1])
    return text


def canonical(template: Template, resolve: Resolve, bases: Bases = NO_BASES) -> Filled:
    """The text for identity: None where a hole is unknown, empty (outside brackets) or has several values."""
    texts: list[str] = []
    for part in template.parts:
        filled = _filled(part, resolve, bases)
        if filled.text is None:
            return filled
        texts.append(filled.text)
    return Filled("".join(texts))


def shorten(text: str, limit: int) -> str:
    """The text within ``limit`` characters, cut between words, with an ellipsis where something was cut."""
    if len(text) <= limit:
        return text
    if limit <= 1:
        return "…"[:limit]
    cut = text[: limit - 1]
    if not text[limit - 1].isspace() and " " in cut:
        shorter = cut.rpartition(" ")[0]
        cut = shorter if len(shorter) >= limit // 2 else cut
    return cut.rstrip(" ,;:.-–(") + "…"


def day_words(when: When, zone: tzinfo) -> str:
    """ "Fri 5 Dec": the day on which a time falls in ``zone``."""
    local = when.instant.astimezone(zone)
    return f"{_WEEKDAYS[local.weekday()]} {local.day} {_MONTHS[local.month - 1]}"


def _filled(part: Part, resolve: Resolve, bases: Bases) -> Filled:
    if isinstance(part, str):
        return Filled(part)
    if isinstance(part, Hole):
        return _one(resolve(part.chain), bases)
    texts = []
    for piece in part.parts:
        filled = _filled(piece, resolve, bases)
        if filled.text is None:
            return filled if filled.gaps else Filled("")
        texts.append(filled.text)
    return Filled("".join(texts))


def _spoken(part: Part, resolve: Resolve, zone: tzinfo) -> str:
    if type(part) is str:
        return part
    assert type(part) is Hole
    for item in resolve(part.chain).items:
        if text := _say(item, zone):
            return text
    return ""


def _say(item: Any, zone: tzinfo) -> str:
    if isinstance(item, str) and not (item[:1].isdigit() and _FULL_DATE.fullmatch(item)):
        text = item if item.isprintable() else "".join(c if c.isprintable() else " " for c in item)
        text = text.strip()
        return _SNOMED_TAG.sub("", text) if text.endswith(")") else text
    when = when_of(item, zone)
    if when is not None:
        return day_words(when, zone)
    if isinstance(item, bool):
        return "yes" if item else "no"
    return str(item) if isinstance(item, int | Decimal) else ""


def _one(value: Value, bases: Bases) -> Filled:
    if len(value.items) == 1 and type(value.items[0]) is str and value.items[0]:
        return Filled(value.items[0])
    texts = {text for item in value.items if (text := _identify(item, bases))}
    if len(texts) == 1 and len(value.items) >= 1:
        return Filled(texts.pop())
    if not value.items:
        return Filled(None, value.gaps)
    return Filled(None)


def _identify(item: Any, bases: Bases) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, str):
        return item
    if isinstance(item, int | Decimal):
        return str(item)
    when = when_of(item, UTC)
    if when is not None:
        return when.text if when.day_only else when.instant.isoformat()
    if not isinstance(item, Mapping):
        return ""
    if "reference" in item or "identifier" in item:
        return parse_reference(item, bases).key()
    code, system = item.get("code"), item.get("system", "")
    return f"{system}|{code}" if isinstance(code, str) else ""


def _parts(text: str, start: int, end: int, compile_chain: Compile, inside: bool) -> Iterator[Part]:
    place = start
    while place < end:
        sign = text[place]
        if sign == "{":
            close = _closing(text, place, end)
            inner = text[place + 1 : close]
            if not inner.strip():
                raise TemplateFault("a hole is empty", "write an expression between the braces", place)
            yield Hole(compile_chain(inner, place + 1), place + 1)
            place = close + 1
        elif sign == "[":
            if inside:
                raise TemplateFault(
                    "an optional group stands in another", "close the first one before", place
                )
            close = _closing(text, place, end)
            pieces = tuple(_merge(_parts(text, place + 1, close, compile_chain, True)))
            yield Group(tuple(piece for piece in pieces if not isinstance(piece, Group)))
            place = close + 1
        elif sign in "}]":
            raise TemplateFault(f"'{sign}' has no partner", "remove it, or open it before", place)
        else:
            yield sign
            place += 1


def _closing(text: str, start: int, end: int) -> int:
    """Where the bracket at ``start`` closes; brackets and braces within texts in quotes do not count."""
    closes = {"{": "}", "[": "]", "(": ")"}
    stack: list[str] = []
    quote = ""
    place = start
    while place < end:
        sign = text[place]
        in_hole = "}" in stack
        if quote:
            place += sign == "\\"
            quote = "" if sign == quote else quote
        elif sign in "'`" and in_hole:
            quote = sign
        elif sign in "{[" or (sign == "(" and in_hole):
            stack.append(closes[sign])
        elif stack and sign == stack[-1]:
            stack.pop()
            if not stack:
                return place
        place += 1
    raise TemplateFault(f"'{text[start]}' is never closed", f"close it with '{closes[text[start]]}'", start)


def _merge(parts: Iterator[Part]) -> Iterator[Part]:
    """Neighbouring letters as one text."""
    text = ""
    for part in parts:
        if isinstance(part, str):
            text += part
            continue
        if text:
            yield text
        text = ""
        yield part
    if text:
        yield text
