"""Faults that no single rule shows: identities, needs shared by several rules, clocks, parameters of a source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from adapter.errors import Fault
from adapter.mapping.durations import parse_duration
from adapter.mapping.expressions import DURATION
from adapter.mapping.fhirpath import ExpressionError
from adapter.mapping.fhirpath.parse import parse
from adapter.mapping.rules import Edition
from adapter.mapping.schema import ClocksModel, MappingModel
from adapter.mapping.yaml_lines import Document, Path


@dataclass(frozen=True, slots=True)
class Read:
    """A mapping file that has the right shape."""

    model: MappingModel
    document: Document


def identity_faults(files: Sequence[Read]) -> Iterator[Fault]:
    """Mappings and rules have one name each, over all files: a rule's name is known to every task."""
    mappings: dict[str, str] = {}
    rules: dict[str, str] = {}
    for read in files:
        name, file = read.model.mapping, read.document.file
        if name in mappings:
            said = f"there is a mapping '{name}' in {mappings[name]}, too"
            yield read.document.fault(("mapping",), said, "choose another name")
        mappings.setdefault(name, file)
        for place, rule in enumerate(read.model.rules):
            path: Path = ("rules", place, "id")
            if rule.id in rules:
                said = f"there is a rule '{rule.id}' in {rules[rule.id]}, too"
                yield read.document.fault(path, said, "choose another name")
            if rule.id in read.model.removed:
                yield read.document.fault(path, "the rule stands in `removed`, too", "take it out of one")
            rules.setdefault(rule.id, file)


def rank_faults(files: Sequence[Read]) -> Iterator[Fault]:
    """Rules of one need differ in rank: the lowest gives the face, and it must be clear which that is."""
    sharing: dict[str, list[tuple[Read, int]]] = {}
    for read in files:
        for place, rule in enumerate(read.model.rules):
            prefix = (rule.need or read.model.need or "").partition("{")[0]
            if prefix:
                sharing.setdefault(prefix, []).append((read, place))
    for prefix, members in sharing.items():
        if len(members) > 1:
            yield from _rank_faults(prefix, members)


def _rank_faults(prefix: str, members: Sequence[tuple[Read, int]]) -> Iterator[Fault]:
    taken: dict[int, str] = {}
    for read, place in members:
        rule = read.model.rules[place]
        rank = rule.rank if rule.rank is not None else read.model.rank
        others = ", ".join(r.model.rules[p].id for r, p in members if (r, p) != (read, place))
        if rank is None:
            said = f"the need '{prefix}…' is shared with {others}, and the rule has no rank"
            yield read.document.fault(("rules", place, "need"), said, "give each of them another rank")
        elif rank in taken:
            said = f"rank {rank} of the need '{prefix}…' is that of {taken[rank]}, too"
            yield read.document.fault(("rules", place, "rank"), said, "give each of them another rank")
        else:
            taken[rank] = rule.id


def clock_faults(model: ClocksModel, document: Document) -> Iterator[Fault]:
    """Rows with days that do not exist, durations and conditions that cannot be read."""
    for name, clock in model.clocks.items():
        for place, row in enumerate(clock.rows):
            path: Path = ("clocks", name, "rows", place)
            if parse_duration(row.by) is None:
                yield document.fault((*path, "by"), f"'{row.by}' is no duration", DURATION)
            for key, text in (("from", row.from_), ("until", row.until)):
                if text is not None and not _is_day(text):
                    yield document.fault((*path, key), f"'{text}' is no day", "write it as 2026-01-01")
            try:
                parse(row.if_ or "true")
            except ExpressionError as error:
                yield document.fault((*path, "if"), error.message, error.remedy, error.column - 1)


def parameter_faults(edition: Edition, overrides: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong with a source's parameters: a sentence for each that no mapping has, or of another kind."""
    known = {mapping.name: mapping for mapping in edition.mappings}
    for name, values in overrides.items():
        if name not in known:
            yield f"there is no mapping '{name}'; known: {', '.join(sorted(known)) or 'none'}"
            continue
        rules = [rule for rule in edition.rules if rule.mapping == name]
        defaults = {key: value for rule in rules for key, value in rule.parameters.items()}
        for key, value in values.items():
            if key not in defaults:
                yield f"{name}: there is no parameter '{key}'; known: {', '.join(sorted(defaults)) or 'none'}"
            elif _is_duration(defaults[key]) != _is_duration(value):
                yield f"{name}: the parameter '{key}' is of another kind than {defaults[key]!r}"


def _is_duration(value: Any) -> bool:
    return isinstance(value, str) and parse_duration(value) is not None


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
