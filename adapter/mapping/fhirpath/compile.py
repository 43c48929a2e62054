"""From tree to closures. One compiler for both modes; what the modes differ in, a run knows.

Types are followed only where an expression asks for them (``is``, ``ofType``, ``hasValue``, ``children`` …) and in
standard mode: everything else runs on plain JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

from adapter.mapping.fhirpath import loops, model, navigation, operators, sets, typetests
from adapter.mapping.fhirpath.boundaries import BOUNDARIES
from adapter.mapping.fhirpath.conversions import CONVERSIONS
from adapter.mapping.fhirpath.fallback import FALLBACK
from adapter.mapping.fhirpath.faults import EvaluationError, ExpressionError
from adapter.mapping.fhirpath.operators import EMPTY, Fn, answer
from adapter.mapping.fhirpath.scalars import SCALARS, Scalar
from adapter.mapping.fhirpath.temporal import Moment
from adapter.mapping.fhirpath.tree import (
    Binary,
    Call,
    Index,
    Literal,
    Member,
    Node,
    Polarity,
    Special,
    TypeTest,
    Variable,
    walk,
)
from adapter.mapping.fhirpath.values import (
    NO_GAPS,
    FunctionSpec,
    Pair,
    Run,
    Value,
    as_pair,
    one,
    plain,
)

CONSTANTS: Mapping[str, str] = {
    "ucum": "http://unitsofmeasure.org",
    "sct": "http://snomed.info/sct",
    "loinc": "http://loinc.org",
}
"""Variables that FHIRPath and FHIR define, with their value."""

ROOTS = frozenset({"resource", "rootResource", "context"})
"""Variables that are the focus."""

_PREFIXED = {
    "vs-": "http://hl7.org/fhir/ValueSet/",
    "ext-": "http://hl7.org/fhir/StructureDefinition/",
}
_ONE_VALUE: Mapping[str, tuple[int, int, Scalar]] = {**SCALARS, **CONVERSIONS, **BOUNDARIES}
_TYPE_FUNCTIONS = frozenset(
    {"is", "as", "ofType", "type", "hasValue", "extension", "children", "descendants", "repeat"}
)
_CLOCK = frozenset({"now", "today", "timeOfDay"})
CLOCK_REMEDY = "time enters by opens, due, ends and %coming only"
_OWN = {
    # name → least and most arguments, of what the compiler builds itself
    "where": (1, 1),
    "select": (1, 1),
    "all": (1, 1),
    "any": (0, 1),
    "exists": (0, 1),
    "empty": (0, 0),
    "not": (0, 0),
    "exclude": (1, 1),
    "repeat": (1, 1),
    "aggregate": (1, 2),
    "iif": (2, 3),
    "sort": (0, 9),
    "trace": (1, 2),
    "children": (0, 0),
    "descendants": (0, 0),
    "extension": (1, 1),
    "is": (1, 1),
    "as": (1, 1),
    "ofType": (1, 1),
    "type": (0, 0),
    "now": (0, 0),
    "today": (0, 0),
    "timeOfDay": (0, 0),
}
STANDARD_FUNCTIONS = (
    frozenset(_OWN) | _ONE_VALUE.keys() | sets.SHAPING.keys() | sets.JUDGING.keys() | FALLBACK
)
"""Every function of FHIRPath that an expression may name."""

SUBSETS = frozenset(
    {
        "where", "first", "last", "tail", "skip", "take", "single", "distinct", "trace", "ofType", "as",
        "exclude", "intersect", "sort",
    }
)  # fmt: skip
"""Functions whose answer are items of their input, so that a path goes on through them."""

IN_ITEM = frozenset({"where", "select", "all", "any", "exists", "repeat", "aggregate", "sort", "trace"})
"""Functions whose arguments are evaluated for each item."""


class NotNative(Exception):
    """The expression holds something that only fhirpathpy evaluates."""


def constant_of(name: str) -> str | None:
    """The value of a variable that FHIRPath or FHIR defines; None for others."""
    if name in CONSTANTS:
        return CONSTANTS[name]
    found = next((start for start in _PREFIXED if name.startswith(start)), None)
    return None if found is None else _PREFIXED[found] + name.removeprefix(found)


def type_bound(tree: Node) -> bool:
    """Whether an expression asks for FHIR types."""
    return any(
        isinstance(node, TypeTest) or (isinstance(node, Call) and node.name in _TYPE_FUNCTIONS)
        for node in walk(tree)
    )


class Compiler:
    """Builds closures for one expression."""

    def __init__(
        self,
        *,
        functions: Mapping[str, FunctionSpec],
        variables: frozenset[str] | None,
        standard: bool,
        typed: bool,
    ) -> None:
        self._functions = functions
        self._variables = variables
        self.standard = standard
        self.typed = typed
        self._depth = 0  # of loops around
        self._builders: Mapping[type[Node], Callable[[Any], Fn]] = {
            Literal: self._literal,
            Variable: self._variable,
            Special: self._special,
            Member: self._member,
            Call: self._call,
            Index: self._index,
            Polarity: lambda node: operators.signed(node.sign, self.build(node.operand)),
            Binary: self._binary,
            TypeTest: lambda node: self._type_test(node.op, node.operand, node.type, node),
        }
        self._calls: Mapping[str, Callable[[Call, Fn], Fn]] = {
            "where": lambda node, base: loops.where(base, self._body(node.args[0])),
            "select": lambda node, base: loops.select(base, self._body(node.args[0])),
            "all": lambda node, base: loops.every(base, self._body(node.args[0])),
            "exists": self._exists,
            "any": self._exists,
            "empty": lambda node, base: loops.empty(base, condition=_is_condition(node.base)),
            "not": lambda node, base: operators.negated(base),
            "exclude": lambda node, base: _exclude(base, self.build(node.args[0])),
            "repeat": lambda node, base: loops.repeat(base, self._body(node.args[0])),
            "aggregate": self._aggregate,
            "sort": lambda node, base: loops.sort(
                base, [self._key(arg) for arg in node.args] or [(_this, 1)]
            ),
            "trace": lambda node, base: base,  # nothing is printed: it could be a patient's
            "children": lambda node, base: _spread(base, lambda items: _flat(navigation.children, items)),
            "descendants": lambda node, base: _spread(base, navigation.descendants),
            "extension": self._extension,
            "is": lambda node, base: self._is(base, typetests.specifier(node.args[0]), node),
            "as": lambda node, base: self._as(base, typetests.specifier(node.args[0]), node),
            "ofType": lambda node, base: self._of_type(base, typetests.specifier(node.args[0]), node),
            "type": lambda node, base: _spread(base, lambda items: [typetests.info(item) for item in items]),
        }

    def build(self, node: Node) -> Fn:
        """The closure of a node.

        Raises:
            ExpressionError: for names that do not exist and arguments that do not fit.
            NotNative: for what fhirpathpy has to evaluate.
        """
        return self._builders[type(node)](node)

    def spec(self, name: str) -> FunctionSpec | None:
        """The function of that name that Baton adds, if there is one."""
        return self._functions.get(name)

    def is_fixed(self, name: str) -> bool:
        """Whether a variable is FHIRPath's or FHIR's own: the focus, or a constant."""
        if name in ROOTS:
            return True
        return constant_of(name) is not None and (self._variables is None or name not in self._variables)

    def _body(self, node: Node) -> Fn:
        """An argument that is evaluated for each item."""
        self._depth += 1
        try:
            return self.build(node)
        finally:
            self._depth -= 1

    # Terms

    def _literal(self, node: Literal) -> Fn:
        return operators.constant([] if node.value is None else [node.value])

    def _variable(self, node: Variable) -> Fn:
        name = node.name
        if name in ROOTS:
            return lambda run, this: ([run.resource], NO_GAPS)
        if self.is_fixed(name):
            return operators.constant([constant_of(name)])
        if self._variables is not None and name not in self._variables:
            raise ExpressionError(
                f"there is no %{name}", node.line, node.column, _nearest(name, self._variables | ROOTS, "%")
            )
        return lambda run, this: run.variable(name)

    def _special(self, node: Special) -> Fn:
        if node.name == "this":
            return _this
        if node.name == "index":
            return lambda run, this: EMPTY if run.index is None else ([run.index], NO_GAPS)
        return lambda run, this: run.total

    def _member(self, node: Member) -> Fn:
        if node.base is None and node.name[:1].isupper() and model.known_type(node.name):
            return self._root_type(node.name)
        make = navigation.typed_step if self.typed else navigation.plain_step
        absent = not self.standard and node.name == "status"
        step = make(node.name, unknown_is_absent=absent)
        if node.base is None or (isinstance(node.base, Special) and node.base.name == "this"):
            return _from_focus(step)
        return _from_base(self.build(node.base), step)

    def _root_type(self, name: str) -> Fn:
        """``Patient.name``: the type's name as the first step stands for the focus, if it is one."""

        def run_root(run: Run, this: Any) -> Pair:
            path = navigation.path_of(this)
            if path is not None and model.is_a(path, name):
                return [this], NO_GAPS
            return EMPTY

        return run_root

    def _index(self, node: Index) -> Fn:
        base, index = self.build(node.base), self.build(node.index)

        def run_index(run: Run, this: Any) -> Pair:
            items, gaps = base(run, this)
            places, more = index(run, this)
            if not places or more:
                return [], gaps | more
            place = one(places, "[]")
            if isinstance(place, bool) or not isinstance(place, int):
                raise EvaluationError("[] wants a whole number")
            return (items[place : place + 1] if place >= 0 else []), gaps

        return run_index

    def _binary(self, node: Binary) -> Fn:
        left, right = self.build(node.left), self.build(node.right)
        words = words_of(node.right)
        if words is not None and node.op == "in" and not self.typed:
            return operators.within_words(left, words)
        if words is not None and len(words) == 1 and node.op == "=" and not self.typed:
            return operators.equals_word(left, words[0])
        return operators.BINARY[node.op](left, right)

    # Types

    def _type_test(self, op: str, operand: Node, named: str, node: Node) -> Fn:
        base = self.build(operand)
        return self._is(base, named, node) if op == "is" else self._as(base, named, node)

    def _is(self, base: Fn, named: str, node: Node) -> Fn:
        wanted = typetests.type_named(named, node)

        def run_is(run: Run, this: Any) -> Pair:
            items, gaps = base(run, this)
            if gaps or not items:
                return [], gaps
            one(items, "is")
            return answer(wanted.fits(items[0], run))

        return run_is

    def _as(self, base: Fn, named: str, node: Node) -> Fn:
        wanted = typetests.type_named(named, node)

        def run_as(run: Run, this: Any) -> Pair:
            items, gaps = base(run, this)
            one(items, "as")
            return [item for item in items if wanted.exactly(item, run)], gaps

        return run_as

    def _of_type(self, base: Fn, named: str, node: Node) -> Fn:
        wanted = typetests.type_named(named, node)

        def run_of_type(run: Run, this: Any) -> Pair:
            items, gaps = base(run, this)
            return [item for item in items if wanted.exactly(item, run)], gaps

        return run_of_type

    # Functions

    def _call(self, node: Call) -> Fn:
        spec = self._functions.get(node.name)
        if spec is not None:
            return self._custom(node, spec)
        self._known(node)
        if node.name in FALLBACK:
            raise NotNative(node.name)
        if node.name in _CLOCK:
            return self._clock(node)
        if node.name == "iif":
            return self._iif(node)
        base = _this if node.base is None else self.build(node.base)
        if node.name in self._calls:
            return self._calls[node.name](node, base)
        args = [self.build(arg) for arg in node.args]
        if node.name in sets.SHAPING:
            return _shaping(sets.SHAPING[node.name][2], base, args)
        if node.name in sets.JUDGING:
            return _judging(sets.JUDGING[node.name][2], base, args)
        return _scalar(_ONE_VALUE[node.name][2], base, args, node.name)

    def _known(self, node: Call) -> None:
        name = node.name
        if name in FALLBACK:
            return
        table: Any = next((t for t in (_OWN, sets.SHAPING, sets.JUDGING, _ONE_VALUE) if name in t), None)
        if table is None:
            known = STANDARD_FUNCTIONS | self._functions.keys()
            raise ExpressionError(
                f"there is no function {name}()", node.line, node.column, _nearest(name, known, "", "()")
            )
        _check_count(node, *table[name][:2])
        if name in _CLOCK and not self.standard:
            raise ExpressionError(f"{name}() is refused in rules", node.line, node.column, CLOCK_REMEDY)

    def _custom(self, node: Call, spec: FunctionSpec) -> Fn:
        _check_count(node, spec.min_args, spec.max_args)
        args = [self.build(arg) for arg in node.args]
        name, own = spec.name, spec.call
        base = self._focus(node) if spec.on_focus else _this if node.base is None else self.build(node.base)

        def run_custom(run: Run, this: Any) -> Pair:
            call = run.function(name, own)
            given = [_given(arg(run, this)) for arg in args]
            return as_pair(call(_given(base(run, this)), given))

        return run_custom

    def _focus(self, node: Call) -> Fn:
        """The input of a function that speaks of the focus, where nothing else could be meant."""
        named = isinstance(node.base, Variable) and node.base.name in ROOTS
        if not named and (node.base is not None or self._depth):
            raise ExpressionError(
                f"{node.name}() speaks of the rule's own resource",
                node.line,
                node.column,
                f"write %resource.{node.name}(…)",
            )
        return lambda run, this: ([run.resource], NO_GAPS)

    def _exists(self, node: Call, base: Fn) -> Fn:
        if node.args:
            return loops.exists(loops.where(base, self._body(node.args[0])), condition=False)
        return loops.exists(base, condition=_is_condition(node.base))

    def _aggregate(self, node: Call, base: Fn) -> Fn:
        start = self.build(node.args[1]) if len(node.args) > 1 else None
        return loops.aggregate(base, self._body(node.args[0]), start)

    def _iif(self, node: Call) -> Fn:
        base = None if node.base is None else self.build(node.base)
        args = [self.build(arg) if base is None else self._body(arg) for arg in node.args]
        return loops.iif(base, args[0], args[1], args[2] if len(args) > 2 else None)

    def _key(self, node: Node) -> tuple[Fn, int]:
        """A sort key; a minus before it turns the order, of strings too."""
        if isinstance(node, Polarity) and node.sign == "-":
            return self._body(node.operand), -1
        return self._body(node), 1

    def _extension(self, node: Call, base: Fn) -> Fn:
        found = _from_base(base, navigation.typed_step("extension"))
        url = self.build(node.args[0])

        def run_extension(run: Run, this: Any) -> Pair:
            items, gaps = found(run, this)
            urls, more = url(run, this)
            wanted = one(urls, "extension()") if urls else None
            return [item for item in items if plain(item).get("url") == wanted], gaps | more

        return run_extension

    def _clock(self, node: Call) -> Fn:
        name = node.name

        def run_clock(run: Run, this: Any) -> Pair:
            if run.env.now is None:
                raise EvaluationError(f"{name}() without a clock")
            now = Moment.at(run.env.now.astimezone(run.zone))
            if name == "timeOfDay":
                return [Moment("Time", now.parts[3:], None, now.digits)], NO_GAPS
            return [now if name == "now" else now.as_kind("Date")], NO_GAPS

        return run_clock


