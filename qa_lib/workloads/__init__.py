"""Models with their data, by name."""
