"""Opening the speech of a run: found, checked and counted before weights are loaded or time is spent."""
