"""Whether the elements that an expression names exist in R4.

A misspelt element is silently empty in FHIRPath. The tables know every type's elements. A choice is named without its
type: ``onset``, not ``onsetDateTime``, which is JSON's name and reads one type only.
"""

from __future__ import annotations

from difflib import get_close_matches

from adapter.mapping.fhirpath import model
from adapter.mapping.fhirpath.analysis import Path
from adapter.mapping.fhirpath.expression import Expression
from adapter.mapping.fhirpath.faults import ExpressionError


def check_elements(expression: Expression, type_name: str, *, variable: str = "") -> list[ExpressionError]:
    """Every element that the type at the start of a path does not have, with the nearest name as remedy.

    Looks at the paths from the focus, or at those from ``%variable``. Goes as deep as the types are known.
    """
    found = [] if variable else _misplaced(expression, type_name)
    for path in expression.paths:
        if path[0] == variable:
            fault = _fault(path, type_name, expression)
            if fault is not None:
                found.append(fault)
    return found


def _misplaced(expression: Expression, type_name: str) -> list[ExpressionError]:
    """Types that the focus cannot be: ``Patient.name`` on a visit is silently empty."""
    return [
        ExpressionError(
            f"the focus is a {type_name}, not a {named}", line, column, "leave the type's name out"
        )
        for named, (line, column) in expression.focus_types.items()
        if not model.is_a(type_name, named)
    ]


def _fault(path: Path, type_name: str, expression: Expression) -> ExpressionError | None:
    """The fault of a path's last name; the names before it have paths of their own."""
    at = [type_name]
    for name in path[1][:-1]:
        at = [below for above in at for below in _below(above, name)]
    if not path[1] or not at or any(model.open_ended(above) for above in at):
        return None
    name = path[1][-1]
    known = frozenset[str]().union(*(model.elements(above) for above in at))
    if name in known:
        return None
    choice = [element for above in at for element in known if name in model.choices(above, element)]
    near = choice or get_close_matches(name, known, 1, 0.5)
    line, column = expression.place(path)
    remedy = f"perhaps {near[0]}" if near else f"it has {', '.join(sorted(known)[:12])}" if known else ""
    return ExpressionError(f"{at[0]} has no element {name!r}", line, column, remedy)


def _below(above: str, name: str) -> list[str]:
    """The type paths that a name leads to; of a choice, all of its types."""
    kinds = model.choices(above, name)
    if kinds:
        return list(kinds.values())
    found = model.child(above, name)
    return [] if found is None else [found]
