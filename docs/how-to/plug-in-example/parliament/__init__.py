"""Sittings of a parliament for whisper_peft: where they lie, how they sound, and where their numbers go."""
