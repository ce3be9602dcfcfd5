"""A look through a corpus in bounded memory."""
