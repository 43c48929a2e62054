"""From tree to the source of one Python function: straight-line code for what rules ask most, closures for the rest.

A closure costs a call and a pair for every node. Here a step into a resource, a word compared, a connective are a
line each, and a condition is computed as a truth value, not as a collection. What is evaluated, in which order, what
it raises and which gaps it leaves are the closures' own: a property test compares the two. Whatever the generator
has no code for (and all of standard mode and typed expressions) stays a closure, called from the function.

Nothing that a mapping says stands in the source: names, words and sets are objects of the function's namespace.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from adapter.mapping.fhirpath import model, navigation
from adapter.mapping.fhirpath.compile import Compiler, words_of
from adapter.mapping.fhirpath.operators import CONDITIONS, EMPTY, FALSE, TRUE, Fn, one_of, same, same_word
from adapter.mapping.fhirpath.tree import Binary, Call, Literal, Member, Node, Special, Variable, walk
from adapter.mapping.fhirpath.values import (
    NO_GAPS,
    UNSURE_GAP,
    Run,
    contains,
    one,
    truth,
    unique,
)

Decision = Callable[[Run, Any], "bool | frozenset[str]"]
"""A condition, compiled: takes the run and ``$this``; True, False, or the gaps because of which it is unknown."""

_MOST_NODES = 300
"""An expression beyond this stays with its closures: Python nests blocks and brackets only so deep."""

_CONNECTIVES = frozenset({"and", "or", "xor", "implies"})
_DECIDED = _CONNECTIVES | {"=", "!=", "in", "contains"}
_JUDGED = frozenset({"exists", "any", "empty", "not"})
_CUTS = {"first": "[:1]", "last": "[-1:]"}
_NONE = "N"
"""The name of "no gaps" in the source: of what stands there it is known beforehand that it is closed."""


class _At(NamedTuple):
    """The names of ``$this`` and of its members, in one place of the source."""

    this: str
    body: str


class _Part(NamedTuple):
    """The names under which a part's answer stands: items or a truth value, and gaps."""

    told: str
    gaps: str


def evaluation(tree: Node, compiler: Compiler) -> Fn | None:
    """The function of a whole expression, as its closure would be; None where it has to stay one."""
    made = _Generator(compiler)
    found: Fn | None = made.function(tree, made.value)
    return found


def decides(node: Node, compiler: Compiler) -> bool:
    """Whether the form of a node says that it answers as conditions do, and there is code for it."""
    if compiler.typed or compiler.standard:
        return False
    if isinstance(node, Binary):
        return node.op in _DECIDED
    return isinstance(node, Call) and node.name in _JUDGED and compiler.spec(node.name) is None


def decision(tree: Node, compiler: Compiler) -> Decision | None:
    """The function of a condition; None where it has to stay a closure."""
    made = _Generator(compiler)
    found: Decision | None = made.function(tree, made.verdict)
    return found


