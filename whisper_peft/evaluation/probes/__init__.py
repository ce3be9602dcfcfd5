"""What word errors on short clips do not show: timestamps, long recordings, and words where nobody speaks."""
