"""Pages of HTML that need nothing else: two themes, text that stays text, and a policy that lets nothing else run."""

from tensorgraph.pages.document import assets, coloured, document, embedded, escaped, policy, scripted, themed

__all__ = ["assets", "coloured", "document", "embedded", "escaped", "policy", "scripted", "themed"]
