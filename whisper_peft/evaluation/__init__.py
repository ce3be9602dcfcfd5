"""Transcripts from a model, and how far they are from what was said."""
