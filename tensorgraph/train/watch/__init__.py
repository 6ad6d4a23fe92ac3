"""What a person sees of a run: its story told from the events, curves in the terminal, a report, a live page."""
