"""What kinds of errors a WER is made of: told from transcripts and references alone, without torch."""
