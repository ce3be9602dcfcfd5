"""Adapters: configured, attached, started, scaled, read from folders, and told from idle ones."""
