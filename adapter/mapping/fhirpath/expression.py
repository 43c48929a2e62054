"""An expression, ready to be evaluated, and what it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from adapter.mapping.fhirpath.analysis import Path, Place, names_in
from adapter.mapping.fhirpath.compile import Compiler, NotNative, type_bound
from adapter.mapping.fhirpath.fallback import fallback
from adapter.mapping.fhirpath.faults import EvaluationError, ExpressionError
from adapter.mapping.fhirpath.generate import Decision, decides, decision, evaluation
from adapter.mapping.fhirpath.operators import Fn
from adapter.mapping.fhirpath.parse import parse
from adapter.mapping.fhirpath.temporal import Moment
from adapter.mapping.fhirpath.tree import Node
from adapter.mapping.fhirpath.values import Env, FunctionSpec, Pair, Run, Typed, Value, as_value, bare

_NO_FUNCTIONS: Mapping[str, FunctionSpec] = {}


class Expression:
    """A compiled expression.

    ``variables`` are the names it uses, FHIRPath's own (``%resource``, ``%ucum``) not among them; ``functions``
    those of all functions in it; ``roots`` the elements
    of the focus that it touches first, as written, ``paths`` every path from the focus ("") or a variable.
    ``native`` is false where fhirpathpy evaluates it. ``raw_reference`` is the place of a comparison with the
    text of a reference, else None. ``types`` are the resource types that the added functions in it read,
    ``focus_types`` those that it takes the focus for (``Patient.name``), with their places.

    ``decide`` is the short way of a rule's condition: it takes a run and the focus, and gives True, False or the
    gaps because of which it is unknown, never a collection. It raises what evaluating raises, unwrapped. None where
    the form of the expression does not make it a condition.
    """

    __slots__ = (
        "_closure",
        "_compiler",
        "_evaluate",
        "_places",
        "decide",
        "focus_types",
        "functions",
        "native",
        "paths",
        "raw_reference",
        "roots",
        "standard",
        "text",
        "tree",
        "types",
        "variables",
    )

    def __init__(
        self,
        text: str,
        tree: Node,
        closure: Fn,
        compiler: Callable[[], Compiler] | None,
        *,
        standard: bool,
        types: frozenset[str],
        condition: bool = False,
    ) -> None:
        """``compiler`` makes the one that ``closure`` came of; None where fhirpathpy evaluates."""
        named = names_in(tree)
        self.text = text
        self.tree = tree
        self.native = compiler is not None
        self.standard = standard
        self.types = types
        self.variables = frozenset(named.variables)
        self.functions = frozenset(named.functions)
        self.paths: tuple[Path, ...] = tuple(named.paths)
        self.roots = frozenset(names[0] for variable, names in named.paths if not variable and names)
        self.raw_reference: Place | None = named.raw_reference
        self.focus_types = named.types
        self._places: dict[str | Path, Place] = dict(named.paths.items())
        self._places.update((f"%{name}", place) for name, place in named.variables.items())
        self._places.update((f"{name}()", place) for name, place in named.functions.items())
        self._closure = closure
        self._compiler = compiler
        # Python compiles a function slower than it runs a closure a hundred times: it is made when first asked for
        self._evaluate: Fn = closure if compiler is None or standard else self._first_value
        self.decide: Decision | None = self._first_decision if condition else None

    def _first_value(self, run: Run, this: Any) -> Pair:
        assert self._compiler is not None
        self._evaluate = evaluation(self.tree, self._compiler()) or self._closure
        return self._evaluate(run, this)

    def _first_decision(self, run: Run, this: Any) -> bool | frozenset[str]:
        assert self._compiler is not None
        self.decide = decision(self.tree, self._compiler()) or self._by_closure
        return self.decide(run, this)

    def _by_closure(self, run: Run, this: Any) -> bool | frozenset[str]:
        items, gaps = self._closure(run, this)
        return items[0] is True if items else gaps

    @property
    def compares_raw_reference(self) -> bool:
        """Whether the text of a reference is compared: it may be relative, absolute or versioned."""
        return self.raw_reference is not None

    @property
    def line(self) -> int:
        """The line at which it begins, within its text."""
        return self.tree.line

    @property
    def column(self) -> int:
        """The column at which it begins, within its text."""
        return self.tree.column

    def place(self, name: str | Path) -> Place:
        """Line and column of a path of :attr:`paths`, of "%variable" or of "function()"; (1, 1) for others."""
        return self._places.get(name, (1, 1))

    def evaluate(self, env: Env) -> Value:
        """The Value of the expression. Items are JSON values, times of resources and of arithmetic FHIR texts.

        Times from facts come as they are.

        Raises:
            EvaluationError: several values where one is wanted, types that do not fit, a variable that is not set.
        """
        return self.value(Run(env, standard=self.standard))

    def value(self, run: Run) -> Value:
        """As :meth:`evaluate`, by a run that several expressions share. One that has failed is good for no other."""
        try:
            pair = self._evaluate(run, run.resource)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise EvaluationError(f"the values do not fit: {type(error).__name__}") from None
        for item in pair[0]:  # few answers hold a typed item or a moment: only those are written anew
            if type(item) is Typed or type(item) is Moment:
                return Value([bare(item) for item in pair[0]], pair[1])
        return as_value(pair)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"


def compile_expression(
    text: str,
    *,
    functions: Mapping[str, FunctionSpec] = _NO_FUNCTIONS,
    variables: frozenset[str] | None = None,
    standard: bool = False,
) -> Expression:
    """Compiles an expression for rules, or with ``standard`` as FHIRPath itself has it.

    ``variables`` are the names that may follow "%" (None: any); FHIRPath's own need not be among them.

    Raises:
        ExpressionError: where it is not FHIRPath, names what does not exist, or asks a rule for the time.
    """
    tree = parse(text)
    made = partial(
        Compiler,
        functions=functions,
        variables=variables,
        standard=standard,
        typed=standard or type_bound(tree),
    )
    named = names_in(tree)
    types = frozenset[str]().union(*(functions[name].types for name in named.functions if name in functions))
    try:
        compiler = made()
        closure, condition = compiler.build(tree), decides(tree, compiler)
        return Expression(text, tree, closure, made, standard=standard, types=types, condition=condition)
    except NotNative as reason:
        own = named.functions.keys() & functions.keys()
        if own:
            line, column = named.functions[str(reason)]
            raise ExpressionError(
                f"{reason}() does not go together with {min(own)}()", line, column
            ) from None
        evaluate = fallback(text, frozenset(named.variables))
        return Expression(text, tree, evaluate, None, standard=standard, types=types)