class _Generator:
    """Writes one function. ``value`` and ``verdict`` write its body, the other methods one node's part of it."""

    def __init__(self, compiler: Compiler) -> None:
        self._compiler = compiler
        self._lines: list[str] = []
        self._depth = 1
        self._count = 0
        self._names: dict[str, Any] = dict(_RUNTIME)
        self._variables: dict[str, str] = {}

    def function(self, tree: Node, write: Callable[[Node, _At], None]) -> Any:
        """The compiled function; None where the expression is beyond what is written here."""
        if self._compiler.typed or self._compiler.standard or sum(1 for _ in walk(tree)) > _MOST_NODES:
            return None
        try:
            at = self._focus("this", tree)
            self._line("memo = run.memo")
            write(tree, at)
            source = "\n".join(["def function(run, this):", *self._lines])
            exec(compile(source, "<FHIRPath>", "exec"), self._names)  # noqa: S102 (all of its text is from here)
        except (SyntaxError, RecursionError, MemoryError):
            return None  # nested deeper than Python takes it
        return self._names["function"]

    def value(self, tree: Node, at: _At) -> None:
        """The body of a function that gives a pair."""
        if decides(tree, self._compiler):
            told, gaps = self._truth(tree, at)
            unknown = "EMPTY" if gaps == _NONE else f"(NOTHING, {gaps}) if {gaps} else EMPTY"
            self._line(f"return TRUE if {told} else FALSE if {told} is False else {unknown}")
        else:
            items, gaps = self._pair(tree, at)
            self._line(f"return {items}, {gaps}")

    def verdict(self, tree: Node, at: _At) -> None:
        """The body of a function that gives a truth value, or gaps."""
        told, gaps = self._truth(tree, at)
        self._line(f"return {gaps} if {told} is None else {told}")

    # Source

    def _line(self, text: str) -> None:
        self._lines.append("    " * self._depth + text)

    @contextmanager
    def _block(self, head: str) -> Iterator[None]:
        self._line(head)
        self._depth += 1
        yield
        self._depth -= 1

    def _fresh(self, letter: str) -> str:
        self._count += 1
        return f"{letter}{self._count}"

    def _bound(self, thing: Any) -> str:
        name = self._fresh("c")
        self._names[name] = thing
        return name

    def _set(self, letter: str, expression: str) -> str:
        name = self._fresh(letter)
        self._line(f"{name} = {expression}")
        return name

    def _focus(self, this: str, below: Node) -> _At:
        """The place whose ``$this`` is ``this``; its members are looked up once, and only if asked for."""
        if not any(_steps_from_focus(node) for node in walk(below)):
            return _At(this, this)
        return _At(this, self._set("b", f"{this} if {this}.__class__ is dict else members({this})"))

    # Nodes as collections

    def _pair(self, node: Node, at: _At) -> _Part:
        if decides(node, self._compiler):
            return self._told_as_pair(self._truth(node, at))
        match node:
            case Literal(value=value):
                return _Part(self._bound([] if value is None else [value]), _NONE)
            case Variable(name=name) if not self._compiler.is_fixed(name):
                return self._variable(name)
            case Special(name="this"):
                return _Part(self._set("i", f"[{at.this}]"), _NONE)
            case Member() if _steps_from_focus(node):
                return self._step_from_focus(node.name, at)
            case Member(base=base) if base is not None:
                return self._step(self._pair(base, at), node.name)
            case Binary(op="|"):
                return self._united(node, at)
            case Call():
                return self._called(node, at)
        return self._by_closure(node, at)

    def _by_closure(self, node: Node, at: _At) -> _Part:
        items, gaps = self._fresh("i"), self._fresh("g")
        self._line(f"{items}, {gaps} = {self._bound(self._compiler.build(node))}(run, {at.this})")
        return _Part(items, gaps)

    def _told_as_pair(self, part: _Part) -> _Part:
        told, gaps = part
        items = self._set("i", f"YES if {told} else NO if {told} is False else NOTHING")
        return _Part(items, gaps if gaps == _NONE else self._set("g", f"{gaps} if {told} is None else N"))

    def _variable(self, name: str) -> _Part:
        key = self._variables.get(name)
        if key is None:
            key = self._variables[name] = self._bound(name)
        items, gaps = self._fresh("i"), self._fresh("g")
        self._line(f"{items}, {gaps} = memo.get({key}) or run.variable({key})")
        return _Part(items, gaps)

    def _member(self, name: str, of: str) -> str:
        """The value of a member, under the name that a choice bears in JSON if need be."""
        value = self._set("v", f"{of}.get({self._bound(name)})")
        keys = model.choice_keys().get(name)
        if keys is not None:
            with self._block(f"if {value} is None:"):
                self._line(f"{value} = choice({of}, {self._bound(keys)})")
        return value

    def _step_from_focus(self, name: str, at: _At) -> _Part:
        value = self._member(name, at.body)
        absent, spread = f"{value} is None", "spread"
        if name == "status":
            absent, spread = f"{absent} or {value} == 'unknown'", "spread_known"
        told = f"NOTHING if {absent} else [{value}] if {value}.__class__ is str else {spread}({value})"
        return _Part(self._set("i", told), _NONE)

    def _step(self, base: _Part, name: str) -> _Part:
        found, item = self._set("i", "[]"), self._fresh("x")
        with self._block(f"for {item} in {base.told}:"):
            self._line(f"if {item}.__class__ is not dict: {item} = members({item})")
            value = self._member(name, item)
            with self._block(f"if {value}.__class__ is str:"):
                known = f"if {value} != 'unknown': " if name == "status" else ""
                self._line(f"{known}{found}.append({value})")
            with self._block(f"elif {value} is not None:"):
                self._line(f"{found}.extend({'spread_known' if name == 'status' else 'spread'}({value}))")
        return _Part(found, base.gaps)

    def _united(self, node: Binary, at: _At) -> _Part:
        words = words_of(node)
        if words is not None:
            return _Part(self._bound(list(dict.fromkeys(words))), _NONE)
        left, right = self._pair(node.left, at), self._pair(node.right, at)
        items = self._set("i", f"unique({left.told} + {right.told}, run)")
        return _Part(items, self._joined(left.gaps, right.gaps))

    def _joined(self, left: str, right: str) -> str:
        if _NONE in (left, right):
            return right if left == _NONE else left
        return self._set("g", f"{left} | {right}")

    def _called(self, node: Call, at: _At) -> _Part:
        spec = self._compiler.spec(node.name)
        if spec is not None:
            if not spec.on_focus or node.args:
                return self._by_closure(node, at)
            items, gaps = self._fresh("i"), self._fresh("g")
            self._line(f"{items}, {gaps} = run.told({self._bound(spec.name)}, {self._bound(spec.call)})")
            return _Part(items, gaps)
        if node.name == "where" and _is_loop(node):
            return self._where(node, at)
        if node.name in _CUTS:
            base = self._base(node, at)
            return _Part(self._set("i", f"{base.told}{_CUTS[node.name]}"), base.gaps)
        if node.name == "iif" and node.base is None and decides(node.args[0], self._compiler):
            return self._iif(node, at)
        return self._by_closure(node, at)

    def _base(self, node: Call, at: _At) -> _Part:
        return (
            _Part(self._set("i", f"[{at.this}]"), _NONE) if node.base is None else self._pair(node.base, at)
        )

    def _where(self, node: Call, at: _At) -> _Part:
        base = self._base(node, at)
        gaps, found, item = self._set("g", base.gaps), self._set("i", "[]"), self._fresh("x")
        with self._block(f"for {item} in {base.told}:"):
            told, reasons = self._truth(node.args[0], self._focus(item, node.args[0]))
            self._line(f"if {told}: {found}.append({item})")
            self._line(f"elif {told} is None: {gaps} = {gaps} | ({reasons} or UNSURE)")
        return _Part(found, gaps)

    def _iif(self, node: Call, at: _At) -> _Part:
        told, reasons = self._truth(node.args[0], at)
        items, gaps = self._fresh("i"), self._fresh("g")
        with self._block(f"if {told}:"):
            self._line(f"{items}, {gaps} = {', '.join(self._pair(node.args[1], at))}")
        with self._block(f"elif {told} is None:"):
            self._line(f"{items}, {gaps} = NOTHING, {reasons} or UNSURE")
        with self._block("else:"):
            other = self._pair(node.args[2], at) if len(node.args) > 2 else _Part("NOTHING", _NONE)
            self._line(f"{items}, {gaps} = {', '.join(other)}")
        return _Part(items, gaps)

    # Nodes as conditions: a truth value, and gaps that count where it is None

    def _truth(self, node: Node, at: _At) -> _Part:
        if not decides(node, self._compiler):
            items, gaps = self._pair(node, at)
            closed = "" if gaps == _NONE else f"{gaps} or "
            return _Part(self._set("t", f"None if {closed}not {items} else condition({items})"), gaps)
        if isinstance(node, Call):
            return self._judged(node, at)
        assert isinstance(node, Binary)
        match node.op:
            case "and":
                return self._and(node, at)
            case "or":
                return self._or(self._truth(node.left, at), node.right, at)
            case "implies":
                return self._or(self._negated(self._truth(node.left, at)), node.right, at)
            case "xor":
                return self._xor(node, at)
            case "=":
                return self._equals(node, at)
            case "!=":
                # its closure knows no words, and comparing with one gives the same
                return self._negated(self._equals(node, at))
            case "in":
                words = words_of(node.right)
                return (
                    self._within(node.left, node.right, at)
                    if words is None
                    else self._among(node.left, words, at)
                )
        return self._within(node.right, node.left, at)

    def _negated(self, part: _Part) -> _Part:
        return _Part(self._set("t", f"None if {part.told} is None else not {part.told}"), part.gaps)

    def _reasons(self, left: _Part, right: _Part) -> str:
        """The gaps of those sides that are unknown."""
        said = [
            f"({side.gaps} if {side.told} is None else N)" for side in (left, right) if side.gaps != _NONE
        ]
        return " | ".join(said) or _NONE

    def _unknown(self, told: str, gaps: str, reasons: str) -> None:
        self._line(f"{told} = None" if reasons == _NONE else f"{told} = None; {gaps} = {reasons}")

    def _and(self, node: Binary, at: _At) -> _Part:
        told, gaps = self._fresh("t"), self._fresh("g")
        left = self._truth(node.left, at)
        with self._block(f"if {left.told} is False:"):
            self._line(f"{told} = False")
        with self._block("else:"):
            right = self._truth(node.right, at)
            reasons = self._reasons(left, right)
            with self._block(f"if {right.told} is False:"):
                self._line(f"{told} = False")
            with self._block(f"elif {left.told} and {right.told}:"):
                self._line(f"{told} = True")
            with self._block("else:"):
                self._unknown(told, gaps, reasons)
        return _Part(told, _NONE if reasons == _NONE else gaps)

    def _or(self, left: _Part, other: Node, at: _At) -> _Part:
        told, gaps = self._fresh("t"), self._fresh("g")
        with self._block(f"if {left.told}:"):
            self._line(f"{told} = True")
        with self._block("else:"):
            right = self._truth(other, at)
            reasons = self._reasons(left, right)
            with self._block(f"if {right.told}:"):
                self._line(f"{told} = True")
            with self._block(f"elif {left.told} is None or {right.told} is None:"):
                self._unknown(told, gaps, reasons)
            with self._block("else:"):
                self._line(f"{told} = False")
        return _Part(told, _NONE if reasons == _NONE else gaps)

    def _xor(self, node: Binary, at: _At) -> _Part:
        if not (decides(node.left, self._compiler) and decides(node.right, self._compiler)):
            return self._of_closure(node, at)  # which evaluates both sides before it asks whether they fit
        told, gaps = self._fresh("t"), self._fresh("g")
        left, right = self._truth(node.left, at), self._truth(node.right, at)
        reasons = self._reasons(left, right)
        with self._block(f"if {left.told} is None or {right.told} is None:"):
            self._unknown(told, gaps, reasons)
        with self._block("else:"):
            self._line(f"{told} = {left.told} is not {right.told}")
        return _Part(told, _NONE if reasons == _NONE else gaps)

    def _equals(self, node: Binary, at: _At) -> _Part:
        words = words_of(node.right)
        if words is not None and len(words) == 1:
            word = self._bound(words[0])
            return self._of_one_word(
                node.left, at, f"== {word}", f"same_word(%s, {word}, {self._bound(words)}, run)"
            )
        left, right = self._pair(node.left, at), self._pair(node.right, at)
        gaps = self._joined(left.gaps, right.gaps)
        closed = "" if gaps == _NONE else f"None if {gaps} else "
        return _Part(self._set("t", f"{closed}same({left.told}, {right.told}, run)"), gaps)

    def _among(self, left: Node, words: list[str], at: _At) -> _Part:
        known = self._bound(frozenset(words))
        return self._of_one_word(
            left, at, f"in {known}", f"one_of(%s, {known}, {self._bound(list(words))}, run)"
        )

    def _of_one_word(self, left: Node, at: _At, test: str, otherwise: str) -> _Part:
        """A test of one string, and what is called where there may be none, several, or something else."""
        if not _steps_from_focus(left):
            items, gaps = self._pair(left, at)
            closed = "" if gaps == _NONE else f"None if {gaps} else "
            return _Part(self._set("t", closed + otherwise % items), gaps)
        assert isinstance(left, Member)
        told, value = self._fresh("t"), self._member(left.name, at.body)
        status = left.name == "status"
        with self._block(f"if {value}.__class__ is str:"):
            self._line(f"{told} = {value} {test}" + (f" if {value} != 'unknown' else None" if status else ""))
        with self._block(f"elif {value} is None:"):
            self._line(f"{told} = None")
        with self._block("else:"):
            self._line(f"{told} = {otherwise % (f'spread_known({value})' if status else f'spread({value})')}")
        return _Part(told, _NONE)

    def _within(self, left: Node, right: Node, at: _At) -> _Part:
        words = words_of(left)
        if words is not None and len(words) == 1:
            items, gaps = self._pair(right, at)
            told = self._set("t", f"has_word({items}, {self._bound(words[0])}, run)")
            if gaps != _NONE:
                self._line(f"if not {told} and {gaps}: {told} = None")
            return _Part(told, gaps)
        mine = self._pair(left, at)
        told, gaps = self._set("t", "None"), self._set("g", mine.gaps)
        open_ = "" if mine.gaps == _NONE else f"not {mine.gaps} and "
        with self._block(f"if {open_}{mine.told}:"):
            wanted = self._set("w", f"one({mine.told}, 'in')")
            other = self._pair(right, at)
            self._line(f"{told} = contains({other.told}, {wanted}, run)")
            if other.gaps != _NONE:
                self._line(f"if not {told} and {other.gaps}: {told} = None; {gaps} = {other.gaps}")
        return _Part(told, gaps)

    def _judged(self, node: Call, at: _At) -> _Part:
        if node.name == "not":
            return self._negated(
                self._truth(node.base, at) if node.base is not None else self._this_truth(at)
            )
        some, none = ("False", "True") if node.name == "empty" else ("True", "False")
        if node.args:
            if not _is_loop(node):
                return self._of_closure(node, at)
            items, gaps = self._where(node, at)
        elif isinstance(node.base, Binary) and node.base.op in CONDITIONS:
            if decides(node.base, self._compiler):
                told, gaps = self._truth(node.base, at)
                return _Part(self._set("t", f"None if {told} is None else {some}"), gaps)
            items, gaps = self._pair(node.base, at)
            return _Part(self._set("t", f"{some} if {items} else None"), gaps)
        else:
            items, gaps = self._base(node, at)
        if gaps == _NONE:
            return _Part(self._set("t", f"{some} if {items} else {none}"), gaps)
        return _Part(self._set("t", f"{some} if {items} else None if {gaps} else {none}"), gaps)

    def _this_truth(self, at: _At) -> _Part:
        return _Part(self._set("t", f"condition([{at.this}])"), _NONE)

    def _of_closure(self, node: Node, at: _At) -> _Part:
        items, gaps = self._by_closure(node, at)
        return _Part(self._set("t", f"{items}[0] if {items} else None"), gaps)


