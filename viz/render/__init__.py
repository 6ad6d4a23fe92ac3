"""What a picture looks like: a `Drawing` as DOT, SVG, Mermaid, JSON, text, laid out by an engine."""
