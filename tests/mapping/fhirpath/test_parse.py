"""Strict parsing: what is no FHIRPath is refused, with the place."""

from __future__ import annotations

from decimal import Decimal

import pytest

from adapter.errors import MappingError
from adapter.mapping.fhirpath import ExpressionError, Quantity, compile_expression
from adapter.mapping.fhirpath.parse import LONGEST, parse
from adapter.mapping.fhirpath.temporal import Moment
from adapter.mapping.fhirpath.tree import Binary, Call, Literal, Member, Variable


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("status == 'x'", 1, 9),
        ("a.where(b", 1, 10),
        ("a.where(b))", 1, 11),
        ("status = 'x' 'y'", 1, 14),
        ("status =\n  = 'x'", 2, 3),
        ("start ?? created", 1, 7),
        ("a.", 1, 3),
        ("status = #", 1, 10),
        ("'never closed", 1, 1),
        ("2 + 2 /* not finished", 1, 8),
        ("@2025-13-01", 1, 1),
        ("a.$this", 1, 3),
        ("", 1, 1),
        ("   ", 1, 1),
    ],
)
def test_what_is_no_fhirpath_is_refused_with_its_place(text: str, line: int, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == (line, column)
    assert isinstance(caught.value, MappingError)
    assert caught.value.faults[0].line == line


def test_the_double_equals_sign_has_a_remedy() -> None:
    with pytest.raises(ExpressionError, match="one =") as caught:
        parse("status == 'x'")
    assert str(caught.value).startswith("1:9:")


def test_deep_and_long_texts_are_refused_not_crashed_on() -> None:
    with pytest.raises(ExpressionError, match="longer"):
        parse("a" * (LONGEST + 1))
    with pytest.raises(ExpressionError, match="deeply"):
        parse("(" * 3000 + "1" + ")" * 3000)


def test_the_tree_says_what_was_written_and_where() -> None:
    tree = parse("%visits.where(status = 'booked')\n  and b")
    assert isinstance(tree, Binary) and tree.op == "and" and (tree.line, tree.column) == (2, 3)
    call = tree.left
    assert isinstance(call, Call) and call.name == "where"
    assert isinstance(call.base, Variable) and call.base.name == "visits"
    assert isinstance(tree.right, Member) and (tree.right.line, tree.right.column) == (2, 7)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("{}", None),
        ("17", 17),
        ("1.50", Decimal("1.50")),
        (r"'it\'s \u0041 \\ \n'", "it's A \\ \n"),
        ("@2025-12-05", Moment("Date", (2025, 12, 5))),
        ("@T14:30", Moment("Time", (14, 30))),
        ("7 days", Quantity(Decimal(7), "day", True)),
        ("4 'mg'", Quantity(Decimal(4), "mg")),
    ],
)
def test_literals(text: str, value: object) -> None:
    tree = parse(text)
    assert isinstance(tree, Literal) and tree.value == value and type(tree.value) is type(value)


def test_words_of_the_grammar_are_names_after_a_dot_or_a_percent_sign() -> None:
    assert compile_expression("%day = text.div").paths == (
        ("day", ()),
        ("", ("text",)),
        ("", ("text", "div")),
    )
    compile_expression("code.contains('a') and value.is(Quantity)")
    with pytest.raises(ExpressionError):
        compile_expression("day + 1")


@pytest.mark.parametrize("clock", ["now()", "today()", "timeOfDay()"])
def test_rules_have_no_clock(clock: str) -> None:
    with pytest.raises(ExpressionError, match="time enters by opens, due, ends and %coming only"):
        compile_expression(f"start > {clock}")
    compile_expression(f"start > {clock}", standard=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%vists.exists()", "perhaps %visits"),
        ("status.exist()", "perhaps exists()"),
        ("kin() = 'x'", "there is no function kin()"),
        ("code.where()", "where() takes 1 arguments, not 0"),
        ("value is Quantiti", "perhaps Quantity"),
        ("basedOn.resolve().status", "there is no function resolve()"),
    ],
)
def test_names_that_do_not_exist_are_refused_with_the_nearest(text: str, said: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(text, variables=frozenset({"visits", "orders"}))
    assert said in str(caught.value)