def _is_loop(node: Call) -> bool:
    """Whether code can stand for a loop: places and totals are kept by closures only."""
    return not any(isinstance(part, Special) and part.name != "this" for part in walk(node.args[0]))


def _steps_from_focus(node: Node) -> bool:
    """Whether a node is a step from ``$this``, and no type's name that stands for the focus."""
    if not isinstance(node, Member):
        return False
    if node.base is None:
        return not (node.name[:1].isupper() and model.known_type(node.name))
    return isinstance(node.base, Special) and node.base.name == "this"


# What the functions call where a line would not do


def _spread_known(value: Any) -> list[Any]:
    return [part for part in navigation.spread(value) if part != "unknown"]


def _condition(items: list[Any]) -> bool | None:
    if len(items) == 1 and items[0].__class__ is bool:
        told: bool = items[0]
        return told
    return truth((items, NO_GAPS), standard=False)


def _has_word(items: list[Any], word: str, run: Run) -> bool | None:
    for item in items:
        if item.__class__ is not str:
            return contains(items, word, run)
        if item == word:
            return True
    return False


_RUNTIME: Mapping[str, Any] = {
    _NONE: NO_GAPS,
    "UNSURE": UNSURE_GAP,
    "NOTHING": EMPTY[0],
    "YES": TRUE[0],
    "NO": FALSE[0],
    "EMPTY": EMPTY,
    "TRUE": TRUE,
    "FALSE": FALSE,
    "members": navigation.members,
    "choice": navigation.choice,
    "spread": navigation.spread,
    "spread_known": _spread_known,
    "condition": _condition,
    "same": same,
    "same_word": same_word,
    "one_of": one_of,
    "has_word": _has_word,
    "contains": contains,
    "unique": unique,
    "one": one,
}
