"""From an adapter to a model that ships."""
