"""What the decoder reads and must write for a window: labels, timestamps, the text before, nothing at all."""
