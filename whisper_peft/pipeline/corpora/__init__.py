"""Whole corpora: looked through, and written down by a model."""
