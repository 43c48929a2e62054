"""What a mapping file may hold: every element of the language, and no other.

At file level every element but ``mapping``, ``version`` and ``title`` is a default that a rule may override. Texts
that are expressions, templates or durations are only texts here; :mod:`adapter.mapping.loader` compiles them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from adapter.errors import Fault
from adapter.mapping.yaml_lines import Document, Path

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*([-_][a-z0-9]+)*$", max_length=64)]
TypeName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Za-z]+$")]
Text = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]
Scalar = str | int | float | bool
M = TypeVar("M", bound=BaseModel)
QUOTE_IT = 'quote it: write the whole value between double quotes, as in  key: "…"'


class Strict(BaseModel):
    """Refuses unknown keys and does not turn numbers into texts."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class MomentModel(Strict):
    """One moment: under a condition, after or before an anchor, by a duration or a regulator's clock."""

    if_: Text | None = Field(None, alias="if", description="expression; the step applies where it is yes")
    unless: Text | None = Field(None, description="expression; the step applies where it is not yes")
    after: Text | None = Field(None, description="anchor: an expression, or opens, due, onset; default onset")
    before: Text | None = Field(None, description="anchor from which to count back")
    by: Text | None = Field(None, description="duration, or the name of a parameter")
    clock: Name | None = Field(None, description="name of a clock in clocks.yaml; `by` is the fallback")

    @model_validator(mode="after")
    def _one_of_each(self) -> MomentModel:
        if self.if_ is not None and self.unless is not None:
            raise PydanticCustomError("both", "a moment has `if` or `unless`, not both")
        if self.after is not None and self.before is not None:
            raise PydanticCustomError("both", "a moment has `after` or `before`, not both")
        if self.after is None and self.before is None and self.by is None:
            raise PydanticCustomError("empty", "a moment needs `after`, `before` or `by`")
        if self.clock is not None and self.by is None:
            raise PydanticCustomError(
                "clock", "a moment with `clock` needs `by` for days on which no row fits"
            )
        return self


class EscalationModel(Strict):
    """One step of an escalation, counted from due."""

    by: Text | None = Field(None, description="duration after due; none = at due")
    priority: Literal["urgent", "asap", "stat"] | None = None
    tell: Name | None = Field(None, description="the role whose daily digest gets a line")

    @model_validator(mode="after")
    def _does_something(self) -> EscalationModel:
        if self.priority is None and self.tell is None:
            raise PydanticCustomError("empty", "a step raises the `priority` or tells a role, or both")
        return self


Moments = MomentModel | list[MomentModel]


class Elements(Strict):
    """The elements that a file gives as defaults and a rule may override."""

    resource: TypeName | None = Field(
        None, description="focus type; the Task's focus is always this resource"
    )
    applies: Text | None = Field(None, description="boolean expression; a rule's replaces the file's")
    when: Text | None = Field(None, description="boolean expression, and-ed with applies")
    satisfied: Text | None = Field(
        None, description="boolean expression; judged before `when` where both close"
    )
    need: Text | None = Field(None, description="template: what has to be done, whoever says so")
    rank: int | None = Field(
        None, ge=1, le=99, description="of the rules of one need the lowest gives the face"
    )
    onset: Text | None = Field(None, description="date expression: when the need arose")
    max_age: Text | None = Field(None, description="duration or none: opens only if onset is younger")
    lookback: Text | None = Field(None, description="duration: how far before go-live an onset may lie")
    urgent_lookback: Text | None = Field(
        None, description="duration: the same for what is stat, asap or urgent; default lookback"
    )
    opens: Moments | None = Field(None, description="the latest of those that apply")
    due: Moments | None = Field(None, description="the earliest of those that apply")
    ends: Moments | None = Field(None, description="the latest; once passed, `when` is no")
    escalate: list[EscalationModel] | None = None
    parameters: dict[Name, Scalar | list[Scalar]] | None = None
    hold: Literal["in-hospital", "none"] | None = None
    group: Text | None = Field(None, description="template: flood grouping, written as a tag")
    renews: list[Text] | None = Field(None, description="expressions whose change ends silence")
    next: Text | None = Field(None, description="template: the next step, one imperative sentence")
    reason: Text | None = Field(None, description="template: why, one sentence")
    performer: Name | None = Field(None, description="role; each source says who that is")
    care_plan: Name | None = Field(None, description="programme")
    was_need: Text | None = Field(None, description="the need template of a former edition")
    enabled: bool | None = None
    code: Name | None = Field(None, description="task code; default: the rule's id")


class RuleModel(Elements):
    """One rule: what needs doing, when, for whom, in which words."""

    id: Name
    title: Text = Field(description="template: an imperative, the thing; the due day is added")


