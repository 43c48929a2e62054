"""From a mapping file's model to compiled rules, collecting every fault on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from adapter.facts.facts import FACT_TYPES, FUNCTION_TYPES
from adapter.mapping.durations import parse_duration
from adapter.mapping.expressions import Compiler
from adapter.mapping.fhirpath.model import known_type
from adapter.mapping.rules import ClockRow, Edge, Escalation, Moment, Rule
from adapter.mapping.schema import ClockModel, ClockRowModel, MappingModel, MomentModel, RuleModel
from adapter.mapping.scope import SPECS
from adapter.mapping.template import Template
from adapter.mapping.values import Chain
from adapter.mapping.valuesets import ValueSets
from adapter.mapping.wording import sentence_faults, title_faults
from adapter.mapping.yaml_lines import Document, Path
from adapter.model import Priority

_WORDS = ("onset", "opens", "due")
_RESERVED = frozenset({"resource", "ref", "context", "ucum", "sct", "loinc", *_WORDS, *FACT_TYPES, *SPECS})


@dataclass(slots=True)
class CompiledFile:
    """What one file yields."""

    rules: list[Rule] = field(default_factory=list)
    elements: dict[str, set[str]] = field(default_factory=dict)
    compilers: list[Compiler] = field(default_factory=list)


def compile_file(
    model: MappingModel, document: Document, valuesets: ValueSets, clocks: Mapping[str, ClockModel]
) -> CompiledFile:
    """Compile every rule of a file. Faults are in the compilers."""
    found = CompiledFile()
    for place, rule in enumerate(model.rules):
        work = _RuleWork(model, rule, place, document, valuesets, clocks)
        compiled = work.compiled()
        found.compilers.append(work.compiler)
        if compiled is not None:
            found.rules.append(compiled)
        for usage in work.compiler.usages:
            found.elements.setdefault(work.resource, set()).update(usage.elements)
            for type, names in usage.others.items():
                found.elements.setdefault(type, set()).update(names)
    return found


class _RuleWork:
    """Compiles one rule; the file's defaults stand in for what it leaves out."""

    def __init__(
        self,
        model: MappingModel,
        rule: RuleModel,
        place: int,
        document: Document,
        valuesets: ValueSets,
        clocks: Mapping[str, ClockModel],
    ) -> None:
        self.model = model
        self.rule = rule
        self.clocks = clocks
        self.at: Path = ("rules", place)
        self.resource = rule.resource or model.resource or ""
        self.parameters = {**(model.parameters or {}), **(rule.parameters or {})}
        self.compiler = Compiler(document, self.resource, self.parameters, valuesets)

    def compiled(self) -> Rule | None:
        """The rule, or None where something is wrong with it."""
        self._check_resource()
        self._check_parameters()
        self._check_required()
        if not known_type(self.resource):
            return None
        rule = self._rule()
        return None if self.compiler.faults else rule

    def _rule(self) -> Rule | None:
        compiler = self.compiler
        applies = compiler.expression(*self._text("applies"))
        when = compiler.expression(*self._text("when"))
        onset = compiler.chain(*self._text("onset"))
        opens = self._moments("opens", ("onset",))
        due = self._moments("due", ("onset", "opens"))
        ends = self._moments("ends", _WORDS)
        self._refuse_bounds()
        opening = compiler.reading(0)
        so_far = len(compiler.usages)
        satisfied = compiler.expression(*self._text("satisfied"))
        closing = compiler.reading(so_far)
        need, title = compiler.template(*self._text("need")), compiler.template(*self._title())
        next_, reason = compiler.template(*self._text("next")), compiler.template(*self._text("reason"))
        group, was = compiler.template(*self._text("group")), compiler.template(*self._text("was_need"))
        renews = self._renews()
        escalate = tuple(self._escalation())
        max_age, lookback = self._max_age(), compiler.span(*self._text("lookback"))
        urgent_lookback = compiler.span(*self._text("urgent_lookback"))
        self._check_words(title, next_, reason)
        if need is None or satisfied is None or title is None or next_ is None or reason is None:
            return None
        self._check_need(need)
        used = frozenset[str]().union(*(usage.variables for usage in compiler.usages))
        names = used & frozenset(FACT_TYPES)
        functions = frozenset().union(*(usage.functions for usage in compiler.usages)) & frozenset(SPECS)
        hold = self._value("hold")
        return Rule(
            id=self.rule.id,
            mapping=self.model.mapping,
            mapping_version=self.model.version,
            resource=self.resource,
            code=self.rule.code or self.rule.id,
            need=need,
            title=title,
            next=next_,
            reason=reason,
            satisfied=satisfied,
            performer=self._value("performer") or "",
            applies=applies,
            when=when,
            was_need=was,
            rank=self._value("rank") or 50,
            onset=onset,
            max_age=max_age,
            lookback=lookback,
            urgent_lookback=urgent_lookback,
            opens=opens,
            due=due,
            ends=ends,
            escalate=escalate,
            parameters=self.parameters,
            hold=hold or "in-hospital",
            group=group,
            renews=renews,
            programme=self._value("care_plan") or "",
            enabled=self._value("enabled") is not False,
            file=compiler.document.file,
            types=frozenset({self.resource}).union(
                *(FACT_TYPES[name] for name in names),
                *(FUNCTION_TYPES.get(name, frozenset()) for name in functions),
            ),
            opening=opening,
            closing=closing,
            variables=names,
            functions=functions,
            constants=used & frozenset(self.parameters),
            elements=frozenset[str]().union(*(usage.elements for usage in compiler.usages)),
        )

    # Texts and where they stand

    def _value(self, name: str) -> Any:
        own = getattr(self.rule, name, None)
        return own if own is not None else getattr(self.model, name, None)

    def _path(self, name: str) -> Path:
        """Where an element is written: in the rule, else in the file's head."""
        return (*self.at, name) if getattr(self.rule, name, None) is not None else (name,)

    def _text(self, name: str) -> tuple[str | None, Path]:
        return self._value(name), self._path(name)

    def _title(self) -> tuple[str, Path]:
        return self.rule.title, (*self.at, "title")

    # Moments

    def _moments(self, name: str, words: tuple[str, ...]) -> tuple[Moment, ...]:
        given = self._value(name)
        if given is None:
            return ()
        path = self._path(name)
        if isinstance(given, MomentModel):
            return (self._moment(given, path, words),)
        if not given:
            self.compiler.fault(path, "the list is empty", "leave the key out, or give a moment")
        return tuple(self._moment(step, (*path, place), words) for place, step in enumerate(given))

    def _moment(self, step: MomentModel, path: Path, words: tuple[str, ...]) -> Moment:
        negated = step.unless is not None
        asked = step.unless if negated else step.if_
        condition = self.compiler.expression(asked, (*path, "unless" if negated else "if"))
        edge = Edge.BEFORE if step.before is not None else Edge.AFTER
        text = step.before or step.after or "onset"
        by = self.compiler.span(step.by, (*path, "by"))
        anchor, word = self._anchor(text, (*path, edge.value), words)
        return Moment(condition, negated, edge, anchor, word, by, self._clock(step, path))

    def _anchor(self, text: str, path: Path, words: tuple[str, ...]) -> tuple[Chain | None, str]:
        if text in words:
            return None, text
        if text in _WORDS:
            self.compiler.fault(path, f"'{text}' is not yet known here", f"name {' or '.join(words)}")
            return None, "onset"
        return self.compiler.chain(text, path), ""

    def _clock(self, step: MomentModel, path: Path) -> tuple[ClockRow, ...]:
        if step.clock is None:
            return ()
        model = self.clocks.get(step.clock)
        if model is None:
            known = ", ".join(sorted(self.clocks)) or "none"
            self.compiler.fault((*path, "clock"), f"there is no clock '{step.clock}'", f"known: {known}")
            return ()
        rows = (self._clock_row(row, (*path, "clock")) for row in model.rows)
        return tuple(row for row in rows if row is not None)

    def _clock_row(self, row: ClockRowModel, path: Path) -> ClockRow | None:
        """A row, or None where it speaks of another type of focus: then it never fits this one."""
        trial = Compiler(self.compiler.document, self.resource, {}, self.compiler.valuesets)
        if row.if_ is not None and (trial.expression(row.if_, path) is None or trial.faults):
            return None
        by = parse_duration(row.by)
        since, until = date.fromisoformat(row.from_), date.fromisoformat(row.until) if row.until else None
        return ClockRow(since, until, self.compiler.expression(row.if_, path), by) if by else None

    def _escalation(self) -> Iterator[Escalation]:
        path = self._path("escalate")
        for place, step in enumerate(self._value("escalate") or ()):
            by = self.compiler.span(step.by, (*path, place, "by"))
            yield Escalation(by, Priority(step.priority) if step.priority else None, step.tell or "")

    def _max_age(self) -> Any:
        text, path = self._text("max_age")
        return None if text in (None, "none") else self.compiler.span(text, path)

    def _renews(self) -> tuple[Any, ...]:
        path = self._path("renews")
        found = [
            self.compiler.expression(text, (*path, place))
            for place, text in enumerate(self._value("renews") or ())
        ]
        return tuple(expression for expression in found if expression is not None)

    # Checks

    def _check_resource(self) -> None:
        if self.resource and not known_type(self.resource):
            said = f"R4 has no resource type '{self.resource}'"
            self.compiler.fault(self._path("resource"), said, "spell it as FHIR does: Appointment")

    def _check_parameters(self) -> None:
        for name in self.parameters:
            own = name in (self.rule.parameters or {})
            path: Path = (*self.at, "parameters", name) if own else ("parameters", name)
            if name in _RESERVED:
                said = f"the parameter '{name}' has the name of a fact or word of the language"
                self.compiler.fault(path, said, "choose another name", key=True)

    def _check_required(self) -> None:
        remedies = {
            "resource": "say of which type the focus is",
            "need": "write need: what-has-to-be-done:{%ref}",
            "satisfied": "say by what evidence it is done",
            "performer": "name the role that does it; each source says who that is",
            "next": "say the next step in one sentence",
            "reason": "say why in one sentence",
        }
        for name, remedy in remedies.items():
            if not self._value(name):
                self.compiler.fault((*self.at, "id"), f"the rule has no '{name}'", remedy)

    def _check_words(self, title: Template | None, next_: Template | None, reason: Template | None) -> None:
        checks = [(title, title_faults, (*self.at, "title"))]
        checks += [
            (next_, sentence_faults, self._path("next")),
            (reason, sentence_faults, self._path("reason")),
        ]
        for template, faults, path in checks:
            for message, remedy in faults(template) if template else ():
                self.compiler.fault(path, message, remedy)

    def _check_need(self, need: Template) -> None:
        path = self._path("need")
        if not need.prefix.strip():
            self.compiler.fault(path, "a need begins with its name", "write it as visit-for:{%ref}")
        if not any(True for _ in need.holes()):
            self.compiler.fault(path, "a need names what it is about", "add a hole such as {%ref}")

    def _refuse_bounds(self) -> None:
        """Time gates opening, in moments; a condition on time would withdraw open work by the clock (F5)."""
        for name in ("applies", "when"):
            text, path = self._text(name)
            own = [u for u in self.compiler.usages if text is not None and u.text == text]
            if any(usage.shifts_time for usage in own):
                said = f"a bound in time stands in `{name}`: it would withdraw open work when it runs out"
                self.compiler.fault(path, said, "use opens, max_age, lookback or ends")
