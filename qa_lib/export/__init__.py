"""A setting that is taken away."""
