"""Adapters made of adapters, of checkpoints and of models."""
