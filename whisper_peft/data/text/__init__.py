"""How transcripts are written: their case, their script, their language."""
