"""Pages of HTML that need nothing else: two themes, text that stays text, and a policy that lets nothing else run."""

from tensorgraph.pages.document import document, embedded, escaped, policy, themed

__all__ = ["document", "embedded", "escaped", "policy", "themed"]
