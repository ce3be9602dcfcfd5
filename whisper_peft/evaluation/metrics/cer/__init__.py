"""The character error rate, in the layout that `evaluate.load` reads."""
