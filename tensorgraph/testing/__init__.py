"""Testing ops, ours and yours: `check`, cases from declarations, derivatives by numbers, and how equal is equal."""

from tensorgraph.testing.cases import Case, differentiable_places, draw, examples_of
from tensorgraph.testing.compare import DIFFERENCES, ULPS, assert_close, assert_same
from tensorgraph.testing.numeric import complex_jacobian, difference_jacobian, numerical_jacobian
from tensorgraph.testing.programs import Program, programs, random_program
from tensorgraph.testing.properties import PROPERTIES, check
from tensorgraph.testing.strictness import strict

__all__ = [
    "DIFFERENCES", "PROPERTIES", "ULPS", "Case", "Program", "assert_close", "assert_same", "check", "complex_jacobian",
    "difference_jacobian", "differentiable_places", "draw", "examples_of", "numerical_jacobian", "programs",
    "random_program", "strict",
]  # fmt: skip
