"""From rows to batches: the plan of an epoch, and the workers that carry it out."""
