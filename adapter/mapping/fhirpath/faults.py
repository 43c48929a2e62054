"""What can be wrong with an expression: as written, or with the values it meets."""

from __future__ import annotations

from adapter.errors import BatonError, Fault, MappingError


class ExpressionError(MappingError):
    """An expression that cannot be used. ``line`` and ``column`` count from 1, within the expression's text."""

    def __init__(self, message: str, line: int = 1, column: int = 1, remedy: str = "") -> None:
        fault = Fault(message, remedy, line=line, column=column)
        super().__init__(message, (fault,), remedy=remedy)
        self.line = line
        self.column = column

    def __str__(self) -> str:
        return str(self.faults[0])


class EvaluationError(BatonError):
    """Several values where one is wanted, or a type that does not fit. The message names types, never values."""
