"""The loop that every recipe shares, its loss, and checkpoints that resume exactly."""
