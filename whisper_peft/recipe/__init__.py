"""What to do: sections, parts, composition, YAML, the catalogue. Knows no torch."""
