"""What a run will take, before its weights are loaded."""
