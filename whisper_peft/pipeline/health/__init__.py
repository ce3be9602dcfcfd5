"""The health of a run: what both models hear, and what came of it."""
