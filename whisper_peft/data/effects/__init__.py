"""What may happen to an utterance before the model hears it."""
