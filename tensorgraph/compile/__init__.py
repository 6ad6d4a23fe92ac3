"""From a user's function to one that runs at once: traced, transformed, planned, and given to a runner.

`compiled.py` is what the user holds, `runner.py` the agreement with whoever runs a graph.
"""
