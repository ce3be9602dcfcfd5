"""What works on this machine, found out by doing it: a second or so for each."""
