"""Compiling the texts of one rule, with every fault at its line and column."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from adapter.errors import Fault
from adapter.facts.facts import FACT_TYPES
from adapter.mapping.analysis import Usage, analyse, variables_for
from adapter.mapping.durations import parse_duration
from adapter.mapping.fhirpath import Expression, ExpressionError, compile_expression
from adapter.mapping.rules import Parameter, Reading, Span
from adapter.mapping.scope import SPECS
from adapter.mapping.template import Template, TemplateFault, parse_template
from adapter.mapping.values import Chain
from adapter.mapping.valuesets import ValueSets
from adapter.mapping.yaml_lines import Document, Path

# FHIRPath's grammar takes a bare day, hour … for a calendar unit, even after "%".
_UNIT_NAMES = re.compile(r"%(year|month|week|day|hour|minute|second)\b")
DURATION = "write it as '3 business days', '14 days', '4 hours' or '30m', or name a parameter"


class Compiler:
    """Turns texts at places of one document into expressions, chains, templates and durations.

    What cannot be compiled is None, and a fault is in ``faults``. ``usages`` grows with every expression.
    """

    def __init__(
        self, document: Document, focus: str, parameters: Mapping[str, Any], valuesets: ValueSets
    ) -> None:
        self.document = document
        self.focus = focus
        self.parameters = parameters
        self.valuesets = valuesets
        self.faults: list[Fault] = []
        self.usages: list[Usage] = []
        self._durations = {name for name, value in parameters.items() if _duration(value)}
        self._allowed = variables_for(parameters)

    def expression(self, text: str | None, path: Path, offset: int = 0) -> Expression | None:
        """One expression; None where there is none or it is wrong."""
        if text is None:
            return None
        text = _UNIT_NAMES.sub(r"%`\1`", text)
        try:
            compiled = compile_expression(text, functions=SPECS, variables=self._allowed)
        except ExpressionError as error:
            self._expression_fault(error, text, path, offset)
            return None
        self._analyse(text, path, offset)
        return compiled

    def chain(self, text: str | None, path: Path, offset: int = 0) -> Chain | None:
        """``a ?? b``."""
        if text is None:
            return None
        parts = [self.expression(part, path, offset + start) for start, part in _alternatives(text)]
        found = tuple(part for part in parts if part is not None)
        return Chain(text.strip(), found) if len(found) == len(parts) else None

    def template(self, text: str | None, path: Path) -> Template | None:
        """A template."""
        if text is None:
            return None
        try:
            return parse_template(text, self._hole(path))
        except TemplateFault as fault:
            self.fault(path, fault.message, fault.remedy, fault.offset)
            return None

    def span(self, text: str | None, path: Path) -> Span | None:
        """A duration, or the name of a parameter that is one."""
        if text is None:
            return None
        found = parse_duration(text)
        if found is not None:
            return found
        default = _duration(self.parameters.get(text))
        if default is not None:
            return Parameter(text, default)
        known = f"; parameters: {', '.join(sorted(self._durations))}" if self._durations else ""
        self.fault(path, f"'{text}' is no duration", DURATION + known)
        return None

    def fault(
        self, path: Path, message: str, remedy: str = "", offset: int = 0, *, key: bool = False
    ) -> None:
        """Note something wrong at a place."""
        self.faults.append(self.document.fault(path, message, remedy, offset, key=key))

    def reading(self, since: int) -> Reading:
        """What the expressions compiled since ``len(usages)`` was ``since`` read."""
        usages = self.usages[since:]
        variables = _joined(usage.variables for usage in usages)
        functions = _joined(usage.functions for usage in usages)
        return Reading(
            _joined(usage.elements for usage in usages),
            variables & frozenset(FACT_TYPES) - frozenset({"changed", "first_seen", "day"}),
            functions & frozenset(SPECS) - frozenset({"marked", "memberOf"}),
        )

    def _hole(self, path: Path) -> Callable[[str, int], Chain]:
        def compiled(text: str, offset: int) -> Chain:
            return self.chain(text, path, offset) or Chain(text, ())

        return compiled

    def _expression_fault(self, error: ExpressionError, text: str, path: Path, offset: int) -> None:
        message, remedy = error.message, error.remedy
        inside = sum(len(line) + 1 for line in text.split("\n")[: error.line - 1]) + error.column - 1
        self.fault(path, message, remedy or "see the FHIRPath specification", offset + inside)

    def _analyse(self, text: str, path: Path, offset: int) -> None:
        usage = analyse(text, self.focus, self.parameters)
        self.usages.append(usage)
        for slip in usage.slips:
            self.fault(path, slip.message, slip.remedy, offset + _offset(text, slip.line, slip.column))
        for name, node in usage.valuesets.items():
            if name not in self.valuesets:
                known = ", ".join(sorted(self.valuesets)) or "none"
                place = offset + _offset(text, node.line, node.column)
                self.fault(path, f"there is no value set '{name}'", f"known: {known}", place)
        for name in sorted(usage.variables & self._durations):
            said = f"%{name} is a duration: it gates time, and time is no condition"
            self.fault(path, said, "use it in a `by:`, `max_age:` or `lookback:`", offset)


def _duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else None


def _joined(parts: Iterator[set[str]] | Any) -> frozenset[str]:
    return frozenset().union(*parts)


def _offset(text: str, line: int, column: int) -> int:
    return sum(len(part) + 1 for part in text.split("\n")[: line - 1]) + column - 1


def _alternatives(text: str) -> Iterator[tuple[int, str]]:
    """The parts between ``??``, each with where it starts; what stands in quotes is left alone."""
    start, place, quote = 0, 0, ""
    while place < len(text):
        sign = text[place]
        if quote:
            place += sign == "\\"
            quote = "" if sign == quote else quote
        elif sign in "'`":
            quote = sign
        elif text.startswith("??", place):
            yield from _stripped(text, start, place)
            start, place = place + 2, place + 1
        place += 1
    yield from _stripped(text, start, len(text))


def _stripped(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    part = text[start:end]
    yield start + len(part) - len(part.lstrip()), part.strip()