def _this(run: Run, this: Any) -> Pair:
    return EMPTY if this is loops.NOTHING else ([this], NO_GAPS)


def _from_focus(step: navigation.Step) -> Fn:
    def run_from_focus(run: Run, this: Any) -> Pair:
        found: list[Any] = []
        step(this, found)
        return found, NO_GAPS

    return run_from_focus


def _from_base(base: Fn, step: navigation.Step) -> Fn:
    def run_from_base(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        found: list[Any] = []
        for item in items:
            step(item, found)
        return found, gaps

    return run_from_base


def _spread(base: Fn, function: Callable[[list[Any]], list[Any]]) -> Fn:
    def run_spread(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        return function(items), gaps

    return run_spread


def _flat(function: Callable[[Any], list[Any]], items: list[Any]) -> list[Any]:
    return [found for item in items for found in function(item)]


def _scalar(function: Scalar, base: Fn, args: list[Fn], name: str) -> Fn:
    """A function of one value. On an open one unknown; without the value or an argument absent."""

    def run_scalar(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        if gaps or not items:
            return [], gaps
        value = one(items, f"{name}()")
        given: list[Any] = []
        for arg in args:
            found, more = arg(run, this)
            if more or not found:
                return [], more
            given.append(one(found, f"{name}()"))
        told = function(run, value, *given)
        if told is None:
            return EMPTY
        return (told if type(told) is list else [told]), NO_GAPS

    return run_scalar


def _shaping(function: Callable[..., list[Any]], base: Fn, args: list[Fn]) -> Fn:
    def run_shaping(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        given = [arg(run, this) for arg in args]
        return function(run, items, *(found for found, _ in given)), gaps.union(*(more for _, more in given))

    return run_shaping


def _judging(function: Callable[..., bool | int], base: Fn, args: list[Fn]) -> Fn:
    def run_judging(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        given = [arg(run, this) for arg in args]
        gaps = gaps.union(*(more for _, more in given))
        if gaps:
            return [], gaps
        return [function(run, items, *(found for found, _ in given))], NO_GAPS

    return run_judging


def _exclude(base: Fn, others: Fn) -> Fn:
    """What is taken away by a collection that may contain more is not known to be there."""

    def run_exclude(run: Run, this: Any) -> Pair:
        items, gaps = base(run, this)
        away, more = others(run, this)
        return ([] if more else sets.exclude(run, items, away)), gaps | more

    return run_exclude


def _given(pair: Pair) -> Value:
    """A pair as other code gets it: a list of its own, times and types as they came."""
    items, gaps = pair
    return Value([navigation.untyped(item) for item in items], gaps)


def _is_condition(node: Node | None) -> bool:
    return isinstance(node, Binary) and node.op in operators.CONDITIONS


def words_of(node: Node) -> list[str] | None:
    """The constants of ``'a' | 'b'`` where all are strings that can be no time."""
    if isinstance(node, Binary) and node.op == "|":
        left, right = words_of(node.left), words_of(node.right)
        return None if left is None or right is None else left + right
    if isinstance(node, Literal) and isinstance(node.value, str) and not node.value[:4].isdigit():
        return [node.value]
    return None


def _check_count(node: Call, least: int, most: int) -> None:
    if least <= len(node.args) <= most:
        return
    wanted = str(least) if least == most else f"{least} to {most}"
    raise ExpressionError(
        f"{node.name}() takes {wanted} arguments, not {len(node.args)}", node.line, node.column
    )


def _nearest(name: str, known: frozenset[str], before: str, after: str = "") -> str:
    found = get_close_matches(name, known, 1, 0.5)
    if found:
        return f"perhaps {before}{found[0]}{after}"
    own = ", ".join(f"{before}{one}{after}" for one in sorted(known)[:12])
    return f"known are {own}" if own else ""
