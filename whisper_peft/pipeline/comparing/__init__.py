"""Many runs: compared, searched, and learned from growing parts of the speech."""
