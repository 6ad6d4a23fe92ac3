"""Random whole programs drawn from the catalogue, as Python that runs."""

from tensorgraph.testing.programs.program import Program, programs, random_program

__all__ = ["Program", "programs", "random_program"]
