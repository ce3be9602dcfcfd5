"""Audio and text in, batches out."""
