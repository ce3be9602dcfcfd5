"""Whisper with its companions: checkpoints of every format, precision, audio context and adapters."""
