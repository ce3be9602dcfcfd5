"""From a recording as it lies to samples, and what its bytes tell before anything is decoded."""
