"""The table of rules and tests does not rot: every number is there, every test that it names, every reason."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path

import pytest

from tests.consistency.index import INDEX, LATER, PARTLY

ROOT = Path(__file__).resolve().parents[2]


@lru_cache(maxsize=64)
def _tests_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_every_number_has_its_tests_or_a_reason() -> None:
    assert set(INDEX) | set(LATER) == set(range(1, 77))
    assert not set(INDEX) & set(LATER)
    assert all(number > 40 for number in LATER)
    assert set(PARTLY) <= set(INDEX)


@pytest.mark.parametrize("number", sorted(INDEX))
def test_every_test_that_is_named_exists(number: int) -> None:
    assert INDEX[number].tests
    for node in INDEX[number].tests:
        file, _, name = node.partition("::")
        assert name in _tests_in(file), node


@pytest.mark.parametrize("number", range(1, 41))
def test_every_rule_of_the_first_forty_can_be_taken_out(number: int) -> None:
    """Each edit still fits: where the product has moved on, the table has to follow."""
    assert INDEX[number].out
    for edit in INDEX[number].out:
        text = (ROOT / "adapter" / edit.file).read_text(encoding="utf-8")
        assert text.count(edit.old) == 1, f"{edit.file}: {edit.old}"
