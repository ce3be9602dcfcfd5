"""Manifests of rows that a test chose."""

import json


def manifest_of(rows, path):
    """Write rows as a manifest; return its path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path
