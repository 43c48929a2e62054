"""The beginning of a condition that needs the focus alone: where that says no, the whole says no.

``a and b and c`` is evaluated from the left and ends at the first *no*. Its leading parts that name no fact can be
asked before any fact exists, and their *no* is the answer of the whole, by the same closures in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from adapter.mapping.fhirpath.analysis import names_in
from adapter.mapping.fhirpath.compile import Compiler, NotNative, type_bound, words_of
from adapter.mapping.fhirpath.expression import Expression
from adapter.mapping.fhirpath.faults import EvaluationError
from adapter.mapping.fhirpath.model import choice_keys
from adapter.mapping.fhirpath.operators import Fn
from adapter.mapping.fhirpath.tree import Binary, Call, Literal, Member, Node, Variable
from adapter.mapping.fhirpath.values import Env, FunctionSpec, Run, truth

_MISFITS = (
    EvaluationError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    RecursionError,
)


Refusal = Callable[[Callable[[], Run], Any], bool]
"""Whether a part of a condition is *no* for a body; false where it is anything else. Asks for a run if it needs one."""


class FactTest(NamedTuple):
    """``%fact.exists()``, or ``'literal' in %fact.element``."""

    fact: str
    element: str = ""
    literal: str = ""


class Screen:
    """The leading conjuncts of one condition. Make it once; :meth:`refuses` is asked for every focus."""

    __slots__ = ("_nodes", "parts", "then")

    def __init__(
        self, parts: tuple[Refusal, ...], nodes: tuple[Node, ...] = (), then: FactTest | None = None
    ) -> None:
        """``nodes`` are the conjuncts that ``parts`` were made of, ``then`` is the next one if it asks for a fact."""
        self.parts = parts
        self.then = then
        self._nodes = nodes

    def statuses(self, constants: Mapping[str, Sequence[Any]]) -> frozenset[str] | None:
        """The status codes with which the condition may be true, where parameters have these values; None: any."""
        found: frozenset[str] | None = None
        for node in self._nodes:
            told = _statuses(node, constants)
            if told is not None:
                found = told if found is None else found & told
        return found

    def asks_only(self, elements: frozenset[str], functions: frozenset[str]) -> bool:
        """Whether the leading conjuncts name none but these elements of the focus and these functions."""
        named = [names_in(node) for node in self._nodes]
        return all(
            one.functions.keys() <= functions
            and all(variable or elements.issuperset(path[:1]) for variable, path in one.paths)
            for one in named
        )

    def refuses(self, run: Callable[[], Run], body: Any) -> bool | None:
        """Whether the condition is *no* for a resource; false where only the whole condition can tell.

        None where something does not fit: the whole condition will say so.
        """
        try:
            for part in self.parts:
                if part(run, body):
                    return True
        except _MISFITS:
            return None  # what goes wrong here goes wrong in the whole, which says so
        return False


def screen_of(
    expression: Expression | None,
    *,
    functions: Mapping[str, FunctionSpec],
    variables: frozenset[str],
    known: frozenset[str],
) -> Screen:
    """The screen of a condition; an empty one where its first conjunct already names a fact.

    Args:
        expression: the condition, compiled for rules.
        functions: those that it was compiled with.
        variables: names whose values do not depend on facts (parameters).
        known: which of ``functions`` need nothing but the focus.
    """
    if expression is None or not expression.native or expression.standard:
        return Screen(())
    compiler = Compiler(
        functions=functions, variables=None, standard=False, typed=type_bound(expression.tree)
    )
    parts: list[Refusal] = []
    nodes: list[Node] = []
    then: FactTest | None = None
    for node in _conjuncts(expression.tree):
        named = names_in(node)
        own = named.functions.keys() & functions.keys()
        if not (named.variables.keys() <= variables and own <= known):
            then = None if type_bound(expression.tree) else _fact_test(node)
            break
        try:
            parts.append(_refusal(node, compiler))
        except NotNative:
            break
        nodes.append(node)
    return Screen(tuple(parts), tuple(nodes), then)


def _fact_test(node: Node) -> FactTest | None:
    """A conjunct that one fact can refuse; None where it is of another form."""
    match node:
        case Call(base=Variable(name=fact), name="exists", args=()):
            return FactTest(fact)
        case Binary(
            op="in", left=Literal(value=str() as wanted), right=Member(base=Variable(name=fact), name=name)
        ):
            plain = name != "status" and name not in choice_keys() and not wanted[:4].isdigit()
            return FactTest(fact, name, wanted) if plain else None
    return None


def _statuses(node: Node, constants: Mapping[str, Sequence[Any]]) -> frozenset[str] | None:
    """The status codes that one conjunct does not refuse by its tests of the status; None: any."""
    if not isinstance(node, Binary):
        return None
    if node.op in ("and", "or"):
        left, right = _statuses(node.left, constants), _statuses(node.right, constants)
        if node.op == "or":
            return None if left is None or right is None else left | right
        return right if left is None else left if right is None else left & right
    if node.op not in ("=", "in") or not _is_status(node.left):
        return None
    named = isinstance(node.right, Variable) and node.op == "in"
    words = (
        constants.get(node.right.name) if named and isinstance(node.right, Variable) else words_of(node.right)
    )
    if not words or (node.op == "=" and len(words) > 1):
        return None
    plain = all(isinstance(word, str) and not word[:4].isdigit() for word in words)
    return frozenset(words) if plain else None


def _refusal(node: Node, compiler: Compiler) -> Refusal:
    """A refusal of one node. A test of the status is answered by a set; whatever else by its closure."""
    if isinstance(node, Binary):
        if node.op == "or":
            left, right = _refusal(node.left, compiler), _refusal(node.right, compiler)
            return lambda run, body: left(run, body) and right(run, body)
        if node.op == "and":
            left, right = _refusal(node.left, compiler), _refusal(node.right, compiler)
            return lambda run, body: left(run, body) or right(run, body)
        words = words_of(node.right) if _is_status(node.left) and node.op in ("=", "in") else None
        if words is not None and (node.op == "in" or len(words) == 1):
            return _other_status(frozenset(words), compiler.build(node))
        words = words_of(node.right) if node.op in ("=", "in") else None
        if words is not None and (node.op == "in" or len(words) == 1):
            by_word = _kind_refusal(node.left, frozenset(words), compiler.build(node))
            if by_word is not None:
                return by_word
    return _closed(compiler.build(node))


def _other_status(words: frozenset[str], whole: Fn) -> Refusal:
    """``status = 'x'`` and ``status in ('x' | 'y')``. A status that is no plain code is left to the closure."""
    by_closure = _closed(whole)

    def refuses(run: Callable[[], Run], body: Any) -> bool:
        status = body.get("status")
        if type(status) is str:
            return status not in words and status != "unknown"  # an unknown status is an absent one
        return status is not None and by_closure(run, body)

    return refuses


def _closed(whole: Fn) -> Refusal:
    def refuses(run: Callable[[], Run], body: Any) -> bool:
        own = run()
        own.resource, own.index = body, None  # one run serves many foci
        return truth(whole(own, body), standard=False) is False

    return refuses


def _kind_refusal(node: Node, words: frozenset[str], whole: Fn) -> Refusal | None:
    """``kind() in ('a' | 'b')``: a function of the focus that gives one word is asked without the closure."""
    if not isinstance(node, Call) or node.base is not None or node.args:
        return None
    name, by_closure = node.name, _closed(whole)

    def refuses(run: Callable[[], Run], body: Any) -> bool:
        call = run().env.functions.get(name)
        found = call() if call is not None else None
        if found is not None and len(found.items) == 1 and not found.gaps and type(found.items[0]) is str:
            return found.items[0] not in words
        return by_closure(run, body)

    return refuses


def _is_status(node: Node) -> bool:
    return isinstance(node, Member) and node.base is None and node.name == "status"


def blank_run(variables: Mapping[str, Any], functions: Mapping[str, Any], zone: Any) -> Run:
    """A run for screens, which put the focus in."""
    return Run(Env(None, variables, functions, zone), standard=False)


def _conjuncts(tree: Node) -> list[Node]:
    """The parts of a chain of ``and``, from the left."""
    parts: list[Node] = []
    while isinstance(tree, Binary) and tree.op == "and":
        parts.append(tree.right)
        tree = tree.left
    return [tree, *reversed(parts)]
