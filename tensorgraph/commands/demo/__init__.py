"""The demonstration: train on real handwritten digits, draw the graph, save the model, use it. ``tensorgraph demo``."""

from tensorgraph.commands.demo.digits import FULL, QUICK, Settings
from tensorgraph.commands.demo.main import NEEDS, run

__all__ = ["FULL", "NEEDS", "QUICK", "Settings", "run"]
