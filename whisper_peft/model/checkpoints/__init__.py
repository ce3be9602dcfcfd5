"""Checkpoints of every format: found by name, read, and completed with what travels with the weights."""
