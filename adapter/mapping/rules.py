"""Compiled rules, and the edition that they make up together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from enum import Enum
from typing import Any

from adapter.facts.codes import Codebook
from adapter.mapping.durations import Duration
from adapter.mapping.fhirpath import Expression
from adapter.mapping.template import Template
from adapter.mapping.values import Chain
from adapter.mapping.valuesets import ValueSets
from adapter.model import Priority, SourceFacts


class Edge(Enum):
    """On which side of its anchor a moment lies."""

    AFTER = "after"
    BEFORE = "before"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A duration that a source may override; ``default`` is the mapping's own."""

    name: str
    default: Duration


Span = Duration | Parameter


@dataclass(frozen=True, slots=True)
class ClockRow:
    """One row of a regulator's clock; both days are inclusive."""

    since: date
    until: date | None
    condition: Expression | None
    by: Duration


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of ``opens``, ``due`` or ``ends``.

    ``anchor`` is an expression, ``word`` one of opens, due and onset; exactly one of them is set.
    """

    condition: Expression | None
    negated: bool
    edge: Edge
    anchor: Chain | None
    word: str
    by: Span | None
    clock: tuple[ClockRow, ...] = ()


@dataclass(frozen=True, slots=True)
class Escalation:
    """One step of an escalation; ``by`` None = at due."""

    by: Span | None
    priority: Priority | None
    tell: str


@dataclass(frozen=True, slots=True)
class Reading:
    """What expressions read: top-level elements of the focus, facts (and ``marked``), functions."""

    elements: frozenset[str] = frozenset()
    facts: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()

    def __or__(self, other: Reading) -> Reading:
        return Reading(
            self.elements | other.elements, self.facts | other.facts, self.functions | other.functions
        )


@dataclass(frozen=True, eq=False)
class Rule:
    """One rule, compiled.

    Attributes:
        resource: the type of its focus.
        types: all types that its facts and functions may read, the focus's own included.
        opening, closing: what ``applies``, ``when`` and the anchors read, and what ``satisfied`` reads.
        variables: names of all facts that any of its expressions uses.
        functions: names of all engine functions that it uses.
        elements: top-level elements of the focus that any of its expressions names.
        parameters: all parameters, before a source's overrides; ``constants`` names those used as ``%name``.
    """

    id: str
    mapping: str
    mapping_version: int
    resource: str
    code: str
    need: Template
    title: Template
    next: Template
    reason: Template
    satisfied: Expression
    performer: str
    applies: Expression | None = None
    when: Expression | None = None
    was_need: Template | None = None
    rank: int = 50
    onset: Chain | None = None
    max_age: Span | None = None
    lookback: Span | None = None
    urgent_lookback: Span | None = None
    opens: tuple[Moment, ...] = ()
    due: tuple[Moment, ...] = ()
    ends: tuple[Moment, ...] = ()
    escalate: tuple[Escalation, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    hold: str = "in-hospital"
    group: Template | None = None
    renews: tuple[Expression, ...] = ()
    programme: str = ""
    enabled: bool = True
    file: str = ""
    types: frozenset[str] = frozenset()
    opening: Reading = field(default_factory=Reading)
    closing: Reading = field(default_factory=Reading)
    variables: frozenset[str] = frozenset()
    functions: frozenset[str] = frozenset()
    constants: frozenset[str] = frozenset()
    elements: frozenset[str] = frozenset()

    def active_at(self, source: SourceFacts) -> bool:
        """Whether a source uses this rule."""
        return self.id not in source.disabled and (self.enabled or self.id in source.enabled)

    def __repr__(self) -> str:
        return f"Rule({self.mapping}/{self.id})"


@dataclass(frozen=True, eq=False)
class MappingFile:
    """One mapping as people know it."""

    name: str
    version: int
    title: str
    file: str
    rules: tuple[str, ...]
    removed: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Edition:
    """All mappings, value sets, code maps and clocks that are active together, under one hash.

    Attributes:
        rules: every rule, those with ``enabled: false`` included, by mapping file and place.
        hash: 16 hexadecimal digits over all contents, the engine's version and that of the holidays.
        elements: type → top-level elements that rules name: what has to be kept of a resource.
        codes: source name ("" = all) → map → "system|code" → meaning.
        notes: what is allowed and may surprise, one sentence each.
    """

    rules: tuple[Rule, ...]
    mappings: tuple[MappingFile, ...]
    valuesets: ValueSets
    codebook: Codebook
    hash: str
    elements: Mapping[str, frozenset[str]]
    codes: Mapping[str, Mapping[str, Mapping[str, str]]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def rules_for(self, resource: str) -> tuple[Rule, ...]:
        """The rules whose focus is of a type."""
        return tuple(rule for rule in self.rules if rule.resource == resource)

    def rule(self, id: str) -> Rule | None:
        """A rule by its id."""
        return next((rule for rule in self.rules if rule.id == id), None)

    def touched_by(self, type: str) -> tuple[Rule, ...]:
        """The rules whose answer a resource of a type may change."""
        return tuple(rule for rule in self.rules if type in rule.types)

    @property
    def types(self) -> frozenset[str]:
        """Every type that some rule needs."""
        return frozenset().union(*(rule.types for rule in self.rules)) | frozenset({"Patient"})

    @property
    def removed(self) -> frozenset[str]:
        """Rules that were taken out on purpose."""
        return frozenset().union(*(mapping.removed for mapping in self.mappings))