class MappingModel(Elements):
    """One mapping file."""

    mapping: Name
    version: int = Field(ge=1)
    title: Text
    removed: list[Name] = Field([], description="rules of former editions that were taken out on purpose")
    rules: list[RuleModel] = Field(min_length=1)


class ClockRowModel(Strict):
    """One dated row of a regulator's clock. Days are ``YYYY-MM-DD``, both inclusive."""

    from_: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")] = Field(alias="from")
    until: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d\d-\d\d$")] | None = None
    if_: Text | None = Field(None, alias="if", description="expression over focus and facts; none = always")
    by: Text
    law: Text | None = None


class ClockModel(Strict):
    """A clock: its rows in order; the first that fits counts."""

    title: Text
    rows: list[ClockRowModel] = Field(min_length=1)


class ClocksModel(Strict):
    """The file clocks.yaml."""

    clocks: dict[Name, ClockModel]


class ValueSetModel(Strict):
    """A value set: per system exact codes, prefixes (``C50.*``) and ranges (``70010-79999``)."""

    valueset: Name
    title: Text
    source: Text | None = None
    include: list[IncludeModel] = Field(min_length=1)


class IncludeModel(Strict):
    """Codes of one system. ``system: none`` means codings without a system; ``any`` whatever system."""

    system: Text
    codes: list[str | int] = []
    prefixes: list[str] = []
    ranges: list[str] = []


class CodeMapModel(Strict):
    """A code map: ``system|code`` → meaning."""

    map: Name
    title: Text
    source: Text | None = Field(None, description="the source that it is for; none = all")
    codes: dict[str, Text]


ValueSetModel.model_rebuild()


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a mapping file, for editors."""
    schema = MappingModel.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Baton mapping file"
    return schema


def validated(model: type[M], document: Document) -> tuple[M | None, list[Fault]]:
    """The document as a model, or None and every fault with its place."""
    try:
        return model.model_validate(document.value), []
    except ValidationError as error:
        return None, list(_faults(error, model, document))


def _faults(error: ValidationError, model: type[BaseModel], document: Document) -> Iterator[Fault]:
    seen: set[tuple[Path, str]] = set()
    for problem in error.errors(include_url=False, include_input=True):
        path = _real_path(problem["loc"], document.value)
        message, remedy = _said(problem, path, model)
        unknown = problem["type"] == "extra_forbidden"
        if (path, message) not in seen:
            seen.add((path, message))
            yield document.fault(path, message, remedy, key=unknown)


def _real_path(loc: tuple[int | str, ...], value: Any) -> Path:
    """The part of a pydantic place that exists in the file; the names of union members are left out."""
    path: list[int | str] = []
    for place, part in enumerate(loc):
        inside = isinstance(value, Mapping) and part in value
        element = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if inside or element:
            path.append(part)
            value = value[part]
        elif place == len(loc) - 1 and isinstance(part, str) and part.replace("_", "").isalpha():
            path.append(part)
    return tuple(path)


def _said(problem: Any, path: Path, model: type[BaseModel]) -> tuple[str, str]:
    kind, given = problem["type"], problem.get("input")
    match kind:
        case "extra_forbidden":
            return "unknown key", _nearest(str(path[-1]) if path else "", path)
        case "missing":
            return f"'{problem['loc'][-1]}' is missing", "add it"
        case "string_type" if isinstance(given, dict | list):
            return "this must be a text, and YAML reads it as a list or a mapping", QUOTE_IT
        case "string_type" | "string_too_short" if given is None or given == "":
            return "this is empty", "give it a value, or leave the key out"
        case "string_type":
            return "this must be a text", QUOTE_IT
        case "string_pattern_mismatch":
            return (
                "this is no valid name here",
                "use small letters, digits and hyphens (types: as FHIR spells them)",
            )
        case "literal_error":
            return "this value is not known", f"use one of {problem['ctx']['expected']}"
        case "both" | "empty" | "clock":
            return str(problem["msg"]), ""
        case "model_type" | "dict_type":
            return "this must be a mapping of keys to values", ""
        case "list_type":
            return "this must be a list", "begin each element with a hyphen"
    return str(problem["msg"]).lower(), ""


def _nearest(key: str, path: Path) -> str:
    inside = path[-2] if len(path) > 1 else ""
    inside = path[-3] if isinstance(inside, int) and len(path) > 2 else inside
    models: dict[str, type[BaseModel]] = {
        "opens": MomentModel,
        "due": MomentModel,
        "ends": MomentModel,
        "escalate": EscalationModel,
        "rules": RuleModel,
        "include": IncludeModel,
        "rows": ClockRowModel,
    }
    model = models.get(str(inside), MappingModel)
    names = [field.alias or name for name, field in model.model_fields.items()]
    close = difflib.get_close_matches(key, names, 1)
    return f"did you mean '{close[0]}'?" if close else f"known here: {', '.join(sorted(names))}"
