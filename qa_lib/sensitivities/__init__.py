"""Each layer at each width by itself."""
