"""The score of a setting over the search set."""
