"""The engine: what records operations and differentiates them. It knows no graph."""
