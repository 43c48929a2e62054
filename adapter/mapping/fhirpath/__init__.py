"""FHIRPath in two modes from one compiler: as HL7 has it, and with the three values that rules need."""

from adapter.mapping.fhirpath.check import check_elements
from adapter.mapping.fhirpath.coalesce import split_coalesce
from adapter.mapping.fhirpath.expression import Expression, compile_expression
from adapter.mapping.fhirpath.faults import EvaluationError, ExpressionError
from adapter.mapping.fhirpath.quantity import Quantity
from adapter.mapping.fhirpath.values import UNSURE, Env, FunctionSpec, Value

__all__ = [
    "UNSURE",
    "Env",
    "EvaluationError",
    "Expression",
    "ExpressionError",
    "FunctionSpec",
    "Quantity",
    "Value",
    "check_elements",
    "compile_expression",
    "split_coalesce",
]
