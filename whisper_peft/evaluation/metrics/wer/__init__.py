"""The word error rate, in the layout that `evaluate.load` reads."""
